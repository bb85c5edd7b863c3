"""An early end of Rips: when it may be, and that it changes nothing."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from ple_study.data.diagrams import homology
from ple_study.data.diagrams.homology import bridged, rips
from tests.data.diagrams.shapes import Array, clouds, finite, plain_rips

DIMENSIONS = (0, 1)


def rows(bars: list[Array]) -> Array:
    return finite(np.concatenate([np.insert(b, 2, k, 1) for k, b in enumerate(bars)]))


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=20
    ),
    share=st.floats(0.05, 1.0),
)
def test_bridged_is_that_every_long_edge_has_a_nearer_point(
    cells: list[tuple[int, int]], share: float
) -> None:
    distance = squareform(pdist(np.array(cells, np.float64)))
    least = share * float(distance.max())
    wanted = all(
        any(max(row[i], row[j]) < distance[i, j] for row in distance)
        for i, j in combinations(range(len(cells)), 2)
        if distance[i, j] >= least
    )
    assert bridged(distance, least) == wanted


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 9999),
    early=st.floats(0.3, 1.0),
    coordinates=st.integers(1, 6),
    round_=st.booleans(),
)
def test_wherever_rips_tries_to_end_its_bars_are_gudhis(
    seed: int, early: float, coordinates: int, round_: bool
) -> None:
    points = clouds(coordinates, (24,), seed).points
    if round_:
        points = np.round(points)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(homology, "LARGE", 0)
        patch.setattr(homology, "EARLY", early)
        made = rows(rips(points, DIMENSIONS))
    np.testing.assert_array_equal(made, finite(plain_rips(points, DIMENSIONS)))


def circle(num_points: int) -> Array:
    angle = 2 * np.pi * np.arange(num_points) / num_points
    return np.stack([np.cos(angle), np.sin(angle)], 1)


@pytest.mark.parametrize("large", [0, 999])
def test_a_loop_still_open_at_the_early_end_is_followed_to_its_own(
    monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    # A circle's loop closes at the side of its largest triangle, late on the way.
    monkeypatch.setattr(homology, "LARGE", large)
    points = circle(60)
    distance = squareform(pdist(points))
    assert bridged(distance, homology.EARLY * distance.max(1).min())
    birth, death = rips(points, DIMENSIONS)[1][0]
    assert birth == pytest.approx(2 * np.sin(np.pi / 60))
    assert death == pytest.approx(3**0.5)


def sphere(num_points: int) -> Array:
    """Spread along a spiral, as evenly as so many points can be."""
    height = 1 - (2 * np.arange(num_points) + 1) / num_points
    turn = np.pi * (1 + 5**0.5) * np.arange(num_points)
    width = np.sqrt(1 - height**2)
    return np.stack([width * np.cos(turn), width * np.sin(turn), height], 1)


@pytest.mark.parametrize("dimensions", [(0, 1, 2), (2,)])
def test_rips_does_not_end_early_where_voids_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, dimensions: tuple[int, ...]
) -> None:
    monkeypatch.setattr(homology, "LARGE", 0)
    points = sphere(40)
    distance = squareform(pdist(points))
    reach = homology.EARLY * distance.max(1).min()
    assert bridged(distance, reach)
    birth, death = rips(points, dimensions)[-1][0]
    oracle = plain_rips(points, (2,))[:, :2]
    assert [birth, death] in oracle.tolist()
    assert death > reach


def test_a_large_cloud_ends_early_with_the_bars_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points = clouds(6, (210,)).points
    distance = squareform(pdist(points))
    assert bridged(distance, homology.EARLY * distance.max(1).min())
    made = rows(rips(points, DIMENSIONS))
    monkeypatch.setattr(homology, "bridged", lambda *_: False)
    np.testing.assert_array_equal(made, rows(rips(points, DIMENSIONS)))
