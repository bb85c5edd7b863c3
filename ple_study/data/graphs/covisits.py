"""Merchants that one customer visits within days of each other, as a graph.

A weak second kind of edge beside the merchants' tree: brands of different categories
that the same people use together.
"""

from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int64
from scipy import sparse
from torch import Tensor

from ple_study.data.graphs.csr import tensor
from ple_study.data.graphs.visits import Visits

PRODUCTS = 2**22  # multiplications of one block of rows, at the least
GRID = 2.0**40  # weights are whole parts of it: sums up to 2^13 have no rounding error


def covisits(
    visits: Visits,
    *,
    window: int = 7,
    decay: float = 7.0,
    scale: float = 0.5,
    neighbours: int = 100,
) -> Float[Tensor, "merchant merchant"]:
    """How strongly merchants are visited together (CSR, float64, symmetric).

    ``scale * sum exp(-|s - t| / decay)`` over the customers and their visits to a on
    day s and to b on day t, where ``|s - t| <= window`` days. All of a customer's
    events at one merchant on one day are one visit. There is no self loop, and node 0
    (unknown merchants) has no edge.

    An edge stays if it is among the strongest ``neighbours`` of one of its two ends; of
    equal edges, the one to the lower node (each term is rounded to 2^-40, so that equal
    sums are equal in whatever order they are added). So there are at most
    ``2 * neighbours * num_merchants`` entries. No list of pairs is ever made: memory is
    linear in ``events * (2 * window + 1)`` and in the edges, whatever one customer
    does. Time is linear in the pairs of visits within the window.

    Raises ValueError for a window below 0, and for a decay, a scale or neighbours that
    are not positive.
    """
    settings = {"decay": decay, "scale": scale, "neighbours": neighbours}
    if window < 0 or not all(0 < value < np.inf for value in settings.values()):
        raise ValueError(
            "The window must be zero or more days, and the rest positive and finite. "
            f"Found window {window}, {settings}."
        )
    moments, there = _presence(visits, window)
    # Of X [moment, merchant] and the decay S between moments of a customer: X' S X.
    spread = (_decayed(moments, window, decay) @ there).tocsr()
    kept = _strongest(there.T.tocsr(), spread, neighbours)
    # What one end keeps the other does; beyond the grid, halves may differ by rounding.
    return tensor((kept.maximum(kept.T) * scale).tocsr())


def _presence(
    visits: Visits, window: int
) -> tuple[Int64[np.ndarray, " moment"], sparse.csr_array]:
    """The days on which a customer was out, as increasing numbers, and where."""
    known = visits.merchant > 0
    day = visits.day - visits.day.min()
    # The days of two customers lie more than a window apart.
    moment = (visits.customer * (day.max() + window + 1) + day)[known]
    pair = np.unique(moment * visits.num_merchants + visits.merchant[known])
    moments, row = np.unique(pair // visits.num_merchants, return_inverse=True)
    place = row, pair % visits.num_merchants
    shape = len(moments), visits.num_merchants
    return moments, sparse.coo_array((np.ones(len(pair)), place), shape).tocsr()


def _decayed(
    moments: Int64[np.ndarray, " moment"], window: int, decay: float
) -> sparse.csr_array:
    """exp(-days / decay) between the moments of one customer, within the window."""
    every, size = np.arange(len(moments)), len(moments)
    later = sparse.csr_array((size, size))
    for days in range(window + 1):
        place = np.searchsorted(moments, moments + days)
        hit = np.append(moments, -1)[place] == moments + days
        weight = np.full(hit.sum(), np.rint(np.exp(-days / decay) * GRID) / GRID)
        later += sparse.coo_array((weight, (every[hit], place[hit])), (size, size))
    return (later + later.T - sparse.eye_array(size)).tocsr()


def _strongest(
    there: sparse.csr_array, spread: sparse.csr_array, neighbours: int
) -> sparse.csr_array:
    """The largest entries of each row of ``there @ spread``, some rows at a time."""
    cost = there @ np.diff(spread.indptr).astype(np.float64)
    block = np.cumsum(cost) // max(PRODUCTS, spread.nnz)
    edges = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(cost)]
    parts = [
        _thinned((there[start:stop] @ spread).tocsr(), start, neighbours)
        for start, stop in pairwise(edges)
    ]
    return sparse.vstack(parts).tocsr()


def _thinned(part: sparse.csr_array, start: int, neighbours: int) -> sparse.csr_array:
    """The rows from ``start`` on without self loops and all but the largest entries."""
    row = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
    part.data[part.indices == row + start] = 0
    part.eliminate_zeros()
    for first, last in pairwise(part.indptr):
        if last - first > neighbours:
            weight, column = part.data[first:last], part.indices[first:last]
            bar = np.partition(weight, -neighbours)[-neighbours]
            equal = np.flatnonzero(weight == bar)
            equal = equal[np.argsort(column[equal])]
            spare = neighbours - (weight > bar).sum()
            weight[weight < bar] = 0
            weight[equal[spare:]] = 0
    part.eliminate_zeros()
    return part
