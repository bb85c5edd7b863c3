"""Clouds for tests, and their diagrams by gudhi's own functions, one at a time."""

from collections.abc import Sequence

import gudhi
import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform

from ple_study.batch import Diagrams
from ple_study.data.diagrams import Clouds

Array = npt.NDArray[np.float64]
SIZES = (17, 0, 30, 1, 2, 3, 4, 23)


def clouds(coordinates: int, sizes: Sequence[int] = SIZES, seed: int = 0) -> Clouds:
    """Clouds of these many points, none of them near another."""
    points = np.random.default_rng(seed).normal(size=(sum(sizes), coordinates))
    return Clouds(points, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))


def plain_rips(points: Array, dimensions: Sequence[int]) -> Array:
    """Every simplex stored, no edge collapsed, no threshold."""
    tree = gudhi.RipsComplex(points=points).create_simplex_tree(
        max_dimension=max(dimensions) + 1
    )
    return _rows(tree, dimensions)


def plain_alpha(points: Array, dimensions: Sequence[int]) -> Array:
    """Squared radii, as gudhi answers by default, made diameters."""
    tree = gudhi.AlphaComplex(points=points, precision="exact").create_simplex_tree()
    rows = _rows(tree, dimensions)
    rows[:, :2] = 2 * np.sqrt(rows[:, :2])
    return rows


def _rows(tree: gudhi.SimplexTree, dimensions: Sequence[int]) -> Array:
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
    rows = [np.zeros((0, 3))]
    for k in dimensions:
        bars = tree.persistence_intervals_in_dimension(k).reshape(-1, 2)
        rows.append(np.insert(bars, 2, k, 1))
    return np.concatenate(rows)


def tree_edges(points: Array) -> Array:
    """Lengths of the minimum spanning tree, by scipy; no two points may be equal."""
    return np.sort(minimum_spanning_tree(squareform(pdist(points))).data)


def finite(rows: Array) -> Array:
    """In the order of a set, as float32; without what never dies, or dies at once."""
    birth, death = rows[:, :2].T
    return in_order(rows[np.isfinite(death) & (death - birth > 2**-23 * death)])


def in_order(rows: Array) -> Array:
    rows = rows.astype(np.float32).astype(np.float64)
    return rows[np.lexsort(rows.T)]


def found(diagrams: Diagrams, customer: int) -> Array:
    """One customer's points in the order of a set."""
    return in_order(diagrams.points[customer][diagrams.mask[customer]].double().numpy())
