"""Who the customers are: their factors, clusters and regimes, and their columns."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtr

from ple_study.data.world.plan import (
    CAUSAL_FIELDS,
    CLUSTER_FIELDS,
    CROSSED,
    PERSONA_FIELDS,
    Plan,
)
from ple_study.data.world.regimes import CHAINS, paths
from ple_study.data.world.sizes import HISTORY, MONTH, Size
from ple_study.data.world.tasks import CAUSAL, DEEPFM, LENSES, TRANSPORT

Rng = np.random.Generator
Columns = Float[np.ndarray, "customer column"]
STEPS = {"journey": 90, "lifecycle": HISTORY // MONTH, "behavior": HISTORY // MONTH}
PURCHASES = 80  # that a customer's histograms count


@dataclass(frozen=True)
class Customers:
    """The hidden truth of some customers.

    factors: two independent standard numbers for each lens, all that labels know of it.
    regimes: by mode, the path of states; days for ``journey``, months for the others;
    the last step is the one before the cut-off.
    """

    factors: Float[np.ndarray, "customer lens 2"]
    cluster: Int[np.ndarray, " customer"]
    regimes: Mapping[str, Int[np.ndarray, "customer _"]]

    def __len__(self) -> int:
        return len(self.cluster)

    def rows(self, index: Int[np.ndarray, " row"]) -> "Customers":
        """The customers at ``index``, in that order."""
        regimes = {mode: path[index] for mode, path in self.regimes.items()}
        return Customers(self.factors[index], self.cluster[index], regimes)

    def lens(self, name: str) -> Float[np.ndarray, "customer 2"]:
        """The two factors of a lens."""
        return self.factors[:, LENSES.index(name)]


def join_customers(parts: list[Customers]) -> Customers:
    """All of them, one after the other."""
    return Customers(
        np.concatenate([part.factors for part in parts]),
        np.concatenate([part.cluster for part in parts]),
        {
            mode: np.concatenate([part.regimes[mode] for part in parts])
            for mode in parts[0].regimes
        },
    )


def customers(
    plan: Plan, size: Size, count: int, rng: Rng
) -> tuple[Customers, Columns]:
    """Draw so many customers and the columns that tell of them."""
    factors = rng.normal(size=(count, len(LENSES), 2))
    cluster = rng.choice(len(plan.cluster_shares), count, p=plan.cluster_shares)
    columns, read = _columns(plan, size, factors, cluster, rng)
    for name, values in read.items():
        factors[:, LENSES.index(name)] = values
    regimes = {
        mode: paths(CHAINS[mode], count, steps, rng) for mode, steps in STEPS.items()
    }
    return Customers(factors, cluster, regimes), columns


def places(size: Size) -> dict[str, int]:
    """The first column of each field."""
    starts = np.cumsum([0, *size.fields.values()])[:-1].tolist()
    return dict(zip(size.fields, starts, strict=True))


def _columns(
    plan: Plan,
    size: Size,
    factors: Float[np.ndarray, "customer lens 2"],
    cluster: Int[np.ndarray, " customer"],
    rng: Rng,
) -> tuple[Columns, dict[str, Float[np.ndarray, "customer 2"]]]:
    """The columns, and the factors that are functions of them."""
    first, count = places(size), len(cluster)
    values = _background(plan, size, count, rng)
    of = np.concatenate([_range(first, size, name) for name in CLUSTER_FIELDS])
    values[:, of] = plan.centres[cluster] + rng.normal(size=(count, len(of)))
    crossed = values[:, [[first[a], first[b]] for a, b in CROSSED]] = rng.normal(
        size=(count, len(CROSSED), 2)
    )
    shocks = rng.normal(size=(count, len(plan.dag)))
    nodes = causal_columns(size)
    # x = x W + n
    values[:, nodes] = shocks @ np.linalg.inv(np.eye(len(plan.dag)) - plan.dag)
    for axis, name in enumerate(PERSONA_FIELDS):
        share = ndtr(factors[:, LENSES.index(TRANSPORT), axis])
        bins = slice(first[name], first[name] + size.bins[axis])
        values[:, bins] = _between(plan.personas[axis], share, rng)
    half = len(CROSSED) // 2
    pairs = crossed.prod(2)
    crosses = [pairs[:, :half].sum(1), pairs[:, half:].sum(1)]
    return values, {
        DEEPFM: np.stack(crosses, 1) / np.sqrt(half),
        CAUSAL: shocks[:, plan.shocked],
    }


def causal_columns(size: Size) -> list[int]:
    """The column of each node of the causal graph."""
    first = places(size)
    return [first[name] + k for name in CAUSAL_FIELDS for k in range(size.nodes)]


def histogram_columns(size: Size) -> list[int]:
    """The columns that are shares of a histogram."""
    first = places(size)
    return [
        first[name] + k
        for name, bins in zip(PERSONA_FIELDS, size.bins, strict=True)
        for k in range(bins)
    ]


def _background(plan: Plan, size: Size, count: int, rng: Rng) -> Columns:
    """Columns of one field go together; no field knows of another."""
    field = np.repeat(np.arange(len(size.fields)), list(size.fields.values()))
    common = rng.normal(size=(len(plan.loadings), count, len(size.fields)))
    own = rng.normal(size=(count, len(field)))
    return 0.7 * (np.einsum("knf,kf->nf", common[..., field], plan.loadings) + own)


def _range(first: dict[str, int], size: Size, name: str) -> Int[np.ndarray, " column"]:
    return np.arange(first[name], first[name] + size.fields[name])


def _between(
    personas: Float[np.ndarray, "2 bin"],
    share: Float[np.ndarray, " customer"],
    rng: Rng,
) -> Float[np.ndarray, "customer bin"]:
    """Shares of purchases by bin, so far on the way from one persona to the other.

    On the way mass moves, it does not fade: McCann's displacement interpolation, the
    straight line of optimal transport.
    """
    bins = personas.shape[1]
    drawn = rng.random((len(share), PURCHASES))
    edges, limits = np.linspace(0, 1, bins + 1), np.zeros((2, bins + 1))
    limits[:, 1:] = np.cumsum(personas, axis=1)
    ends = [np.interp(drawn, limit, edges) for limit in limits]
    place = (1 - share)[:, None] * ends[0] + share[:, None] * ends[1]
    cell = np.minimum((place * bins).astype(int), bins - 1)
    cell += bins * np.arange(len(share))[:, None]
    counts = np.bincount(cell.ravel(), minlength=bins * len(share))
    return counts.reshape(len(share), bins) / PURCHASES
