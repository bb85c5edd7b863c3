"""A tree lies in the disk as hyperbolic geometry says."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ple_study import plots, poincare
from ple_study.data.graphs import disk

PARENT = np.array([-1, 0, 0, 1, 1, 1, 2])  # two branches, of three leaves and of one
inside = st.tuples(st.floats(0, 0.95), st.floats(0, 2 * np.pi)).map(
    lambda polar: polar[0] * np.exp(1j * polar[1])
)


@pytest.fixture(autouse=True)
def axes():
    with plt.rc_context(plots.STYLE):
        figure, axes = plt.subplots()
        yield axes
        plt.close(figure)


def distance(a, b):
    """Nickel and Kiela (2017), equation 1."""
    gap = np.abs(a - b) ** 2 / ((1 - np.abs(a) ** 2) * (1 - np.abs(b) ** 2))
    return np.arccosh(1 + 2 * gap)


def test_a_node_lies_a_step_from_the_centre_for_each_level():
    place = disk.places(PARENT)
    found = distance(place, 0)
    expected = disk.STEP * np.array([0, 1, 1, 2, 2, 2, 2])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_leaves_share_the_circle_and_parents_look_to_their_middle():
    turn = np.angle(disk.places(PARENT)[1:]) % (2 * np.pi) / (2 * np.pi)
    expected = [3 / 8, 7 / 8, 1 / 8, 3 / 8, 5 / 8, 7 / 8]
    np.testing.assert_allclose(turn, expected, atol=1e-12)


@pytest.mark.parametrize("parent", [[], [0], [-1, 1], [-1, 2, 0]])
def test_a_child_before_its_parent_is_refused(parent):
    with pytest.raises(ValueError, match="Parents must stand before their children"):
        disk.places(np.array(parent, dtype=np.int64))


@given(inside, inside)
def test_a_geodesic_is_the_shortest_way(start, end):
    way = poincare.geodesic(np.array([start]), np.array([end]))[0]
    np.testing.assert_allclose(way[[0, -1]], [start, end], atol=1e-9)
    whole = distance(start, end)
    pieces = distance(way[1:], way[:-1])
    np.testing.assert_allclose(pieces.sum(), whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pieces, whole / poincare.PIECES, rtol=1e-3, atol=1e-5)


def test_the_way_to_a_visited_leaf_is_drawn_as_often_as_it_is_taken(axes):
    visits = np.array([0, 0, 0, 3.0, 0, 0, 1])
    poincare.disk(axes, PARENT, visits, colour="#4477AA")
    _, ways, dots = axes.collections
    assert len(ways.get_segments()) == 4
    np.testing.assert_allclose(
        ways.get_linewidths(), 0.5 + 2.5 * np.array([3, 1, 3, 1]) / 4
    )
    at = disk.places(PARENT)[[3, 6]]
    np.testing.assert_allclose(dots.get_offsets(), np.stack([at.real, at.imag], 1))


def test_the_deepest_node_stays_inside_and_there_is_one_root():
    chain = np.arange(-1, 60)
    assert (np.abs(disk.places(chain)) < 1).all()
    with pytest.raises(ValueError, match="before their children"):
        disk.places(np.array([-1, 0, -1]))
