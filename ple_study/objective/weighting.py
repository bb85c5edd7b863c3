"""From one loss a task to the one number that training minimises."""

# ruff: noqa: ARG002 - not every kind looks at the shared parameters

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn

from ple_study.batch import ModelSpec
from ple_study.names import one_of
from ple_study.objective.losses import TaskLosses
from ple_study.schema import TaskSpec

Start = Literal["zero", "loss"]
Parameters = Sequence[nn.Parameter]


class Weighting(nn.Module, ABC):
    """Adds the losses of the tasks up; a task that is absent adds nothing.

    Whatever is learned here belongs to the objective, not to the model: its parameters
    are trained with the model's learning rate times their factor in ``rates``, and
    without weight decay. What a kind remembers from batch to batch is a buffer, so that
    a resumed run continues as it was.
    """

    lr_factor: float = 1.0

    def __init__(self, tasks: Sequence[TaskSpec]) -> None:
        super().__init__()
        if not tasks:
            raise ValueError("A weighting needs at least one task. Found none.")
        self.names = [task.name for task in tasks]
        self.weights: Tensor
        weights = torch.tensor([float(task.weight) for task in tasks])
        self.register_buffer("weights", weights, persistent=False)

    @abstractmethod
    def terms(
        self, losses: TaskLosses, shared: Parameters = ()
    ) -> Float[Tensor, " task"]:
        """What each task adds to the sum; zero for a task that is absent.

        ``shared`` are the parameters that several tasks train, for a kind that looks at
        the tasks' gradients in them; the others need none.
        """

    def forward(self, losses: TaskLosses, shared: Parameters = ()) -> Float[Tensor, ""]:
        return self.terms(losses, shared).sum()

    def begin_epoch(self, epoch: int) -> None:
        """Called before an epoch's training, counted from zero; by default nothing."""

    def rates(self) -> list[tuple[list[nn.Parameter], float]]:
        """The parameters, each list with the factor of its learning rate."""
        return [(list(self.parameters()), self.lr_factor)]


@runtime_checkable
class WeightingSpec(Protocol):
    """Numbers and names that build a weighting of tasks, in the schema's order."""

    def build(self, tasks: Sequence[TaskSpec]) -> Weighting: ...


def check_weighting(who: str, spec: object) -> None:
    """Raises ValueError for what is no weighting's spec, as a class or a model's is."""
    other = isinstance(spec, type | ModelSpec)
    if other or not isinstance(spec, WeightingSpec):
        raise ValueError(
            f"{who} needs the spec of a weighting, such as FixedWeightingSpec(). Found "
            f"{spec!r}."
        )


def check_positive(spec: object, *names: str) -> None:
    """Raises ValueError when a number of these names is not finite and above zero."""
    for name in names:
        value = getattr(spec, name)
        if not 0 < value < math.inf:
            kind = type(spec).__name__
            raise ValueError(f"{kind} needs a finite {name} above zero. Found {value}.")


def over_processes(losses: TaskLosses) -> tuple[Tensor, Tensor]:
    """Each task's loss, and one where it is present, summed over all processes."""
    count = losses.present.to(losses.values.dtype)
    total = losses.values.detach() * count
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(total)
        distributed.all_reduce(count)
    return total, count


@dataclass(frozen=True, kw_only=True)
class FixedWeightingSpec:
    """Each task's loss times the weight that its ``TaskSpec`` states."""

    def build(self, tasks: Sequence[TaskSpec]) -> "FixedWeighting":
        return FixedWeighting(tasks)


class FixedWeighting(Weighting):
    """sum_k w_k L_k"""

    def terms(
        self, losses: TaskLosses, shared: Parameters = ()
    ) -> Float[Tensor, " task"]:
        return self.weights * losses.values


@dataclass(frozen=True, kw_only=True)
class UncertaintyWeightingSpec:
    """Learned weights (Kendall et al., CVPR 2018, equation 7), a log variance a task.

    ``start``: every log variance begins at ``zero``, or at the logarithm of the first
    ``loss`` that its task shows, where its derivative is zero. ``bound``: it stays in
    [-bound, bound]. ``lr_factor``: how much faster than the model it learns; with the
    model's own rate Adam moves it too little to ever arrive.
    """

    start: Start = "zero"
    bound: float = 4.0
    lr_factor: float = 20.0

    def __post_init__(self) -> None:
        one_of("Start of uncertainty weighting", self.start, get_args(Start))
        check_positive(self, "bound", "lr_factor")

    def build(self, tasks: Sequence[TaskSpec]) -> "UncertaintyWeighting":
        return UncertaintyWeighting(tasks, self)


class UncertaintyWeighting(Weighting):
    """sum_k w_k (exp(-s_k) L_k + s_k), with a learned s_k = log sigma_k^2.

    The best s_k is log L_k: there the gradient of a term is w_k grad log L_k, so that a
    constant factor in a loss cancels. (Kendall's own form halves both terms, which
    moves no optimum.) A task that is absent sends its s_k no gradient.
    """

    def __init__(
        self, tasks: Sequence[TaskSpec], spec: UncertaintyWeightingSpec
    ) -> None:
        super().__init__(tasks)
        self.spec, self.lr_factor = spec, spec.lr_factor
        self.log_variances = nn.Parameter(torch.zeros(len(tasks)))
        self.started: Tensor
        self.register_buffer("started", torch.zeros(len(tasks), dtype=torch.bool))

    def terms(
        self, losses: TaskLosses, shared: Parameters = ()
    ) -> Float[Tensor, " task"]:
        if self.training and self.spec.start == "loss":
            self._start(losses)
        if self.training:
            # A clamp in the formula would send no gradient to what lies outside, and
            # so hold it there for good.
            with torch.no_grad():
                self.log_variances.clamp_(-self.spec.bound, self.spec.bound)
        s = self.log_variances
        # w_k (exp(-s_k) L_k + s_k)
        terms = self.weights * (torch.exp(-s) * losses.values + s)
        return terms * losses.present

    @torch.no_grad()
    def _start(self, losses: TaskLosses) -> None:
        """s_k = log L_k for tasks seen for the first time, alike in every process."""
        total, count = over_processes(losses)
        first = (count > 0) & ~self.started
        begin = (total / count).log().to(self.log_variances)
        self.log_variances.copy_(begin.where(first, self.log_variances))
        self.started |= first


@dataclass(frozen=True, kw_only=True)
class DynamicWeightAverageSpec:
    """Weights by how fast the losses fall (Liu et al., CVPR 2019, equation 7).

    The higher the ``temperature``, the more alike the weights.
    """

    temperature: float = 2.0

    def __post_init__(self) -> None:
        check_positive(self, "temperature")

    def build(self, tasks: Sequence[TaskSpec]) -> "DynamicWeightAverage":
        return DynamicWeightAverage(tasks, self)


class DynamicWeightAverage(Weighting):
    """sum_k w_k v_k L_k, with v = K softmax(r / T) and the task's own weight w_k.

    r_k is the mean of L_k over the last epoch's batches by that of the epoch before:
    one in the first two epochs, and for a task that either epoch held no label of.
    Batches are counted while training, epochs as ``begin_epoch`` is told: an epoch that
    begins again drops what it had counted.
    """

    def __init__(
        self, tasks: Sequence[TaskSpec], spec: DynamicWeightAverageSpec
    ) -> None:
        super().__init__(tasks)
        self.spec = spec
        self.factors: Tensor
        self.counted: Tensor
        self.means: Tensor
        self.epoch: Tensor
        self.register_buffer("factors", torch.ones(len(tasks)))
        # sum and number of the losses so far; means of the last epoch, of that before
        self.register_buffer("counted", torch.zeros(2, len(tasks)))
        self.register_buffer("means", torch.full((2, len(tasks)), torch.nan))
        self.register_buffer("epoch", torch.tensor(-1))

    def terms(
        self, losses: TaskLosses, shared: Parameters = ()
    ) -> Float[Tensor, " task"]:
        if self.training:
            self.counted += torch.stack(over_processes(losses)).to(self.counted)
        return self.weights * self.factors * losses.values

    def begin_epoch(self, epoch: int) -> None:
        if epoch > self.epoch:
            total, count = self.counted
            self.means = torch.stack([total / count, self.means[0]])
            ratios = self.means[0] / self.means[1]
            known = ratios.where(ratios.isfinite(), 1.0)
            softmax = torch.softmax(known / self.spec.temperature, dim=0)
            self.factors = len(known) * softmax
        self.counted = torch.zeros_like(self.counted)
        self.epoch.fill_(epoch)
