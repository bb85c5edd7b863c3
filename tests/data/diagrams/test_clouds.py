"""Clouds and their borders, which events are drawn, and clouds that are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ple_study.data.diagrams import Clouds
from ple_study.data.diagrams.clouds import borders, stratified
from tests.data.diagrams.shapes import SIZES, clouds


def test_each_customer_has_its_own_points_and_rows_take_them_along() -> None:
    world = clouds(3)
    assert len(world) == len(SIZES)
    assert [len(world.of(i)) for i in range(len(world))] == list(SIZES)
    together = np.concatenate([world.of(i) for i in range(len(world))])
    np.testing.assert_array_equal(together, world.points)
    index = np.array([7, 1, 2, 7])
    taken = world.rows(index)
    assert len(taken) == 4
    for row, customer in enumerate(index):
        np.testing.assert_array_equal(taken.of(row), world.of(int(customer)))
    assert len(world.rows(index[:0])) == 0


def test_borders_are_where_sizes_add_up() -> None:
    assert borders(np.array([4, 0, 3])).tolist() == [0, 4, 4, 7]
    assert borders(np.zeros(0, np.int64)).tolist() == [0]


@given(
    num_events=st.integers(0, 400),
    at_most=st.integers(1, 90),
    seed=st.integers(0, 99),
)
def test_one_event_is_drawn_from_each_stretch(
    num_events: int, at_most: int, seed: int
) -> None:
    kept = stratified(num_events, at_most, seed)
    assert len(kept) == min(num_events, at_most)
    assert (np.diff(kept) > 0).all()
    np.testing.assert_array_equal(stratified(num_events, at_most, seed), kept)
    if num_events <= at_most:
        assert kept.tolist() == list(range(num_events))
    else:
        stretch = num_events / at_most
        low = np.floor(np.arange(at_most) * stretch + 1e-9)
        high = np.floor(np.arange(1, at_most + 1) * stretch + 1e-9)
        assert ((low <= kept) & (kept < high)).all()


def test_the_draw_reaches_every_event_evenly_and_follows_the_seed() -> None:
    drawn = np.concatenate([stratified(30, 10, seed) for seed in range(3000)])
    share = np.bincount(drawn, minlength=30) / 3000
    # Three in a stretch: a third each, five deviations of a share of 3000.
    assert np.abs(share - 1 / 3).max() < 5 * np.sqrt(2 / 9 / 3000)


POINTS = np.zeros((5, 2))
START = np.array([0, 2, 5])
NAN, INFINITE = POINTS.copy(), POINTS.copy()
NAN[3, 1], INFINITE[0, 0] = np.nan, -np.inf
BAD = {
    "not a number": (NAN, START, r"infinity in 1 events, first \[3\]"),
    "infinite": (INFINITE, START, r"infinity in 1 events, first \[0\]"),
    "one axis": (POINTS[:, 0], START, r"Found float64 of shape \[5\]"),
    "no coordinate": (POINTS[:, :0], START, r"Found float64 of shape \[5, 0\]"),
    "other numbers": (POINTS.astype(np.float32), START, "Found float32"),
    "too few events": (POINTS, START[:2], "from 0 to 5, .* Found 0 to 2 with 0 steps"),
    "begins late": (POINTS, START[1:], "from 0 to 5, .* Found 2 to 5"),
    "goes back": (POINTS, np.array([0, 4, 2, 5]), "0 to 5 with 1 steps back"),
    "no border": (POINTS, START[:0], r"at least one. Found int64 of shape \[0\]"),
    "borders in a table": (POINTS, START[None], r"Found int64 of shape \[1, 3\]"),
    "broken borders": (POINTS, START / 1.0, "Found float64"),
}


@pytest.mark.plain
@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_bad_clouds_are_refused(case: tuple[np.ndarray, np.ndarray, str]) -> None:
    with pytest.raises(ValueError, match=case[2]):
        Clouds(case[0], case[1])
