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
# Where an early end of Rips is tried: from so many points, at that share of the way.
LARGE, EARLY = 200, 0.7
CENTRAL, AT_ONCE = 16, 512
Bars = list[Points]
Complex = Callable[[Points, Sequence[int]], Bars]


def spanning_tree(points: Points, dimensions: Sequence[int]) -> Bars:
    """H0 alone, of Rips and of alpha: a class dies where the tree has an edge."""
    assert tuple(dimensions) == (0,)
    # Single linkage merges at the edges of the minimum spanning tree, zeros included.
    death = np.append(linkage(pdist(points), "single")[:, 2], np.inf)
    return [np.stack([np.zeros_like(death), death], 1)]


def rips(points: Points, dimensions: Sequence[int]) -> Bars:
    """Each simplex enters at the largest of its pairwise distances.

    No bar ends beyond the distance at which one point is near to all others, and loops
    mostly end well before. In a large cloud the search stops there where ``bridged``
    shows that no loop begins later and none is left open; the bars are all the same.
    """
    distance = squareform(pdist(points))
    if max(dimensions) == 1 and len(points) >= LARGE:
        reach = EARLY * distance.max(1).min()
        if bridged(distance, reach):
            bars = _ripser(distance, dimensions, reach)
            if np.isfinite(bars[list(dimensions).index(1)]).all():
                return bars
    return _ripser(distance, dimensions)


def bridged(distance: Float64[np.ndarray, "point point"], least: float) -> bool:
    """Whether every edge of ``least`` or more has a point nearer to both its ends.

    With such a point any path over the edge can go round by two shorter ones, through
    a triangle that is there as soon as the edge: it joins no parts, begins no loop.
    """
    detour = np.full_like(distance, np.inf)
    # Points in the middle are near to both ends of most edges.
    for row in distance[distance.max(1).argsort()[:CENTRAL]]:
        np.minimum(detour, np.maximum.outer(row, row), out=detour)
    edges = np.argwhere(np.triu((distance >= least) & (detour >= distance), 1))
    for part in np.array_split(edges, len(edges) // AT_ONCE + 1):
        one, other = part.T
        shortest = np.maximum(distance[one], distance[other]).min(1)
        if (shortest >= distance[one, other]).any():
            return False
    return True


def _ripser(
    distance: Points, dimensions: Sequence[int], threshold: float = np.inf
) -> Bars:
    # Edge collapse costs more than it saves: see benchmarks/diagrams.py.
    made = RipsPersistence(
        list(dimensions),
        threshold=threshold,
        input_type="full distance matrix",
        num_collapses=0,
        homology_coeff_field=FIELD,
    )
    bars: Bars = made.fit_transform([distance])[0]
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
