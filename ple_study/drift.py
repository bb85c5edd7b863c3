"""Do two samples come from one distribution? Their counts in bins tell.

::

    edges = quantile_edges(before, bins=10)
    had, has = counts(before, edges), counts(now, edges)
    stability_index(had, has), chance(had, has)
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

Edges = Float[Tensor, " edge"]
Counts = Int[Tensor, " bin"]


def quantile_edges(values: Float[Tensor, " row"], bins: int = 10) -> Edges:
    """Where ``bins`` equal shares of the finite values meet; each edge once.

    A column of at most ``bins`` different values has a bin for each of them, and one
    for whatever is less. Raises ValueError for ``bins`` below two.
    """
    if bins < 2:
        raise ValueError(f"A distribution needs two bins or more. Found {bins}.")
    known = values[values.isfinite()].double().sort().values
    different: Edges = torch.unique_consecutive(known)
    if not len(known):
        return known
    if len(different) <= bins:
        return torch.cat(
            [different[:1].nextafter(different.new_tensor(-torch.inf)), different]
        )
    # Of the ordered values themselves, so that no edge lies where nobody is.
    places = torch.arange(1, bins) * len(known) // bins
    edges: Edges = torch.unique_consecutive(known[places])
    return edges


def counts(values: Float[Tensor, " row"], edges: Edges) -> Counts:
    """Rows by bin, each from just above an edge up to the next; last, those of NaN."""
    place = torch.bucketize(values.double(), edges)
    place[values.isnan()] = len(edges) + 1
    return place.bincount(minlength=len(edges) + 2)


def stability_index(before: Counts, now: Counts) -> float:
    """Population stability index, sum over bins of (q - p) log(q / p), in nats.

    The sum of both Kullback-Leibler divergences. Half a row is added to each bin that
    has any, so that an empty one does not make it infinite. Two samples of n and m rows
    of one distribution over B bins have about (B - 1) (1/n + 1/m) on average.
    """
    p, q = _shares(before, now)
    return float(((q - p) * (q / p).log()).sum())


def _shares(before: Counts, now: Counts) -> tuple[Tensor, Tensor]:
    used = before + now > 0
    halves = (part[used] + 0.5 for part in (before.double(), now.double()))
    p, q = (part / part.sum() for part in halves)
    return p, q


def chance(before: Counts, now: Counts) -> float:
    """How often samples of one distribution differ as much: Pearson's test, its p.

    The statistic is that of a table of two rows; with all rows in one bin it is 1. The
    chi-squared limit is good where bins expect five rows or more.
    """
    used = before + now > 0
    if int(used.sum()) < 2:
        return 1.0
    table = torch.stack([before[used], now[used]]).numpy()
    return float(stats.chi2_contingency(table, correction=False).pvalue)


def holm(chances: Sequence[float]) -> list[float]:
    """Each p made good for their number: Holm's rule (Scand. J. Stat. 1979).

    The k-th smallest of n is multiplied by n + 1 - k, and is at least the one before.
    """
    found, top = [0.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        top = max(top, min(1.0, (len(chances) - rank) * chances[place]))
        found[place] = top
    return found
