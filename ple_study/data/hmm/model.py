"""A Gaussian hidden Markov model, fitted by EM on many customers' series at once.

Each customer is a sequence of its own: no step of one follows a step of another.
Parameters are learned from the customers handed to ``fit``, the training ones.
Baum et al. (1970), "A maximization technique occurring in the statistical analysis of
probabilistic functions of Markov chains"; Rabiner (1989) for the notation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ple_study.batch import Events
from ple_study.data.hmm.baum_welch import Parameters, climb, log_density
from ple_study.data.hmm.markov import Forward, forward, smooth, viterbi
from ple_study.data.hmm.series import Steps, check_events, check_training, in_parts
from ple_study.data.hmm.start import (
    check_order,
    check_parameters,
    kmeans_start,
    sort_states,
)

# A part's posteriors fit a processor's cache; a GPU wants more work a launch.
CUSTOMERS_AT_ONCE, ON_A_GPU = 512, 16_384


def at_once(events: Events) -> int:
    return CUSTOMERS_AT_ONCE if events.mask.device.type == "cpu" else ON_A_GPU


class Units(NamedTuple):
    """Mean and deviation of each channel over the observed training steps.

    Fitting runs in these units, so that neither a channel's offset nor its scale
    changes the answer.
    """

    mean: Float[Tensor, " channel"]
    std: Float[Tensor, " channel"]

    @classmethod
    def of(cls, events: Events) -> "Units":
        std, mean = torch.std_mean(events.values[events.mask].double(), 0, correction=0)
        return cls(mean, std)

    def standard(self, events: Events) -> Events:
        return Events((events.values.double() - self.mean) / self.std, events.mask)

    def inward(self, given: Parameters) -> Parameters:
        p = Parameters(*(part.double() for part in given))
        mean, variance = (p.mean - self.mean) / self.std, p.variance / self.std**2
        return p._replace(mean=mean, variance=variance)

    def outward(self, p: Parameters) -> Parameters:
        mean, variance = p.mean * self.std + self.mean, p.variance * self.std**2
        return p._replace(mean=mean, variance=variance)


@dataclass(frozen=True)
class FittedHMM:
    """A fitted model: its parameters, and the log-likelihood before each EM step.

    Every method raises ValueError for a customer without an observed step, for a
    value that is not finite, and for another number of channels.
    """

    parameters: Parameters
    history: tuple[float, ...]
    converged: bool

    def log_likelihood(self, events: Events) -> Float[Tensor, " batch"]:
        """Of each customer's sequence, in nats."""
        return self._each(events, lambda e, s: self._forward(e, s).log_likelihood)

    def filtered(self, events: Events) -> Float[Tensor, "batch time state"]:
        """State probabilities given the steps so far; zero on padding.

        They never see the future, so they may become features.
        """
        return self._each(
            events, lambda e, s: _by_customer(self._forward(e, s).filtered, s)
        )

    def smoothed(self, events: Events) -> Float[Tensor, "batch time state"]:
        """State probabilities given the whole sequence; zero on padding."""
        moves = self.parameters.transition
        return self._each(
            events, lambda e, s: _by_customer(smooth(moves, self._forward(e, s)), s)
        )

    def viterbi(self, events: Events) -> Int[Tensor, "batch time"]:
        """The most likely path of states, 0 the least in order; -1 on padding."""
        start, moves = self.parameters[:2]
        return self._each(events, lambda e, s: viterbi(start, moves, e, s.begun).T)

    def _forward(self, emission: Tensor, steps: Steps) -> Forward:
        return forward(*self.parameters[:2], emission, steps.begun)

    def _each(self, events: Events, read: Callable[[Tensor, Steps], Tensor]) -> Tensor:
        check_events(events, self.parameters.mean.shape[1])
        rows = torch.arange(len(events.mask), device=events.mask.device)
        answers = []
        for part in torch.split(rows, at_once(events)):
            steps = Steps.of(events.rows(part))
            answers.append(read(log_density(self.parameters, steps), steps))
        return torch.cat(answers)


def _by_customer(logs: Tensor, steps: Steps) -> Tensor:
    return logs.exp().where(steps.begun[..., None], 0.0).transpose(0, 1)


@dataclass(frozen=True)
class GaussianHMM:
    """Settings of a hidden Markov model with one Gaussian a state, channels apart.

    EM makes at most ``iterations`` steps and stops when a step gains less than
    ``tolerance`` nats a customer. No variance falls below ``variance_floor`` of its
    channel's own. States are sorted by their mean in channel ``order_by``; by None,
    by the sum over channels of standardised means: of amounts and counts, activity.
    """

    num_states: int = 10
    iterations: int = 200
    tolerance: float = 1e-3
    variance_floor: float = 1e-3
    order_by: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        counts = min(self.num_states, self.iterations)
        if counts < 1 or self.tolerance < 0 or self.variance_floor <= 0:
            raise ValueError(
                "num_states and iterations must be 1 or more, tolerance 0 or more, "
                f"variance_floor above 0. Found {self}."
            )

    def fit(self, events: Events, initial: Parameters | None = None) -> FittedHMM:
        """Learn from these customers, from k-means or from ``initial``.

        Raises ValueError for a customer without an observed step, a value that is not
        finite, a constant channel, fewer (distinct) steps than states, an ``order_by``
        that is no channel, and initial parameters of other shapes, that do not sum to
        one or have no variance.
        """
        check_training(events, self.num_states)
        check_order(self.order_by, events.values.shape[2])
        units = Units.of(events)
        standard = units.standard(events)
        if initial is None:
            k, floor = self.num_states, self.variance_floor
            start = kmeans_start(standard, k, floor, self.seed)
        else:
            check_parameters(initial, self.num_states, len(units.mean))
            start = units.inward(initial)
        parts = [Steps.of(part) for part in in_parts(standard, at_once(events))]
        least_gain = self.tolerance * len(events.mask)
        fitted, history = climb(
            parts, start, self.variance_floor, self.iterations, least_gain
        )
        # The history is in standard units: log p(x) = log p(z) - log std.
        shift = float(events.mask.sum() * units.std.log().sum())
        ordered = sort_states(fitted, self.order_by)
        return FittedHMM(
            units.outward(ordered),
            tuple(h - shift for h in history),
            len(history) > 1 and history[-1] - history[-2] < least_gain,
        )
