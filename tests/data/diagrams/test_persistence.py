"""Diagrams against gudhi's own functions, their laws, and bad settings."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from scipy.stats import special_ortho_group

from ple_study.batch import Diagrams
from ple_study.data.diagrams import Clouds, Persistence
from ple_study.data.diagrams.clouds import borders, stratified
from tests.data.diagrams.shapes import (
    SIZES,
    clouds,
    finite,
    found,
    in_order,
    plain_alpha,
    plain_rips,
    tree_edges,
)

# float32, in which diagrams are stored
CLOSE = {"rtol": 3e-7, "atol": 1e-7}
ALL = Persistence(size=500)
ORACLE = {"rips": plain_rips, "alpha": plain_alpha}
CASES = [
    ("rips", 6, (0, 1)),
    ("rips", 6, (0, 1, 2)),
    ("rips", 2, (0, 1)),
    ("rips", 1, (1, 0)),
    ("rips", 3, (2,)),
    ("alpha", 2, (0, 1)),
    ("alpha", 3, (0, 1)),
    ("alpha", 3, (0, 1, 2)),
    ("alpha", 4, (1, 2)),
]


def same(one: Diagrams, other: Diagrams, factor: float = 1.0, **close: float) -> None:
    """One holds the other's points, births and deaths multiplied."""
    for customer in range(len(one.mask)):
        rows, wanted = found(one, customer), found(other, customer)
        wanted *= [factor, factor, 1]
        # Column by column: rounding may swap two rows of nearly equal death.
        for part in (rows, wanted):
            part.sort(0)
        np.testing.assert_allclose(
            rows, wanted, **{"rtol": 1e-5, "atol": 1e-6, **close}
        )


@pytest.mark.parametrize(("complex_", "coordinates", "dimensions"), CASES)
def test_diagrams_equal_gudhi_called_one_by_one(
    complex_: Any, coordinates: int, dimensions: tuple[int, ...]
) -> None:
    world = clouds(coordinates)
    made = replace(ALL, complex=complex_, dimensions=dimensions).diagrams(world)
    counts = dict.fromkeys(dimensions, 0)
    for customer, size in enumerate(SIZES):
        oracle = ORACLE[complex_](world.of(customer), dimensions) if size else []
        wanted = finite(np.reshape(oracle, (-1, 3)))
        np.testing.assert_allclose(found(made, customer), wanted, **CLOSE)
        for k in dimensions:
            counts[k] += int((wanted[:, 2] == k).sum())
    # A line has no loop; everything else must have shown what it has.
    assert all(count for k, count in counts.items() if coordinates > 1 or k == 0)


@pytest.mark.parametrize("complex_", ["rips", "alpha"])
def test_parts_alone_are_the_minimum_spanning_tree(complex_: Any) -> None:
    world = clouds(3)
    alone = replace(ALL, complex=complex_, dimensions=(0,)).diagrams(world)
    among = replace(ALL, complex=complex_, dimensions=(0, 1)).diagrams(world)
    for customer in (0, 2, 4, 5, 7):
        edges = tree_edges(world.of(customer))
        for made in (alone, among):
            rows = found(made, customer)
            rows = rows[rows[:, 2] == 0]
            assert not rows[:, 0].any()
            np.testing.assert_allclose(rows[:, 1], edges, **CLOSE)


def test_a_square_has_one_loop_and_its_death_depends_on_the_complex() -> None:
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    world = Clouds(square, np.array([0, 4]))
    for complex_ in ("rips", "alpha"):
        made = replace(ALL, dimensions=(1,), complex=complex_).diagrams(world)
        assert made.mask.sum() == 1
        wanted = torch.tensor([1.0, 2**0.5, 1.0])
        torch.testing.assert_close(made.points[0, 0], wanted)
    # An equilateral triangle: Rips fills it at once, alpha at its circumscribed circle.
    triangle = np.array([[0.0, 0], [1, 0], [0.5, 0.75**0.5]])
    world = Clouds(triangle, np.array([0, 3]))
    by = {
        name: replace(ALL, dimensions=(1,), complex=name).diagrams(world)
        for name in ("rips", "alpha")
    }
    assert not by["rips"].mask.any()
    wanted = torch.tensor([1.0, 2 / 3**0.5, 1.0])
    torch.testing.assert_close(by["alpha"].points[0, 0], wanted)


def test_auto_is_alpha_in_low_dimension_and_else_rips() -> None:
    for coordinates, dimensions, name in (
        (1, (0, 1), "rips"),
        (2, (0, 1), "alpha"),
        (2, (0, 1, 2), "rips"),
        (3, (0, 1, 2), "alpha"),
        (4, (0, 1), "rips"),
    ):
        world = clouds(coordinates)
        auto = replace(ALL, dimensions=dimensions)
        by_name = replace(auto, complex=name).diagrams(world)
        assert torch.equal(auto.diagrams(world).points, by_name.points)
        if name == "alpha":
            other = replace(auto, complex="rips").diagrams(world)
            assert not torch.equal(other.points, by_name.points)


@pytest.mark.parametrize("coordinates", [2, 6])
@pytest.mark.parametrize("dimensions", [(0,), (0, 1)])
def test_the_part_that_never_dies_is_dropped_or_capped(
    coordinates: int, dimensions: tuple[int, ...]
) -> None:
    world = clouds(coordinates)
    drop = replace(ALL, dimensions=dimensions)
    cap = replace(drop, essential="cap")
    dropped, capped = drop.diagrams(world), cap.diagrams(world)
    for customer, size in enumerate(SIZES):
        rows, more = found(dropped, customer), found(capped, customer)
        assert len(more) == len(rows) + (size > 1)
        if size > 1:
            largest = pdist(world.of(customer)).max()
            row = np.array([[0, largest, 0]])
            wanted = in_order(np.concatenate([rows, row]))
            np.testing.assert_allclose(more, wanted, **CLOSE)


@pytest.mark.parametrize("essential", ["drop", "cap"])
@pytest.mark.parametrize("coordinates", [2, 6])
def test_no_event_one_event_and_the_same_again_have_no_point(
    essential: Any, coordinates: int
) -> None:
    sizes = np.array([0, 1, 5])
    world = Clouds(np.ones((6, coordinates)), borders(sizes))
    made = replace(ALL, essential=essential).diagrams(world)
    assert not made.mask.any()
    assert not made.points.any()
    none = Clouds(np.zeros((0, coordinates)), np.zeros(1, np.int64))
    assert made.points.shape[1:] == ALL.diagrams(none).points.shape[1:]


@pytest.mark.parametrize("coordinates", [2, 3, 6])
def test_duplicated_points_and_their_order_change_nothing(coordinates: int) -> None:
    world = clouds(coordinates, (40,))
    made = ALL.diagrams(world)
    order = np.random.default_rng(1).permutation(40)
    again = np.concatenate([world.points[order], world.points[7:19]])
    moved = ALL.diagrams(Clouds(again, np.array([0, 52])))
    assert torch.equal(moved.mask, made.mask)
    torch.testing.assert_close(moved.points, made.points, rtol=1e-6, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 999),
    factor=st.floats(1e-3, 1e3),
    coordinates=st.sampled_from([2, 3, 5]),
    mirror=st.booleans(),
)
def test_scaling_scales_and_turning_changes_nothing(
    seed: int, factor: float, coordinates: int, mirror: bool
) -> None:
    world = clouds(coordinates, (19, 8), seed)
    made = ALL.diagrams(world)
    wide = ALL.diagrams(Clouds(factor * world.points, world.start))
    same(wide, made, factor, atol=1e-6 * factor)
    turn = special_ortho_group(coordinates, seed).rvs()
    turn[0] *= -1 if mirror else 1
    turned = Clouds(world.points @ turn.T + 3.0, world.start)
    same(ALL.diagrams(turned), made)


@settings(max_examples=20, deadline=None)
@given(
    cells=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 2)),
        min_size=1,
        max_size=25,
    ),
    complex_=st.sampled_from(["rips", "alpha"]),
)
def test_points_on_a_grid_equal_gudhi(cells: list[Any], complex_: Any) -> None:
    """Ties everywhere, flat clouds, and the same point again."""
    world = Clouds(np.array(cells, np.float64), np.array([0, len(cells)]))
    long = replace(ALL, complex=complex_, dimensions=(0, 1, 2))
    wanted = finite(ORACLE[complex_](world.points, (0, 1, 2)))
    np.testing.assert_allclose(found(long.diagrams(world), 0), wanted, **CLOSE)


@pytest.mark.parametrize("coordinates", [2, 6])
def test_a_row_alone_is_that_row_in_a_batch_with_any_workers(coordinates: int) -> None:
    world = clouds(coordinates)
    few = replace(ALL, events=9, size=6)
    whole = few.diagrams(world)
    parallel = few.diagrams(world, workers=2)
    assert torch.equal(parallel.points, whole.points)
    assert torch.equal(parallel.mask, whole.mask)
    for customer in range(len(SIZES)):
        alone = few.diagrams(world.rows(np.array([customer])))
        assert torch.equal(alone.points[0], whole.points[customer])
        assert torch.equal(alone.mask[0], whole.mask[customer])


def test_the_longest_lived_are_kept_first_and_the_rest_is_zero() -> None:
    world = clouds(6)
    made, few = ALL.diagrams(world), replace(ALL, size=7).diagrams(world)
    life = made.points[..., 1] - made.points[..., 0]
    assert (life.diff(dim=1) <= 1e-6).all()
    assert torch.equal(few.points, made.points[:, :7])
    assert torch.equal(few.mask, made.mask[:, :7])
    assert few.mask.sum(1).tolist() == [7, 0, 7, 0, 1, 2, 3, 7]
    assert not made.points[~made.mask].any()
    assert made.points.dtype == torch.float32


def test_a_large_cloud_is_the_cloud_of_the_events_drawn() -> None:
    world = clouds(2, (200, 31))
    few = replace(ALL, events=40, seed=3)
    kept = stratified(200, 40, 3)
    parts = np.concatenate([world.points[kept], world.of(1)])
    drawn = ALL.diagrams(Clouds(parts, np.array([0, 40, 71])))
    assert torch.equal(few.diagrams(world).points, drawn.points)
    other = replace(few, seed=4).diagrams(world).points
    assert not torch.equal(other[0], drawn.points[0])
    assert torch.equal(other[1], drawn.points[1])


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no dimension": ({"dimensions": ()}, r"each once. Found \(\)"),
    "unknown homology": ({"dimensions": (0, 3)}, r"some of \(0, 1, 2\).*\(0, 3\)"),
    "negative homology": ({"dimensions": (-1,)}, r"Found \(-1,\)"),
    "homology twice": ({"dimensions": (1, 1)}, r"Found \(1, 1\)"),
    "size": ({"size": -4}, "size must be 1 or more. Found -4"),
    "events": ({"events": 0}, "events must be 1 or more. Found 0"),
    "seed": ({"seed": -1}, "seed must be 0 or more. Found -1"),
    "complex": ({"complex": "cech"}, "Complex must be one of .* Found 'cech'"),
    "essential": ({"essential": "keep"}, "Essential must be .* Found 'keep'"),
}


@pytest.mark.plain
@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_bad_settings_are_refused(case: tuple[dict[str, Any], str]) -> None:
    with pytest.raises(ValueError, match=case[1]):
        Persistence(**case[0])


def test_alpha_in_too_few_coordinates_and_no_worker_are_refused() -> None:
    flat = replace(ALL, complex="alpha", dimensions=(0, 1, 2))
    with pytest.raises(ValueError, match=r"below 2 alone. Found dimensions \(0, 1, 2"):
        flat.diagrams(clouds(2))
    with pytest.raises(ValueError, match=r"workers must be 1 or more. Found 0"):
        ALL.diagrams(clouds(2), workers=0)
