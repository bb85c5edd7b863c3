"""Real households as a study: six four-weekly snapshots, sixteen tasks, split by time.

A snapshot is a cut-off day: the 180 days before it are the input, the 28 days from it
on (56 for slow tasks) hold the labels, and every household with a purchase in the 180
days is a row. A month is four weeks, and all cut-offs fall on a Monday, so that each
window holds each weekday equally often. Day 0 is 2017-01-01, day 197 is 17 July.

====== ============ ===================== ========================
part   cut-off day  28-day labels end on  56-day labels end on
====== ============ ===================== ========================
train  197, 225     225, 253              253, (281, not observed)
val    253, 281     281, 309              309, (337, not observed)
test   309, 337     337, 365              365, (393, after the year)
====== ============ ===================== ========================

The gap: a label counts as observed only when its window has ended by the first cut-off
of the next part. So no label of training looks at a day that one of validation or test
looks at, and all that training and model choice need was known on the first test day.
The price is that slow tasks have one snapshot a part. Households are the same in all
parts, and the past of a test row reaches back over training days, as it does in use;
only ``life_stage``, which stays the same all year, shows a household in one part alone.
"""

from collections.abc import Collection

import pandas as pd

from ple_study.data.journey.events import sequences, series
from ple_study.data.journey.features import MONTH
from ple_study.data.journey.habits import PERSON, PROBABILITY, categories, numeric
from ple_study.data.journey.lenses import LENSES, Lens, check_lenses, with_lenses
from ple_study.data.journey.shop import Shop, labels_frame, study_of
from ple_study.data.journey.snapshots import END, snapshots
from ple_study.data.journey.tables import Purchases, read
from ple_study.data.journey.tasks import LABELS
from ple_study.data.loader import Study

__all__ = ["LENSES", "journey", "labels_table"]

HOUSEHOLDS = Shop(
    numeric=numeric,
    categories=categories,
    probability=PROBABILITY,
    person=PERSON,
    sequences=sequences,
    series=series,
    labels=LABELS,
    end=END,
)


def journey(
    *,
    purchases: Purchases | None = None,
    every: int = MONTH,
    seed: int = 0,
    lenses: Collection[Lens] = (),
) -> Study:
    """The study of real households: 14,457 rows, 262 columns and two series.

    ``every`` is the number of days between training cut-offs: 28, or 14 or 7 for more
    rows from the same days. ``seed`` deals the households with a survey to the parts.
    ``lenses`` names what else is made of each row's past: "diagrams", "states",
    "clusters", "vectors", or ``LENSES`` for all of them: some minutes of a core, most
    of it for diagrams and vectors. They change nothing of the rest.
    ``Batch.customer`` is the household's code in ``purchases.names["household"]``. Rows
    stand in the order of ``snapshots(purchases, every)``, which knows their cut-offs.
    The graphs of the households are in ``journey.graphs``.

    Raises ValueError for another ``every``, and for a lens of another name.
    """
    check_lenses(lenses)
    shots = snapshots(purchases if purchases is not None else read(), every)
    study = study_of(HOUSEHOLDS, shots, seed)
    return with_lenses(study, shots, lenses)


def labels_table(
    *, purchases: Purchases | None = None, every: int = MONTH, seed: int = 0
) -> pd.DataFrame:
    """One row a task: what is predicted, how often it is known, and its base rate.

    ``base`` is the share of ones of a binary task, the mean in ``unit`` of a regression
    task, the share of the commonest class of any other, over all observed rows. A
    regression label is trained on as (label - mean) / std.
    """
    shots = snapshots(purchases if purchases is not None else read(), every)
    return labels_frame(HOUSEHOLDS, shots, seed)
