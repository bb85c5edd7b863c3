"""The recursions of a hidden Markov chain, over many customers at once, in logs.

Arrays are time first: ``[time, batch, state]``. A step without an observation has
log emission 0: the chain moves on, nothing is learned. ``begun`` is true from a
customer's first observation on; what comes before is padding, and ``start`` is the
chain's distribution at that first observation.

Forward recursion and Viterbi path: Rabiner (1989), sections III.A and III.B. The
backward pass divides by what the forward pass predicted: Kim (1994), equation 2.20'.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Logs further apart than FAR, and sums below FAINT, leave the reach of a double.
FAR, FAINT = 600.0, 1e-280


class Forward(NamedTuple):
    """Log state probabilities given the past, given past and present, and the
    log-likelihood of each customer's whole sequence."""

    predicted: Float[Tensor, "time batch state"]
    filtered: Float[Tensor, "time batch state"]
    log_likelihood: Float[Tensor, " batch"]


def move(
    log_weights: Float[Tensor, "batch state"], matrix: Float[Tensor, "state state"]
) -> Float[Tensor, "batch state"]:
    """log sum_i exp(w_i) M_ij, also where a term is below the least double."""
    peak = log_weights.amax(1, keepdim=True)
    sums = (log_weights - peak).exp() @ matrix
    total = sums.log() + peak
    faint = (sums < FAINT).any(1)
    if faint.any():  # only these rows pay for every pair of states
        rows = log_weights[faint]
        total[faint] = (rows[:, :, None] + matrix.log()).logsumexp(1)
    return total


def forward(
    start: Float[Tensor, " state"],
    transition: Float[Tensor, "state state"],
    emission: Float[Tensor, "time batch state"],
    begun: Bool[Tensor, "time batch"],
) -> Forward:
    """Predict, weigh by the emission, normalise; step by step."""
    opening = start.log().expand_as(emission[0])
    predicted = [opening]
    filtered = [(opening + emission[0]).log_softmax(1)]
    for time in range(1, len(emission)):
        moved = move(filtered[-1], transition)
        predicted.append(torch.where(begun[time - 1, :, None], moved, opening))
        filtered.append((predicted[-1] + emission[time]).log_softmax(1))
    before, after = torch.stack(predicted), torch.stack(filtered)
    # log p(x_t | x_1..x_{t-1}) is what the likeliest state lost by normalising.
    news = (before + emission).amax(2) - after.amax(2)
    # On padding that is the log of a sum of start probabilities: rounding, not data.
    return Forward(before, after, news.where(begun, 0.0).sum(0))


def surprise(
    smoothed: Float[Tensor, "*steps state"], predicted: Float[Tensor, "*steps state"]
) -> Float[Tensor, "*steps state"]:
    """log of smoothed over predicted; a state that cannot be stays at -inf."""
    return (smoothed - predicted).where(predicted > -torch.inf, -torch.inf)


def smooth(
    transition: Float[Tensor, "state state"], past: Forward
) -> Float[Tensor, "time batch state"]:
    """Log state probabilities given the whole sequence."""
    smoothed = [past.filtered[-1]]
    for time in reversed(range(len(past.filtered) - 1)):
        # s_t(i) = f_t(i) * sum_j A_ij s_{t+1}(j) / p_{t+1}(j)
        ratio = surprise(smoothed[-1], past.predicted[time + 1])
        smoothed.append(past.filtered[time] + move(ratio, transition.T))
    return torch.stack(smoothed[::-1])


def transition_counts(
    transition: Float[Tensor, "state state"],
    past: Forward,
    smoothed: Float[Tensor, "time batch state"],
    inside: Bool[Tensor, "before batch"],
) -> Float[Tensor, "state state"]:
    """Expected moves from state to state, over the pairs of steps ``inside``.

    ``inside[t]`` says whether the move from step t to step t + 1 counts.
    """
    # sum_t f_t(i) * A_ij * s_{t+1}(j) / p_{t+1}(j)
    before = past.filtered[:-1].masked_fill(~inside[..., None], -torch.inf)
    ratio = surprise(smoothed[1:], past.predicted[1:])
    before, ratio = before.flatten(0, 1), ratio.flatten(0, 1)
    wild = ratio.amax(1) > FAR
    tame = ratio.masked_fill(wild[:, None], -torch.inf).exp()
    counts = transition * (before.exp().T @ tame)
    if wild.any():  # the ratio overflows, its product with the rest does not
        rows = before[wild][:, :, None] + transition.log() + ratio[wild][:, None]
        counts = counts + rows.exp().sum(0)
    return counts


def viterbi(
    start: Float[Tensor, " state"],
    transition: Float[Tensor, "state state"],
    emission: Float[Tensor, "time batch state"],
    begun: Bool[Tensor, "time batch"],
) -> Int[Tensor, "time batch"]:
    """The single most likely path of states; -1 on padding."""
    opening = start.log().expand_as(emission[0])
    score = opening + emission[0]
    origins: list[Tensor] = []
    for time in range(1, len(emission)):
        best, origin = (score[:, :, None] + transition.log()).max(1)
        score = torch.where(begun[time - 1, :, None], best, opening) + emission[time]
        origins.append(origin)
    path = [score.argmax(1)]
    for origin in reversed(origins):
        path.append(origin.gather(1, path[-1][:, None])[:, 0])
    return torch.stack(path[::-1]).where(begun, -1)
