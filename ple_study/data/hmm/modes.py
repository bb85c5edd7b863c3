"""Several hidden Markov models of one customer, a mode each, at their own time scales.

A daily mode sees the way to a purchase, a monthly one the course of a relation. Each
mode is a fit of its own to observations of its own: two modes that see the same series
come out the same and say nothing twice.
"""

from collections.abc import Mapping
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from ple_study.batch import Events
from ple_study.data.hmm.model import FittedHMM, GaussianHMM
from ple_study.data.hmm.regimes import Layout, summary
from ple_study.data.hmm.series import present


def fit_modes(
    series: Mapping[str, Events],
    *,
    num_states: int = 10,
    variance_floor: float = 0.1,
    customers: int = 1_000,
    seed: int = 0,
) -> dict[str, FittedHMM]:
    """Fit each mode to the training customers' series, which end at the cut-off.

    Customers without an observed step are left out; of the others, ``seed`` draws at
    most ``customers``. States are in order of activity: the sum over channels of a
    state's standardised means. A mode's fit does not depend on the others, nor on their
    order. EM stops when a step gains less than 0.01 nats a customer.

    The floor, a share of each channel's variance, is high on purpose. Empty steps and
    whole numbers of categories are atoms, and a state that shrinks onto one gains
    without bound: with a low floor each state is soon one value of one channel.

    Raises ValueError where two modes see the same, for fewer than one customer, and for
    what ``GaussianHMM.fit`` refuses.
    """
    if customers < 1:
        raise ValueError(f"customers must be 1 or more. Found {customers}.")
    for one, other in combinations(series, 2):
        if _same(series[one], series[other]):
            raise ValueError(
                "Modes must observe different series. "
                f"Found {one!r} and {other!r} equal."
            )
    settings = GaussianHMM(
        num_states, tolerance=0.01, variance_floor=variance_floor, seed=seed
    )
    fitted = {}
    for name, events in series.items():
        known = present(events).nonzero()[:, 0]
        if not len(known):
            raise ValueError(f"Mode {name!r} needs an observed step. Found none.")
        order = torch.randperm(
            len(known), generator=torch.Generator().manual_seed(seed)
        )
        drawn = known[order[:customers].sort().values.to(known.device)]
        fitted[name] = settings.fit(events.rows(drawn))
    return fitted


def mode_states(
    fitted: Mapping[str, FittedHMM],
    series: Mapping[str, Events],
    layout: Layout = "dynamics",
) -> Float[Tensor, "batch mode state"]:
    """A row of ``regimes.summary`` a mode, in the order of ``fitted``.

    Only what was observed up to the last step enters: filtered probabilities, and the
    path that ends there. A customer without a step in a mode has a row of NaN there.

    Raises ValueError where the modes of the series are others, where they differ in
    their customers, and where fits of unequal numbers of states give unequal widths.
    """
    if set(fitted) != set(series):
        raise ValueError(
            f"Series are needed of the modes {list(fitted)}. Found {list(series)}."
        )
    sizes = {name: len(series[name].mask) for name in fitted}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"All modes need the same customers. Found {sizes} of them.")
    rows = {name: summary(fitted[name], series[name], layout) for name in fitted}
    widths = {name: row.shape[1] for name, row in rows.items()}
    if len(set(widths.values())) != 1:
        raise ValueError(f"All modes need rows of one width. Found {widths}.")
    return torch.stack(list(rows.values()), 1)


def _same(one: Events, other: Events) -> bool:
    """Whether all that is observed is equal, whatever the padding holds."""
    if one.values.shape != other.values.shape or not torch.equal(one.mask, other.mask):
        return False
    return torch.equal(one.values[one.mask], other.values[other.mask])
