"""Do two samples come from one distribution? Their counts in bins tell.

::

    edges = quantile_edges(before, bins=10)
    had, has = counts(before, edges), counts(now, edges)
    stability_index(had, has), chance(had, has)
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from scipy import stats
from torch import Tensor

Edges = Float[Tensor, " edge"]
Counts = Int[Tensor, " bin"]
EXPECTED = 5  # rows a bin, of the smaller sample


def quantile_edges(values: Float[Tensor, " row"], bins: int = 10) -> Edges:
    """Where ``bins`` equal shares of the finite values meet.

    A value that more than one row in ``bins`` has is a bin of its own, and the others
    are cut without it; so is every value of a column with at most ``bins`` of them.
    Raises ValueError for ``bins`` below two.
    """
    if bins < 2:
        raise ValueError(f"A distribution needs two bins or more. Found {bins}.")
    known = values[values.isfinite()].double().sort().values
    different, sizes = torch.unique_consecutive(known, return_counts=True)
    often = (sizes * bins > len(known)) | (len(different) <= bins)
    own = different[often]
    rest = known[~often.repeat_interleave(sizes)]
    # Of the ordered values themselves, so that no edge lies where nobody is.
    cuts = max(bins - len(own), 2)
    places = torch.arange(1, cuts) * len(rest) // cuts
    between = rest[places] if len(rest) else rest
    below = own.nextafter(own.new_tensor(-torch.inf))
    edges: Edges = torch.unique_consecutive(torch.cat([below, own, between]).sort()[0])
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

    Bins in which the smaller sample expects fewer than five rows are put together, as
    the chi-squared limit asks; with all rows in one bin p is 1.
    """
    total = before + now
    rows = min(int(before.sum()), int(now.sum()))
    rare = total * rows < EXPECTED * total.sum()
    if bool(rare.any()) and int(total[rare].sum()) * rows < EXPECTED * total.sum():
        rare |= total == total.where(~rare, total.sum() + 1).min()
    table = torch.stack([_merged(part, rare) for part in (before, now)])
    table = table[:, table.sum(0) > 0]
    if table.shape[1] < 2:
        return 1.0
    return float(stats.chi2_contingency(table.numpy(), correction=False).pvalue)


def _merged(part: Counts, rare: Bool[Tensor, " bin"]) -> Int[Tensor, " merged"]:
    return torch.cat([part[~rare], part[rare].sum()[None]])


def holm(chances: Sequence[float]) -> list[float]:
    """Each p made good for their number: Holm's rule (Scand. J. Stat. 1979).

    The k-th smallest of n is multiplied by n + 1 - k, and is at least the one before.
    Where nothing differs, any of them is below a level alpha at most alpha of the time.
    """
    found, top = [0.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        top = max(top, min(1.0, (len(chances) - rank) * chances[place]))
        found[place] = top
    return found
