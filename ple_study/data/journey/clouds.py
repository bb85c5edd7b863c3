"""The visits of a household as a cloud of points, and the shape of that cloud.

A visit has the six coordinates of ``data.diagrams``: its dollars, the rank of the
category that took most of them, the weekday and the hour. A rank needs an order in
which neighbours are alike: categories stand here by department, then by name.
"""

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ple_study.batch import Diagrams
from ple_study.data.diagrams import EventColumns, Persistence, Ranks, Scale, cloud
from ple_study.data.journey.features import MONTH
from ple_study.data.journey.snapshots import Snapshot, training_rows
from ple_study.data.journey.tables import Codes, Purchases
from ple_study.data.journey.windows import Window

PARTS = ("department", "category")
# Days before the cut-off, and what is kept of their shape.
KINDS = {
    "short": (90, Persistence(dimensions=(0, 1), size=200, events=90)),
    "long": (12 * MONTH, Persistence(dimensions=(0, 1, 2), size=150, events=64)),
}


def diagrams(shots: Sequence[Snapshot]) -> dict[str, Diagrams]:
    """Two diagrams a row, in order of the snapshots; distances are in deviations.

    short: H0 and H1 of the visits of the last 90 days. long: H0, H1 and H2 of all that
    is known, twelve months of 28 days at most; at the first cut-offs it is seven or
    eight. Of more than 90 visits, or 64, one of each of so many equal stretches stands
    for all: a row of 64 costs a third of one of 120.
    Ranks and units are those of the training rows.
    """
    category = main_category(shots[0].past.purchases)
    train = training_rows(shots)
    found = {}
    for name, (days, persistence) in KINDS.items():
        columns = visits(shots, category, days)
        points = cloud(columns, Ranks.fit(columns, train))
        clouds = Scale.fit(points, train).standard(points)
        found[name] = persistence.diagrams(clouds, workers=os.cpu_count() or 1)
    return found


def main_category(purchases: Purchases) -> Codes:
    """Of each basket, the category of the most dollars, in order of the departments.

    Categories are numbered by department, then by name, what is not known first; of
    equal dollars the smaller number wins.
    """
    lines, num = purchases.lines, len(purchases.names["category"]) + 1
    department, category = (lines[key].to_numpy() for key in PARTS)
    place = (department + 1) * num + category + 1  # -1 is not known
    basket = pd.Index(purchases.baskets["basket"]).get_indexer(lines["basket"])
    size = place.max() + 1
    pair, row = np.unique(basket * size + place, return_inverse=True)
    order = np.lexsort((-np.bincount(row, lines["sales"]), pair // size))  # stable
    first = np.unique(pair[order] // size, return_index=True)[1]
    best: Codes = pair[order][first] % size
    return best


def visits(shots: Sequence[Snapshot], category: Codes, days: int) -> EventColumns:
    """The baskets of each row in the ``days`` before its cut-off, in order of time.

    ``category`` is one number a basket, in order of ``Purchases.baskets``.
    """
    places, sizes = [], []
    for shot in shots:
        baskets = Window(shot.past.purchases, shot.cutoff - days, shot.cutoff).baskets
        household = baskets["household"].to_numpy()
        order = np.argsort(household, kind="stable")
        row = np.isin(household[order], shot.households)
        places.append(baskets.index.to_numpy()[order][row])
        counts = np.bincount(household, minlength=shot.past.size)
        sizes.append(counts[shot.households])
    chosen = np.concatenate(places)
    baskets = shots[0].past.purchases.baskets.loc[chosen]
    return EventColumns(
        amount=baskets["sales"].to_numpy(),
        category=category[chosen],
        day=baskets["day"].to_numpy(),
        hour=baskets["hour"].to_numpy(np.float64),
        start=np.concatenate([[0], np.concatenate(sizes).cumsum()]),
    )
