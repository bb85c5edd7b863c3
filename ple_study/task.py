"""One thing to predict, and how one such thing informs another."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from ple_study.names import one_of, unique

TaskKind = Literal["binary", "multiclass", "regression", "contrastive"]
TransferKind = Literal["sequential", "inverse", "feature"]
Loss = Literal["default", "huber", "focal", "in_batch"]
FOCAL = (0.25, 2.0)  # the paper's alpha and gamma


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """One thing to predict.

    ``classes`` counts the classes of a multiclass task, or the keys (brands, items) of
    a contrastive one; ``dim`` is the width in which a contrastive task compares.
    ``weight`` multiplies the task's loss. ``scale`` is what a regression's label is
    usually and how far it strays, in the label's unit: the tower answers in that unit,
    and its loss counts deviations, so that no task outweighs another by its unit alone.

    ``loss`` names another loss than the kind's own: ``huber`` (delta 1) instead of a
    regression's squared error, ``focal`` instead of a binary task's cross-entropy,
    ``in_batch`` for a contrastive task whose keys are only those that the batch holds.
    ``focal`` is that loss's (alpha, gamma) (Lin et al., ICCV 2017, equation 5): alpha
    weighs a row of label 1, 1 - alpha one of label 0, and rows that are predicted well
    count the less, the larger gamma. ``experts`` names those that the task is expected
    to prefer, as a gate's starting point; none is no expectation.
    """

    name: str
    kind: TaskKind = "binary"
    classes: int = 1
    dim: int = 128
    group: str = "all"
    weight: float = 1.0
    loss: Loss = "default"
    focal: tuple[float, float] = FOCAL
    scale: tuple[float, float] = (0.0, 1.0)
    experts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        one_of(f"Kind of task {self.name!r}", self.kind, get_args(TaskKind))
        other = {"binary": "focal", "regression": "huber", "contrastive": "in_batch"}
        losses = tuple(x for x in ("default", other.get(self.kind)) if x)
        one_of(f"Loss of the {self.kind} task {self.name!r}", self.loss, losses)
        several = self.kind in ("multiclass", "contrastive")
        if several != (self.classes > 1) or self.classes < 1:
            raise ValueError(
                f"A multiclass or contrastive task has 2 classes or more, any other "
                f"exactly 1. Found task {self.name!r} of kind {self.kind!r} with "
                f"classes={self.classes}."
            )
        if self.dim < 1:
            raise ValueError(f"Task {self.name!r} needs dim >= 1. Found {self.dim}.")
        if not 0 <= self.weight < math.inf:
            raise ValueError(
                f"Task {self.name!r} needs a finite weight >= 0. Found {self.weight}."
            )
        if isinstance(self.experts, str):
            raise ValueError(
                f"Experts of task {self.name!r} are a list of names. Found the word "
                f"{self.experts!r}."
            )
        object.__setattr__(self, "experts", tuple(self.experts))
        unique(f"Experts of task {self.name!r}", self.experts)
        self._check_scale()
        self._check_focal()

    def _check_scale(self) -> None:
        object.__setattr__(self, "scale", tuple(self.scale))
        whole = len(self.scale) == 2 and all(map(math.isfinite, self.scale))
        if not (whole and self.scale[1] > 0):
            raise ValueError(
                f"The scale of task {self.name!r} is a finite value and a finite "
                f"deviation above zero. Found {self.scale}."
            )
        if self.scale != (0.0, 1.0) and self.kind != "regression":
            raise ValueError(
                f"Only a regression has a scale. Found {self.scale} for the "
                f"{self.kind} task {self.name!r}."
            )

    def _check_focal(self) -> None:
        object.__setattr__(self, "focal", tuple(self.focal))
        whole = len(self.focal) == 2 and all(map(math.isfinite, self.focal))
        if not (whole and 0 <= self.focal[0] <= 1 and self.focal[1] >= 0):
            raise ValueError(
                f"The focal loss of task {self.name!r} needs an alpha in [0, 1] and a "
                f"finite gamma >= 0. Found {self.focal}."
            )
        if self.focal != FOCAL and self.loss != "focal":
            raise ValueError(
                f"Only a task of loss 'focal' has focal=(alpha, gamma). Found "
                f"{self.focal} for task {self.name!r} of loss {self.loss!r}."
            )

    @property
    def outputs(self) -> int:
        """Width of the task's logits: one, or one a class (or key)."""
        return self.classes


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """An edge of the task graph: what the source answers informs the target.

    ``kind`` is the thread's word for why. An ``inverse`` source sends one minus its
    probabilities; ``sequential`` and ``feature`` send them, and are one computation.
    ``strength`` multiplies what a residual transfer adds.
    """

    source: str
    target: str
    kind: TransferKind = "sequential"
    strength: float = 0.5

    def __post_init__(self) -> None:
        edge = f"transfer {self.source} -> {self.target}"
        one_of(f"Kind of {edge}", self.kind, get_args(TransferKind))
        if not math.isfinite(self.strength):
            raise ValueError(
                f"The strength of {edge} must be finite. Found {self.strength}."
            )
