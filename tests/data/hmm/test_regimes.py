"""The numbers of a mode by hand, against numpy, and for customers without a series."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ple_study.batch import Events
from ple_study.data.hmm.model import FittedHMM
from ple_study.data.hmm.regimes import (
    DYNAMICS,
    LONGEST,
    PROFILE,
    Layout,
    dwell,
    dynamics,
    profiles,
    summary,
)
from tests.data.hmm.chains import SIZES, chain, series

STATES = 4
PATHS = {
    # q: velocity, acceleration, lyapunov, cycle period, attractor, trajectory length
    "by hand": ([0, 2, 1, 1, 3], [5 / 4, 6 / 3, 2 / 4, 0, 5 / 4, 5 / 5]),
    "at rest": ([2, 2, 2], [0, 0, 0, 0, 1, 0]),
    "one step": ([3], [0, 0, 0, 0, 1, 0]),
    "two steps": ([3, 1], [2, 0, 2, 0, 2, 1]),
    "one move, late": ([1, 1, 1, 2], [1 / 3, 1 / 2, 1, 0, 4 / 3, 1 / 4]),
    "every fourth": ([0, 0, 0, 3] * 4, [21 / 15, 39 / 14, 12 / 10, 4 / 8, 1, 21 / 16]),
}


def by_numpy(q: np.ndarray) -> list[float]:
    """The same six formulas, written as loops over one path."""
    size, move = len(q), np.abs(np.diff(q))
    first = (size - 1) // 2
    c = q - q.mean()
    most = size // 2
    r = [float((c[lag:] * c[: size - lag]).sum()) for lag in range(size)] + [0.0]
    peaks = [
        (-r[lag], lag)
        for lag in range(1, most + 1)
        if r[lag] > r[lag - 1] + 1e-9 and r[lag] > r[lag + 1] - 1e-9 and r[lag] > 1e-9
    ]
    tail = q[-int(np.ceil(size / 4)) :]
    return [
        move.mean() if size > 1 else 0.0,
        np.abs(np.diff(q, n=2)).mean() if size > 2 else 0.0,
        move[first:].sum() / (move[:first].sum() + 1),
        min(peaks)[1] / most if peaks else 0.0,
        (np.bincount(tail).max() / len(tail)) / (np.bincount(q).max() / size),
        move.sum() / size,
    ]


def padded(paths: list[list[int]]) -> torch.Tensor:
    width = max(map(len, paths))
    return torch.tensor([[-1] * (width - len(q)) + q for q in paths])


@pytest.mark.parametrize("name", PATHS)
def test_dynamics_by_hand(name: str) -> None:
    path, expected = PATHS[name]
    found = dynamics(padded([path]))[0]
    wanted = torch.tensor(expected, dtype=torch.float64)
    assert_close(found, wanted)


def test_dynamics_equal_loops_and_padding_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    paths = [rng.integers(0, 5, size).tolist() for size in range(1, 40)]
    paths += [np.repeat(q, 3).tolist() for q in paths[:12]]
    found = dynamics(padded(paths))
    wanted = torch.tensor([by_numpy(np.array(q)) for q in paths]).double()
    assert found.shape == (len(paths), len(DYNAMICS))
    assert_close(found, wanted, rtol=0, atol=1e-6)
    assert len(found[:, 3].unique()) > 5
    length, velocity = found[:, 5], found[:, 0]
    size = torch.tensor([len(q) for q in paths])
    assert_close(length, velocity * (size - 1) / size)


def test_profiles_by_hand() -> None:
    path = padded([[0, 1, 1, 2, 2], [3, 3]])
    last = torch.tensor([[0.25, 0.25, 0.5, 0.0], [0.0, 0.0, 0.0, 1.0]]).double()
    moves = torch.diag(torch.tensor([0.1, 0.2, 0.3, 0.4])).double()
    entropy = (0.5 * np.log(4) + 0.5 * np.log(2)) / np.log(4)
    wanted = [[2 / 5, 0.3, entropy, 2 / 3, 2 / 4], [1, 0.4, 0, 1, 0]]
    found = profiles(last, path, moves)
    assert found.shape == (2, len(PROFILE))
    assert_close(found, torch.tensor(wanted).double(), rtol=0, atol=1e-7)


def test_dwell_by_hand_and_by_chance() -> None:
    moves = torch.tensor([[0.75, 0.25, 0.0], [0.1, 0.5, 0.4], [0.0, 0.0, 1.0]]).double()
    spread = [
        0.75 * np.log(4 / 3) + 0.25 * np.log(4),
        0.1 * np.log(10) + 0.5 * np.log(2) + 0.4 * np.log(2.5),
        0.0,
    ]
    wanted = torch.tensor([[4.0, 2.0, LONGEST], spread]).double().T
    assert_close(dwell(moves), wanted)
    # The stays in the first state, drawn: their mean is the dwell time.
    stays = np.random.default_rng(0).geometric(0.25, 200_000)
    assert abs(stays.mean() - float(dwell(moves)[0, 0])) < 0.05


@pytest.mark.parametrize(
    ("num_states", "layout", "width"),
    [
        (10, "dynamics", 16),
        (5, "profile", 16),
        (1, "profile", 12),
        (5, "dwell", 8),
        (6, "dwell", 9),
    ],
)
def test_summary_is_as_wide_as_its_layout(
    num_states: int, layout: Layout, width: int
) -> None:
    model = FittedHMM(chain(num_states, 2), (), True)
    found = summary(model, series(SIZES, 2), layout)
    assert found.shape == (len(SIZES), width)
    assert found.isfinite().all()


def test_dwell_layout_reads_the_state_that_the_path_ends_in() -> None:
    events, model = series(SIZES, 2), FittedHMM(chain(STATES, 2), (), True)
    found = summary(model, events, "dwell")
    state = model.viterbi(events)[:, -1]
    assert len(state.unique()) > 1
    assert_close(found[:, 0], state.double())
    assert_close(found[:, 1:-2], model.filtered(events)[:, -1])
    assert_close(found[:, -2:], dwell(model.parameters.transition)[state])


def test_summary_reads_the_last_filtered_step_and_the_path() -> None:
    events, model = series(SIZES, 2), FittedHMM(chain(STATES, 2), (), True)
    found = summary(model, events, "profile")
    assert_close(found[:, :STATES], model.filtered(events)[:, -1])
    assert_close(found[:, -6:], dynamics(model.viterbi(events)))
    assert torch.equal(summary(model, events)[:, -6:], found[:, -6:])


def test_customers_without_a_series_are_rows_of_nan() -> None:
    events, model = series(SIZES, 2), FittedHMM(chain(STATES, 2), (), True)
    mask = events.mask.clone()
    mask[1] = False
    found = summary(model, Events(events.values.float(), mask))
    known = torch.tensor([0, 2, 3])
    assert found.dtype == torch.float32
    assert found[1].isnan().all()
    assert_close(found[known], summary(model, events).float()[known])
    nobody = Events(events.values, torch.zeros_like(mask))
    for layout in ("dynamics", "profile", "dwell"):
        none, some = (summary(model, e, layout) for e in (nobody, events))
        assert none.shape == some.shape
        assert none.isnan().all()


def test_events_after_the_cut_off_move_no_number() -> None:
    events, model = series((7, 7, 7), 2), FittedHMM(chain(STATES, 2), (), True)
    later = events.values.clone()
    later[:, 5:] += 3.0
    before = [Events(v[:, :5], events.mask[:, :5]) for v in (events.values, later)]
    assert torch.equal(summary(model, before[0]), summary(model, before[1]))
    assert not torch.equal(
        summary(model, events), summary(model, Events(later, events.mask))
    )
