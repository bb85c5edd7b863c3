"""A second real shop as a study: two years of a web shop, thirteen tasks, by time.

Online Retail II: the orders of 5,942 customers, wholesalers many of them, of a British
shop for gifts. As for the households (``data.journey``), a snapshot is a cut-off day:
the 180 days before it are the input, the 28 days from it on (56 for slow tasks) hold
the labels, and every customer with an order in the 180 days is a row. Cut-offs fall on
Mondays, every four weeks. Day 0 is 2009-11-29; the training cut-offs are those of one
whole year, so that no season counts twice.

====== ============ ===================== ====================================
part   cut-off days first and last        28-day labels end by, 56-day ones too
====== ============ ===================== ====================================
train  260 .. 596   2010-08-16 2011-07-18 624, the first cut-off of validation
val    624, 652     2011-08-15 2011-09-12 680, the first cut-off of test
test   680, 708     2011-10-10 2011-11-07 736, four days before the file ends
====== ============ ===================== ====================================

A label counts as observed only when its window has ended by the first cut-off of the
next part, as in the journey: slow tasks have twelve training snapshots, one of
validation and one of test. Each part is another season, the test the weeks before
Christmas; what holds at one season need not hold at the next.

Three of the thread's tasks are not honest here and left out, ctr, life_stage and
channel (see ``tasks``). The rest of what is made of the file is said in ``tables``,
``kinds`` (there are no categories in it), ``features`` and ``events``.
"""

from collections.abc import Collection

import pandas as pd

from ple_study.data.journey.lenses import LENSES, Lens, check_lenses, with_lenses
from ple_study.data.journey.shop import Shop, labels_frame, study_of
from ple_study.data.loader import Study
from ple_study.data.retail.events import sequences, series
from ple_study.data.retail.features import PERSON, PROBABILITY, categories, numeric
from ple_study.data.retail.modes import VIEWS
from ple_study.data.retail.snapshots import END, snapshots
from ple_study.data.retail.tables import Orders, read
from ple_study.data.retail.tasks import LABELS

__all__ = ["LENSES", "labels_table", "retail"]

SHOP = Shop(
    numeric=numeric,
    categories=categories,
    probability=PROBABILITY,
    person=PERSON,
    sequences=sequences,
    series=series,
    labels=LABELS,
    end=END,
)


def retail(
    *,
    purchases: Orders | None = None,
    seed: int = 0,
    lenses: Collection[Lens] = (),
) -> Study:
    """The study of the shop's customers: 51,825 rows, 225 columns and two series.

        study = retail(lenses=LENSES)

    ``seed`` is that of the lenses' fits; without lenses nothing is drawn. ``lenses``
    names what else is made of each row's past: "diagrams", "states", "clusters",
    "vectors", or ``LENSES`` for all of them: two minutes of a core, and 6 GB of memory
    at most. They change nothing of the rest. Many customers order seldom: seven of ten
    rows have fewer than two orders in 90 days, and so no point in the diagram "short".
    ``Batch.customer`` is the customer's code in ``purchases.names["household"]``. Rows
    stand in the order of ``snapshots(purchases)``, which knows their cut-offs. Of the
    28 parts of a week (``timing``) the shop is closed in many: classes may be unseen.

    Raises ValueError for a lens of another name.
    """
    check_lenses(lenses)
    shots = snapshots(purchases if purchases is not None else read())
    return with_lenses(study_of(SHOP, shots), shots, lenses, views=VIEWS, seed=seed)


def labels_table(*, purchases: Orders | None = None) -> pd.DataFrame:
    """One row a task: what is predicted, how often it is known, and its base rate.

    The columns are those of ``journey.labels_table``.
    """
    return labels_frame(SHOP, snapshots(purchases if purchases is not None else read()))
