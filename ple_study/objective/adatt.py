"""Adaptive task transfer: to each task's loss is added a little of the others'.

Losses are mixed; the AdaTT of Li et al. (KDD 2023) mixes representations.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn

from ple_study.names import one_of
from ple_study.objective.affinity import (
    CONFLICT,
    STRENGTHS,
    Pairs,
    Present,
    masked_weights,
    prior_matrix,
    running_mean,
    source_weights,
)
from ple_study.objective.conflict import cosines, gradients_of
from ple_study.objective.losses import TaskLosses
from ple_study.objective.weighting import (
    FixedWeightingSpec,
    Parameters,
    Weighting,
    WeightingSpec,
    check_weighting,
)
from ple_study.schema import TaskSpec

Mode = Literal["masked", "source"]
FIXED = FixedWeightingSpec()
CAP = 0.5  # the largest share of its own term that a task takes up


@dataclass(frozen=True, kw_only=True)
class AdaTTSpec:
    """Transfer between the terms of another weighting, ``inner``.

    ``mode``: ``source`` is the thread's algorithm to the letter, ``masked`` mends its
    defects (see ``AdaTT``). ``strength``: how much of the others' terms is added.
    ``every``: training steps from one measurement of the gradients to the next. Epochs
    before ``warmup`` only measure; from ``freeze`` on, unless it is zero, the weights
    stay as they are. ``prior``: the prior's share at ``warmup`` and at ``freeze``, in a
    straight line between; without a freeze it stays at the first. ``within``: the
    prior's strengths, by group (see ``prior_matrix``).
    """

    inner: WeightingSpec = FIXED
    mode: Mode = "masked"
    strength: float = 0.1
    every: int = 10
    warmup: int = 1
    freeze: int = 0
    prior: tuple[float, float] = (0.5, 0.1)
    within: Mapping[str, float] = field(default_factory=STRENGTHS.copy, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prior", tuple(self.prior))
        one_of("Mode of AdaTT", self.mode, get_args(Mode))
        check_weighting("AdaTT", self.inner)
        shares = len(self.prior) == 2 and all(0 <= r <= 1 for r in self.prior)
        after = self.freeze == 0 or self.freeze > self.warmup
        strengths = all(0 < v < math.inf for v in self.within.values())
        rules = {
            "strength": ("finite and at least 0", 0 <= self.strength < math.inf),
            "every": ("at least 1", self.every >= 1),
            "warmup": ("at least 0", self.warmup >= 0),
            "freeze": (f"0 for never, or above warmup {self.warmup}", after),
            "prior": ("two shares in [0, 1]", shares),
            "within": ("finite strengths above 0, by group", strengths),
        }
        for name, (wanted, fine) in rules.items():
            if not fine:
                found = getattr(self, name)
                raise ValueError(f"AdaTT needs {name} to be {wanted}. Found {found!r}.")

    def build(self, tasks: Sequence[TaskSpec]) -> "AdaTT":
        return AdaTT(tasks, self)


class AdaTT(Weighting):
    """L'_i = L_i + min(strength sum_j w_ij L_j, 0.5 L_i), over ``inner``'s terms L.

    w_i = softmax_j(R_ij / T) of R = (1 - r) (A + W) + r P. ``affinity`` A is the
    running mean of the cosines between the gradients of the raw losses in the shared
    parameters, and the identity where nothing was measured yet; P is the
    ``prior_matrix``, r its share. The cap 0.5 L_i sends no gradient. While it does not
    bind, the total is sum_j c_j L_j, c_j = 1 + strength sum_i w_ij: a factor a task.

    ``source`` takes ``source_weights``. W is learned, from zero, by what lowers the
    total, and so moves to the tasks of the lowest losses. Where a term is negative, as
    uncertainty weighting's comes to be for a loss below 1 / e, the cap is so too, and
    takes the place of any transfer above it.

    ``masked`` takes ``masked_weights`` and has no W. The transfer is held within 0.5
    ``|L_i|`` on both sides, which is the source's cap where no term is negative: a
    negative term too changes by half of itself at most, and passes gradients on.

    In evaluation the terms are ``inner``'s: a loss means what it means without
    transfer. Each measurement costs one backward pass a task. Training without shared
    parameters raises ValueError.
    """

    affinity: Tensor
    seen: Tensor
    prior: Tensor

    def __init__(self, tasks: Sequence[TaskSpec], spec: AdaTTSpec) -> None:
        super().__init__(tasks)
        self.spec, self.inner = spec, spec.inner.build(tasks)
        self.step, self.epoch = 0, 0
        prior = prior_matrix(tasks, spec.within)
        self.register_buffer("prior", prior, persistent=False)
        self.register_buffer("affinity", torch.eye(len(tasks)))
        self.register_buffer("seen", torch.zeros_like(prior, dtype=torch.bool))
        learns = spec.mode == "source"
        self.learned = nn.Parameter(torch.zeros_like(prior)) if learns else None

    def terms(
        self, losses: TaskLosses, shared: Parameters = ()
    ) -> Float[Tensor, " task"]:
        terms = self.inner.terms(losses, shared)
        if not self.training:
            return terms
        if not shared:
            raise ValueError("AdaTT trains with shared parameters. Found none.")
        if not self.frozen and self.step % self.spec.every == 0:
            self._measure(losses, shared)
        self.step += 1
        if self.epoch < self.spec.warmup:
            return terms
        weights, cap = self._weights(losses.present), CAP * terms.detach()
        transfer = self.spec.strength * (weights * terms).sum(1)
        if self.spec.mode == "source":
            return terms + torch.minimum(transfer, cap)
        return terms + transfer.clamp(-cap.abs(), cap.abs())

    def _measure(self, losses: TaskLosses, shared: Parameters) -> None:
        gradients = gradients_of(losses.values, shared)
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(gradients)
        found = cosines(gradients).to(self.affinity)
        self.affinity.copy_(running_mean(self.affinity, self.seen, found))
        self.seen |= ~found.isnan()

    def _weights(self, present: Present) -> Pairs:
        belief, r = self.affinity, self.prior_share
        if self.learned is not None:
            learned = self.learned.detach() if self.frozen else self.learned
            belief = belief + learned
        # R = (1 - r) (A + W) + r P
        scores = (1 - r) * belief + r * self.prior
        blocked = (self.affinity < CONFLICT).fill_diagonal_(True)
        weigh = source_weights if self.spec.mode == "source" else masked_weights
        return weigh(scores, blocked, present)

    @property
    def frozen(self) -> bool:
        return 0 < self.spec.freeze <= self.epoch

    @property
    def prior_share(self) -> float:
        """r, in this epoch."""
        (first, last), start, end = self.spec.prior, self.spec.warmup, self.spec.freeze
        passed = (self.epoch - start) / (end - start) if end else 0.0
        return first + (last - first) * min(max(passed, 0.0), 1.0)

    @torch.no_grad()
    def transfer_weights(self) -> Pairs:
        """w as it stands, for a batch without an absent task."""
        return self._weights(self.seen.new_ones(len(self.names)))

    def conflicts(self) -> dict[str, list[str]]:
        """By task, those with which its affinity is below -0.1."""
        rows = (self.affinity < CONFLICT).tolist()
        pairs = zip(self.names, rows, strict=True)
        return {name: list(compress(self.names, row)) for name, row in pairs}

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.inner.begin_epoch(epoch)

    def rates(self) -> list[tuple[list[nn.Parameter], float]]:
        own = [] if self.learned is None else [([self.learned], self.lr_factor)]
        return [*self.inner.rates(), *own]

    # Buffers of these two would have to be asked of the device at every step.
    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.step, self.epoch])

    def set_extra_state(self, state: Tensor) -> None:
        self.step, self.epoch = state.tolist()
