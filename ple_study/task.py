"""One thing to predict, and how one such thing informs another."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from ple_study.names import one_of, unique

TaskKind = Literal["binary", "multiclass", "regression", "contrastive"]
Loss = Literal["default", "huber", "in_batch"]


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """One thing to predict.

    ``classes`` counts the classes of a multiclass task, or the keys (brands, items) of
    a contrastive one; ``dim`` is the width in which a contrastive task compares.
    ``weight`` multiplies the task's loss. ``scale`` is what a regression's label is
    usually and how far it strays, in the label's unit: the tower answers in that unit,
    and its loss counts deviations, so that no task outweighs another by its unit alone.

    ``loss`` names another loss than the kind's own: ``huber`` (delta 1) instead of a
    regression's squared error, ``in_batch`` for a contrastive task whose keys are only
    those that the batch holds. ``experts`` names those that the task is expected to
    prefer, as a gate's starting point; none is no expectation.
    """

    name: str
    kind: TaskKind = "binary"
    classes: int = 1
    dim: int = 128
    group: str = "all"
    weight: float = 1.0
    loss: Loss = "default"
    scale: tuple[float, float] = (0.0, 1.0)
    experts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        one_of(f"Kind of task {self.name!r}", self.kind, get_args(TaskKind))
        other = {"regression": ("huber",), "contrastive": ("in_batch",)}
        losses = ("default", *other.get(self.kind, ()))
        one_of(f"Loss of the {self.kind} task {self.name!r}", self.loss, losses)
        if (self.kind in ("multiclass", "contrastive")) != (self.classes > 1):
            raise ValueError(
                f"A multiclass or contrastive task has 2 classes or more, any other "
                f"exactly 1. Found task {self.name!r} of kind {self.kind!r} with "
                f"classes={self.classes}."
            )
        if not self.weight >= 0:
            raise ValueError(
                f"Task {self.name!r} needs weight >= 0. Found {self.weight}."
            )
        if isinstance(self.experts, str):
            raise ValueError(
                f"Experts of task {self.name!r} are a list of names. Found the word "
                f"{self.experts!r}."
            )
        object.__setattr__(self, "experts", tuple(self.experts))
        unique(f"Experts of task {self.name!r}", self.experts)
        self._check_scale()

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

    @property
    def outputs(self) -> int:
        """Width of the task's logits: one, or one a class (or key)."""
        return self.classes


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """An edge of the task graph: the source's logit informs the target's."""

    source: str
    target: str
