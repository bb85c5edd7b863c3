"""The persistence diagram of one cloud, by the complex that is cheapest for it.

Births and deaths are distances between points in every case: the diameter of a Rips
simplex, twice the radius of an alpha sphere, an edge of the spanning tree.
Edelsbrunner and Harer, "Computational Topology" (2010), chapters III and VII; Bauer
(2021), "Ripser", for Rips without storing the complex.
"""

from collections.abc import Callable, Sequence

import gudhi
import numpy as np
from gudhi.sklearn.rips_persistence import RipsPersistence
from jaxtyping import Float64
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist, squareform

from ple_study.data.diagrams.clouds import Points

FIELD = 2  # homology with coefficients in Z/2
# A bar shorter than this share of its death has no length: float32 may not show it.
ZERO = float(np.finfo(np.float32).eps)
Bars = list[Points]
Complex = Callable[[Points, Sequence[int]], Bars]


def spanning_tree(points: Points, dimensions: Sequence[int]) -> Bars:
    """H0 alone, of Rips and of alpha: a class dies where the tree has an edge."""
    assert tuple(dimensions) == (0,)
    # Single linkage merges at the edges of the minimum spanning tree, zeros included.
    death = np.append(linkage(pdist(points), "single")[:, 2], np.inf)
    return [np.stack([np.zeros_like(death), death], 1)]


def rips(points: Points, dimensions: Sequence[int]) -> Bars:
    """Each simplex enters at the largest of its pairwise distances."""
    # Edge collapse costs more than it saves: see benchmarks/diagrams.py.
    made = RipsPersistence(
        list(dimensions),
        input_type="full distance matrix",
        num_collapses=0,
        homology_coeff_field=FIELD,
    )
    bars: Bars = made.fit_transform([squareform(pdist(points))])[0]
    return bars


def alpha(points: Points, dimensions: Sequence[int]) -> Bars:
    """Each Delaunay simplex enters at twice the radius of its smallest empty sphere."""
    complex_ = gudhi.AlphaComplex(points=points)
    tree = complex_.create_simplex_tree(output_squared_values=False)
    tree.compute_persistence(homology_coeff_field=FIELD)
    bars = (tree.persistence_intervals_in_dimension(k) for k in dimensions)
    return [2 * np.reshape(bar, (-1, 2)) for bar in bars]


def diagram(
    points: Points, dimensions: Sequence[int], by: Complex, cap: bool
) -> Float64[np.ndarray, "point 3"]:
    """Rows (birth, death, homology index), the longest-lived first.

    Equal lives are in order of homology and birth, so that the order of the points does
    not show. What never dies is left out, or with ``cap`` dies at the largest pairwise
    distance. A bar of no length is left out; so fewer than two points have none.
    """
    if len(points) < 2:
        return np.zeros((0, 3))
    found = zip(dimensions, by(points, dimensions), strict=True)
    rows = np.concatenate([np.insert(bars, 2, k, 1) for k, bars in found])
    if cap:
        rows[np.isinf(rows[:, 1]), 1] = pdist(points).max()
    birth, death = rows[:, :2].T
    rows = rows[np.isfinite(death) & (death - birth > ZERO * death)]
    return rows[np.lexsort((rows[:, 0], rows[:, 2], rows[:, 0] - rows[:, 1]))]
