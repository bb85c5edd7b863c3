"""Evidential heads: how sure a task is of its answer, in one pass.

::

    spec = HeterogeneousPLESpec(evidential=EvidentialSpec())
    opinion = fit(study, spec).uncertainty(batch)["churn"]  # .vacuity, .epistemic

A head answers the parameters of a distribution over answers: a Dirichlet over the
probabilities of classes (Sensoy et al., NeurIPS 2018), or a normal-inverse-gamma over
a value's mean and variance (Amini et al., NeurIPS 2020). What those say, and cost to
learn, is in ``ple_study.objective.evidence``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ple_study.experts.mlp import Lanes, MLPSpec, ParallelLinear
from ple_study.names import one_of
from ple_study.schema import Schema, TaskSpec, Transfer
from ple_study.tasks.towers import Towers
from ple_study.tasks.transfer import TransferSpec, TransferTowers

Place = Literal["beside", "instead"]
Risk = Literal["squared", "digamma", "likelihood"]
Tilde = Literal["sensoy", "full", "source"]
NLL = Literal["amini", "source"]
TINY = 1e-6  # what keeps nu, alpha - 1 and beta above zero


@dataclass(frozen=True, kw_only=True)
class EvidentialSpec:
    """Where the heads stand, and what their evidence is trained on.

    place: "beside" the towers, whose answers stay the model's; "instead" of them.
    detach: whether the heads leave what they read untrained; None does beside the
    towers, and does not instead of them, where nothing else would train it.
    risk: of classes, the expected "squared" error or cross-entropy ("digamma"), or the
    marginal "likelihood" (``dirichlet_risk``). kl weighs the divergence from no
    evidence; tilde says of which evidence (``penalised``). error weighs what a
    regression's evidence costs where it errs (``nig_error``). Both weights grow over
    ``anneal`` epochs. nll: "amini", or the "source", whose logarithms have the opposite
    signs and which rewards error (``nig_nll``).
    """

    place: Place = "beside"
    detach: bool | None = None
    risk: Risk = "squared"
    kl: float = 0.01
    tilde: Tilde = "sensoy"
    error: float = 0.01
    anneal: int = 10
    nll: NLL = "amini"

    def __post_init__(self) -> None:
        words = {"place": Place, "risk": Risk, "tilde": Tilde, "nll": NLL}
        for name, allowed in words.items():
            one_of(name, getattr(self, name), get_args(allowed))
        if not (self.detach is None or isinstance(self.detach, bool)):
            raise ValueError(f"detach is True, False or None. Found {self.detach!r}.")
        if self.place == "instead" and self.detach:
            raise ValueError(
                "Heads instead of towers train the experts. Found detach=True."
            )
        for name in ("kl", "error", "anneal"):
            if not 0 <= getattr(self, name) < math.inf:
                found = getattr(self, name)
                raise ValueError(f"{name} must be finite and >= 0. Found {found}.")

    @property
    def detached(self) -> bool:
        """Whether the heads' loss stops at the heads."""
        return self.place == "beside" if self.detach is None else self.detach


def check_any(tasks: Sequence[TaskSpec]) -> None:
    """Raises ValueError when no task is of a kind that has evidence."""
    if not any(map(parameters_of, tasks)):
        raise ValueError(
            "Evidential heads need a binary, multiclass or regression task. Found "
            f"only {[f'{t.name} ({t.kind})' for t in tasks]}."
        )


def parameters_of(task: TaskSpec) -> int:
    """How many numbers are a task's evidence; none, of a contrastive task."""
    known = {"binary": 2, "regression": 4, "contrastive": 0}
    return known.get(task.kind, task.classes)


class EvidentialHeads(nn.Module):
    """One linear map a task to its evidence; heads of one width are one product.

    They read what is the task's own, before others inform it, as the towers' inputs are
    without transfer. A contrastive task has no head.
    """

    def __init__(
        self, tasks: Sequence[TaskSpec], dim: int, detach: bool = False
    ) -> None:
        super().__init__()
        self.tasks, self.detach = list(tasks), detach
        widths = [parameters_of(task) for task in tasks]
        self.places = [
            [place for place, found in enumerate(widths) if found == width]
            for width in sorted(set(widths) - {0})
        ]
        self.maps = nn.ModuleList(
            ParallelLinear(len(places), dim, widths[places[0]])
            for places in self.places
        )

    def forward(self, inputs: Lanes) -> dict[str, Float[Tensor, "batch _"]]:
        """One ``[batch, dim]`` a task to the evidence of those that have some."""
        reads = [x.detach() for x in inputs] if self.detach else inputs
        found: dict[int, Tensor] = {}
        for places, own in zip(self.places, self.maps, strict=True):
            found |= zip(places, own([reads[place] for place in places]), strict=True)
        return {
            task.name: to_evidence(task, found[place])
            for place, task in enumerate(self.tasks)
            if place in found
        }


class Stand(nn.Module):
    """Heads where a step of the task graph has towers, but for contrastive tasks."""

    def __init__(self, tasks: Sequence[TaskSpec], dim: int, tower: MLPSpec) -> None:
        super().__init__()
        self.places = [i for i, t in enumerate(tasks) if not parameters_of(t)]
        self.heads = EvidentialHeads(tasks, dim)
        self.towers = Towers([tasks[place] for place in self.places], dim, tower)

    def forward(self, inputs: Lanes) -> dict[str, Tensor]:
        compared = self.towers([inputs[place] for place in self.places])
        return self.heads(inputs) | compared


class EvidentialTowers(TransferTowers):
    """Heads in the place of towers: they read what those would, and inform others.

    A task that informs others tells them what its evidence says, as ``to_logits`` does.
    ``forward`` answers evidence, and a contrastive task's logits.
    """

    def __init__(
        self, schema: Schema, dim: int, tower: MLPSpec, spec: TransferSpec | None
    ) -> None:
        super().__init__(schema, dim, tower, spec)
        self.towers = nn.ModuleList(
            Stand([self.tasks[name] for name in names], dim, tower)
            for names in self.order
        )

    def answers(self, inputs: Lanes) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Logits of every task, and the evidence of those that have some."""
        said = cast(dict[str, Tensor], self(inputs))
        evidence = {k: v for k, v in said.items() if parameters_of(self.tasks[k])}
        logits = {k: to_logits(self.tasks[k], v) for k, v in evidence.items()}
        return said | logits, evidence

    def _message(
        self, edge: Transfer, reads: dict[str, Tensor], logits: dict[str, Tensor]
    ) -> Tensor:
        source, said = self.tasks[edge.source], logits[edge.source]
        if parameters_of(source):
            said = to_logits(source, said)
        return super()._message(edge, reads, {edge.source: said})


def to_evidence(
    task: TaskSpec, raw: Float[Tensor, "batch k"]
) -> Float[Tensor, "batch k"]:
    """What a head's numbers z mean, in float32 at least.

    A class: alpha = softplus(z) + 1; of a binary task the first is label 1's, and the
    second label 0's. A regression: (mu, nu, alpha, beta) with nu, alpha - 1 and beta =
    softplus(z) + 1e-6, of the label in deviations: (y - usual) / strays.
    """
    z = raw.to(torch.promote_types(raw.dtype, torch.float32))
    if task.kind != "regression":
        return F.softplus(z) + 1
    nu, above, beta = (F.softplus(z[:, 1:]) + TINY).unbind(1)
    return torch.stack([z[:, 0], nu, above + 1, beta], dim=1)


def to_logits(
    task: TaskSpec, evidence: Float[Tensor, "batch k"]
) -> Float[Tensor, "batch outputs"]:
    """Logits whose probabilities are alpha / sum alpha; mu in the label's unit."""
    if task.kind == "regression":
        usual, strays = task.scale
        return evidence[:, :1] * strays + usual
    scores = evidence.log()
    return scores[:, :1] - scores[:, 1:] if task.kind == "binary" else scores
