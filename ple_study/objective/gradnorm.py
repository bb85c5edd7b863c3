"""GradNorm: tasks weighted so that their gradients keep in step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ple_study.objective.conflict import FLOOR, gradients_of
from ple_study.objective.losses import TaskLosses
from ple_study.objective.weighting import (
    Parameters,
    Weighting,
    check_positive,
    over_processes,
)
from ple_study.ranks import average
from ple_study.schema import TaskSpec

LOWEST = 1e-3  # of a weight, before all are scaled to their sum


@dataclass(frozen=True, kw_only=True)
class GradNormSpec:
    """Learned weights that balance the tasks' gradients (Chen et al., ICML 2018).

    ``alpha``: how strongly a task that learns slowly is helped; with 0 all gradients
    become equally long. ``lr_factor``: how much faster than the model the weights
    learn (25 times 1e-3 is the paper's 0.025). ``every``: training steps from one look
    at the gradients to the next, each of which costs a backward pass a task.

    Raises ValueError for a negative or infinite ``alpha``, an ``lr_factor`` that is not
    finite and above zero, and an ``every`` below one.
    """

    alpha: float = 1.5
    lr_factor: float = 25.0
    every: int = 1

    def __post_init__(self) -> None:
        check_positive(self, "lr_factor")
        if not 0 <= self.alpha < math.inf:
            raise ValueError(
                f"GradNormSpec needs a finite alpha >= 0. Found {self.alpha}."
            )
        if self.every < 1:
            raise ValueError(f"GradNormSpec needs every >= 1. Found {self.every}.")

    def build(self, tasks: Sequence[TaskSpec]) -> "GradNorm":
        return GradNorm(tasks, self)


class GradNorm(Weighting):
    """sum_k c_k w_k L_k, where w, of sum K, follows the gradients (Algorithm 1).

    With n_k the norm of L_k's gradient in the shared parameters, G_k = w_k n_k and
    r_k = (L_k / L_k(0)) / mean_j (L_j / L_j(0)), the weights alone are trained on
    sum_k ``|G_k - mean_j(G_j) r_k^alpha|`` (equation 2), whose second part is held
    constant. L_k(0) is the first loss that task k shows. That sum adds nothing to the
    value of the terms. At the next step of training the weights are scaled to sum to K.

    The task's own weight c_k comes after: inside, the balance would divide it out, as
    it does any constant factor. A task that is absent or whose c_k is zero has no part
    in the means, and its w_k gets no gradient. The paper looks at the last layer that
    the tasks share; here it is at all of ``shared``.
    """

    def __init__(self, tasks: Sequence[TaskSpec], spec: GradNormSpec) -> None:
        super().__init__(tasks)
        self.spec, self.lr_factor, self.step = spec, spec.lr_factor, 0
        self.factors = nn.Parameter(torch.ones(len(tasks)))
        self.first: Tensor
        self.started: Tensor
        self.register_buffer("first", torch.ones(len(tasks)))
        self.register_buffer("started", torch.zeros(len(tasks), dtype=torch.bool))

    # The step as a buffer would have to be asked of the device at every step.
    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.step)

    def set_extra_state(self, state: Tensor) -> None:
        self.step = int(state)

    def terms(
        self, losses: TaskLosses, shared: Parameters = ()
    ) -> Float[Tensor, " task"]:
        """As of ``Weighting``. Training raises ValueError without shared parameters."""
        factors = self._scaled()
        if not self.training:
            return self.weights * factors * losses.values
        if not shared:
            raise ValueError(
                "GradNorm looks at the parameters that tasks share. Found none."
            )
        with torch.no_grad():
            self.factors.copy_(factors)
        self._start(losses)
        terms = self.weights * factors * losses.values
        look = self.step % self.spec.every == 0
        self.step += 1
        if not look:
            return terms
        gaps = self._gaps(losses, shared)
        return terms + (gaps - gaps.detach())

    @torch.no_grad()
    def _scaled(self) -> Float[Tensor, " task"]:
        """The weights, above zero and of sum K."""
        positive = self.factors.clamp(min=LOWEST)
        return len(positive) * positive / positive.sum()

    def _start(self, losses: TaskLosses) -> None:
        """L_k(0) of tasks seen for the first time, alike in every process."""
        total, count = over_processes(losses)
        first = (count > 0) & ~self.started
        self.first = (total / count).to(self.first).where(first, self.first)
        self.started |= first

    def _gaps(self, losses: TaskLosses, shared: Parameters) -> Float[Tensor, " task"]:
        """How far each task's weighted norm is from its target."""
        part = losses.present & (self.weights > 0)
        number = part.sum().clamp(min=1)
        norms = average(gradients_of(losses.values, shared)).norm(dim=1) * part
        ratios = losses.values.detach() / self.first.clamp(min=FLOOR) * part
        rates = ratios / (ratios.sum() / number).clamp(min=FLOOR)
        weighted = self.factors * norms
        target = weighted.detach().sum() / number * rates**self.spec.alpha
        return (weighted - target).abs()
