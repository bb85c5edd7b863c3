"""What three hidden Markov models see of a household, each at its own time scale.

========= ======================= ====== ================================ ============
mode      steps                   events amount                           categories
========= ======================= ====== ================================ ============
journey   the last 180 days       lines  dollars paid                     departments
lifecycle months, twelve at most  visits dollars paid                     stores
behavior  months, twelve at most  lines  dollars saved by discounts       categories
========= ======================= ====== ================================ ============

So journey sees when and what is bought, lifecycle how strong the bond to the shop is,
and behavior how a household shops: how widely, and for how much off the price. Two
monthly modes on the same numbers would come out the same.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import pad

from ple_study.batch import Events
from ple_study.data.graphs.visits import Visits
from ple_study.data.hmm.observations import observations
from ple_study.data.journey.features import MONTH
from ple_study.data.journey.snapshots import PAST, Snapshot
from ple_study.data.journey.windows import Window

Table = tuple[pd.DataFrame, pd.Series]  # events, and the amount of each


def paid_lines(past: Window) -> Table:
    return past.lines, past.lines["sales"]


def paid_visits(past: Window) -> Table:
    return past.baskets, past.baskets["sales"]


def saved_lines(past: Window) -> Table:
    return past.lines, past.lines["discount"] + past.lines["coupon"]


class View(NamedTuple):
    """A mode: how many steps of how many days, of which events, by which category."""

    steps: int
    period: int
    events: Callable[[Window], Table]
    category: str


VIEWS = {
    "journey": View(PAST, 1, paid_lines, "department"),
    "lifecycle": View(12, MONTH, paid_visits, "store"),
    "behavior": View(12, MONTH, saved_lines, "category"),
}


def series(
    shots: Sequence[Snapshot], views: Mapping[str, View] = VIEWS
) -> dict[str, Events]:
    """One series a mode, with the rows of all snapshots, one after the other.

    Only whole steps of the year count: at a cut-off on day 197, seven months are known,
    and the first five steps are padding.
    """
    seen = {
        name: [observed(view, shot) for shot in shots] for name, view in views.items()
    }
    return {
        name: Events(
            torch.cat([events.values for events in parts]),
            torch.cat([events.mask for events in parts]),
        )
        for name, parts in seen.items()
    }


def observed(view: View, shot: Snapshot) -> Events:
    """What one mode sees of the households of one snapshot."""
    purchases = shot.past.purchases
    known = min(view.steps, shot.cutoff // view.period)
    past = Window(purchases, shot.cutoff - known * view.period, shot.cutoff)
    frame, amount = view.events(past)
    num = len(purchases.names[view.category])
    events = observations(
        Visits(
            customer=frame["household"].to_numpy(),
            merchant=frame[view.category].to_numpy() + 1,
            day=frame["day"].to_numpy(),
            amount=amount.to_numpy(np.float64),
            num_customers=past.size,
            num_merchants=num + 1,
        ),
        np.arange(-1, num),
        cutoff=shot.cutoff,
        days=known * view.period,
        period=view.period,
    ).rows(torch.from_numpy(shot.households))
    missing = view.steps - known
    return Events(
        pad(events.values, (0, 0, missing, 0)), pad(events.mask, (missing, 0))
    )
