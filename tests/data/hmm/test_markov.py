"""Every recursion against a sum over all paths, near and beyond a double's reach."""

import pytest
import torch
from torch.testing import assert_close

from ple_study.data.hmm.markov import (
    Forward,
    forward,
    move,
    smooth,
    transition_counts,
    viterbi,
)
from tests.data.hmm.chains import by_all_paths, chain

TIME = 6
BEGINNINGS = (0, 2, 5, 3)  # the first observed step of each customer
LAST = TIME - 1


def emissions(num_states: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(num_states)
    size = (TIME, len(BEGINNINGS), num_states)
    emission = scale * torch.randn(size, generator=g, dtype=torch.float64)
    begun = torch.arange(TIME)[:, None] >= torch.tensor(BEGINNINGS)
    emission[~begun] = 0.0
    emission[3, 0] = 0.0  # nothing was seen on this day
    return emission, begun


def left_to_right(num_states: int) -> tuple[torch.Tensor, torch.Tensor]:
    moves = torch.triu(chain(num_states, 1).transition)
    start = torch.zeros(num_states, dtype=torch.float64)
    start[0] = 1.0
    return start, moves / moves.sum(1, keepdim=True)


CASES = {
    "plain": (3, 1.0, False),
    "two states": (2, 3.0, False),
    "left to right": (3, 1.0, True),
    "beyond a double": (3, 900.0, False),
    "beyond a double, left to right": (3, 900.0, True),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_recursions_equal_the_sum_over_all_paths(case: tuple[int, float, bool]) -> None:
    num_states, scale, ordered = case
    start, moves = left_to_right(num_states) if ordered else chain(num_states, 1)[:2]
    emission, begun = emissions(num_states, scale)
    past = forward(start, moves, emission, begun)
    smoothed, path = smooth(moves, past), viterbi(start, moves, emission, begun)
    for row, first in enumerate(BEGINNINGS):
        alone = emission[first:, row]
        truth = by_all_paths(start, moves, alone, LAST - first)
        likelihood, filtered = past.log_likelihood[row], past.filtered[first:, row]
        assert_close(likelihood, truth.log_likelihood, rtol=1e-12, atol=1e-10)
        assert_close(filtered.exp(), truth.filtered, rtol=0, atol=1e-10)
        assert_close(smoothed[first:, row].exp(), truth.smoothed, rtol=0, atol=1e-10)
        assert path[:, row].tolist() == [-1] * first + truth.path
        inside = torch.zeros(LAST, len(BEGINNINGS), dtype=torch.bool)
        inside[first:, row] = True
        counts = transition_counts(moves, past, smoothed, inside)
        assert_close(counts, truth.moves, rtol=0, atol=1e-10)


def test_a_move_keeps_what_a_double_would_lose() -> None:
    # The heavy state cannot reach the last one; the light one alone can.
    matrix = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    weights = torch.tensor([[0.0, -2000.0]], dtype=torch.float64)
    assert move(weights, matrix).tolist() == [[0.0, -2000.0]]


def test_counts_hold_where_the_surprise_overflows() -> None:
    # The first step all but excludes a state; the second leaves nothing else.
    start = torch.tensor([0.5, 0.5], dtype=torch.float64)
    moves = torch.eye(2, dtype=torch.float64)
    emission = torch.tensor([[[0.0, -2000.0]], [[-5000.0, 0.0]]], dtype=torch.float64)
    begun = torch.ones(2, 1, dtype=torch.bool)
    past = forward(start, moves, emission, begun)
    counts = transition_counts(moves, past, smooth(moves, past), begun[:1])
    expected = torch.tensor([[0.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert_close(counts, expected, rtol=0, atol=1e-10)


def test_moves_outside_are_not_counted() -> None:
    start, moves = chain(3, 1)[:2]
    emission, begun = emissions(3, 1.0)
    past = forward(start, moves, emission, begun)
    outside = torch.zeros(LAST, len(BEGINNINGS), dtype=torch.bool)
    counts = transition_counts(moves, past, smooth(moves, past), outside)
    assert not counts.any()


def test_padding_adds_nothing_to_the_bit() -> None:
    start, moves = chain(3, 1)[:2]
    emission, begun = emissions(3, 1.0)
    found = forward(start, moves, emission, begun)
    more = [torch.cat([x[:1] * 0, x]) for x in (emission, begun)]
    padded: Forward = forward(start, moves, more[0], more[1].bool())
    assert torch.equal(padded.log_likelihood, found.log_likelihood)
