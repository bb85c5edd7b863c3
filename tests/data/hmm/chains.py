"""Hidden Markov chains for tests, and every quantity by a sum over all paths."""

from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from ple_study.batch import Events
from ple_study.data.hmm.baum_welch import Parameters

STATES, CHANNELS = 4, 3
SIZES = (5, 1, 7, 4)  # lengths of the customers' series
MANY = (9, 1, 30, 17, 24, 2, 30)


class Truth(NamedTuple):
    log_likelihood: Tensor
    filtered: Tensor
    smoothed: Tensor
    path: list[int]
    moves: Tensor


def chain(num_states: int, channels: int, seed: int = 0) -> Parameters:
    g = torch.Generator().manual_seed(seed)
    rand = lambda *size: torch.rand(*size, generator=g, dtype=torch.float64)  # noqa: E731
    start, moves = rand(num_states) + 0.1, rand(num_states, num_states) + 0.1
    # Means rise with the state, so that sorting changes nothing.
    mean = torch.arange(num_states).double()[:, None] + 0.3 * rand(num_states, channels)
    return Parameters(
        start / start.sum(),
        moves / moves.sum(1, keepdim=True),
        mean,
        0.2 + rand(num_states, channels),
    )


def series(sizes: tuple[int, ...], channels: int, seed: int = 1) -> Events:
    """Series of these lengths, ending together, with noise where nothing is."""
    g = torch.Generator().manual_seed(seed)
    time, sizes_ = max(sizes), torch.tensor(sizes)
    drift = torch.randn(len(sizes), time, channels, generator=g, dtype=torch.float64)
    mask = torch.arange(time, 0, -1) <= sizes_[:, None]
    return Events(0.8 * drift.cumsum(1) + drift[..., :1], mask)


def by_all_paths(
    start: Tensor, transition: Tensor, emission: Tensor, moves_until: int
) -> Truth:
    """``emission`` is one customer's, [time, state], from its first observation on."""
    time, num_states = emission.shape
    paths = torch.tensor(list(product(range(num_states), repeat=time)))
    steps = emission[torch.arange(time), paths]
    moves = transition.log()[paths[:, :-1], paths[:, 1:]]
    logs = start.log()[paths[:, 0]] + steps.sum(1) + moves.sum(1)
    share = (logs - logs.logsumexp(0)).exp()
    so_far = start.log()[paths[:, :1]] + steps.cumsum(1)
    so_far[:, 1:] += moves.cumsum(1)
    # A prefix is shared by many paths; each shares in it alike.
    prefix = (so_far - so_far.logsumexp(0)).exp()
    counts = torch.zeros(num_states, num_states, dtype=torch.float64)
    for t in range(moves_until):
        counts.index_put_((paths[:, t], paths[:, t + 1]), share, accumulate=True)
    state = torch.arange(num_states)
    at = paths[..., None] == state
    return Truth(
        logs.logsumexp(0),
        (prefix[..., None] * at).sum(0),
        (share[:, None, None] * at).sum(0),
        paths[logs.argmax()].tolist(),
        counts,
    )
