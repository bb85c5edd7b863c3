"""The two halves of EM for a hidden Markov model with Gaussian states."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ple_study.data.hmm.markov import forward, smooth, transition_counts
from ple_study.data.hmm.series import Steps

# A state that holds less than this of one step has nothing to be estimated from.
LEAST_WEIGHT = 1e-10


class Parameters(NamedTuple):
    """Start and transition probabilities; each state's mean and variance a channel."""

    start: Float[Tensor, " state"]
    transition: Float[Tensor, "state state"]
    mean: Float[Tensor, "state channel"]
    variance: Float[Tensor, "state channel"]


class Counts(NamedTuple):
    """What EM needs of the data: expected counts, and sums of x and x squared."""

    log_likelihood: Float[Tensor, ""]
    start: Float[Tensor, " state"]
    transition: Float[Tensor, "state state"]
    weight: Float[Tensor, " state"]
    first: Float[Tensor, "state channel"]
    second: Float[Tensor, "state channel"]


def log_density(
    parameters: Parameters, steps: Steps
) -> Float[Tensor, "time batch state"]:
    """Log density of each step under each state; 0 where nothing was observed."""
    mean, variance = parameters.mean, parameters.variance
    # log N(x; m, v) = - sum_channel (log(2 pi v) + (x - m)^2 / v) / 2
    level = -0.5 * (2 * math.pi * variance).log().sum(1)
    density = level.repeat(*steps.observed.shape, 1)
    for channel in range(mean.shape[1]):
        gap = steps.values[..., channel, None] - mean[:, channel]
        density.addcmul_(gap.square_(), -0.5 / variance[:, channel])
    return density.masked_fill_(~steps.observed[..., None], 0.0)


def expect(parameters: Parameters, steps: Steps) -> Counts:
    """E-step: the expected counts of these customers under ``parameters``."""
    start, transition = parameters.start, parameters.transition
    past = forward(start, transition, log_density(parameters, steps), steps.begun)
    smoothed = smooth(transition, past)
    # Moves after the last observation carry no news: counting them slows EM down.
    inside = steps.begun[:-1] & ~steps.ended[1:]
    moves = transition_counts(transition, past, smoothed, inside)
    opening = steps.begun.long().argmax(0)
    customers = torch.arange(len(opening), device=opening.device)
    share = smoothed.exp()
    weight = (share * steps.observed[..., None]).flatten(0, 1)
    values = steps.values.flatten(0, 1)
    return Counts(
        past.log_likelihood.sum(),
        share[opening, customers].sum(0),
        moves,
        weight.sum(0),
        weight.T @ values,
        weight.T @ values.square(),
    )


def total(parts: list[Counts]) -> Counts:
    """The counts of several parts, added up."""
    return Counts(*(torch.stack(part).sum(0) for part in zip(*parts, strict=True)))


def maximise(counts: Counts, old: Parameters, variance_floor: float) -> Parameters:
    """M-step. A state that holds nothing, or leaves for nowhere, stays as it was."""
    held = counts.weight[:, None]
    left = counts.transition.sum(1, keepdim=True)
    mean = counts.first / held
    variance = (counts.second / held - mean**2).clamp(min=variance_floor)
    return Parameters(
        counts.start / counts.start.sum(),
        (counts.transition / left).where(left > LEAST_WEIGHT, old.transition),
        mean.where(held > LEAST_WEIGHT, old.mean),
        variance.where(held > LEAST_WEIGHT, old.variance),
    )


def climb(
    parts: list[Steps],
    parameters: Parameters,
    variance_floor: float,
    iterations: int,
    least_gain: float,
) -> tuple[Parameters, list[float]]:
    """EM steps until the log-likelihood, told before each, rises by too little."""
    history: list[float] = []
    for _ in range(iterations):
        counts = total([expect(parameters, part) for part in parts])
        parameters = maximise(counts, parameters, variance_floor)
        history.append(float(counts.log_likelihood))
        if len(history) > 1 and history[-1] - history[-2] < least_gain:
            break
    return parameters, history
