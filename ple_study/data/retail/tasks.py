"""The registry of the thirteen tasks on the shop's customers: words, units, horizons.

Names, groups, kinds and weights are the thread's, as for the households, whose
functions are used wherever a task means the same. Five tasks are absent. ctr: nothing
is shown or mailed to a customer that she could answer. life_stage: no survey. channel:
one shop on one channel. uplift and category_uplift: nothing was given at random.
"""

from ple_study.data.journey import labels as shared
from ple_study.data.journey import tasks as households
from ple_study.data.journey.features import Vocabulary
from ple_study.data.journey.labels import View
from ple_study.data.journey.tables import Array
from ple_study.data.retail import labels
from ple_study.data.retail.labels import CYCLE

_THEIRS = {label.spec.name: label for label in households.LABELS}
CHOSEN = {  # task: what it chooses among
    "nba": "department",
    "spending_category": "category",
    "brand_prediction": "product",
}


def consumption_cycle(view: View) -> Array:
    return shared.consumption_cycle(view, CYCLE)


LABELS = (
    _THEIRS["cvr"]._replace(
        words="buys, in the next 28 days, a product that the shop first sold in the 28 "
        "days before the cut-off and that she did not buy in the 180 days before",
        raw=labels.cvr,
    ),
    _THEIRS["engagement"],
    _THEIRS["churn"],
    _THEIRS["retention"],
    _THEIRS["ltv"]._replace(
        words="pounds spent in the next 56 days, returns not taken off",
        unit="log(1 + pounds)",
    ),
    _THEIRS["balance_util"]._replace(
        words="pounds of goods taken back in the next 28 days, as a share of these and "
        "the pounds spent, where there is either",
        raw=labels.balance_util,
    ),
    _THEIRS["timing"],
    _THEIRS["nba"]._replace(
        words="of the twelve largest kinds of goods, the one with the most pounds in "
        "the next basket within 28 days, where it has one",
        unit="class: kind of goods",
    ),
    _THEIRS["spending_category"]._replace(
        words="of the twelve largest finer kinds of goods, the one with the most "
        "pounds in the next 28 days, where any was bought",
        unit="class: finer kind of goods",
    ),
    _THEIRS["consumption_cycle"]._replace(
        unit="class: up to 7, 10, 14, 18, 24, 32 days, longer",
        raw=consumption_cycle,
    ),
    _THEIRS["spending_bucket"]._replace(
        words="tenth of the training rows (0 to 9) that the mean pounds a basket of "
        "the next 28 days fall in, where there is a basket",
    ),
    _THEIRS["brand_prediction"]._replace(
        words="of the 200 products that sold for the most, the one with the most "
        "pounds in the next 28 days, where any was bought",
        unit="key: product",
        raw=labels.brand_prediction,
    ),
    _THEIRS["merchant_affinity"]._replace(
        words="share of the pounds of the next 28 days that goes to products bought "
        "in the 180 days before, where there is a basket",
        raw=labels.merchant_affinity,
    ),
)


def class_names(vocabulary: Vocabulary) -> dict[str, list[str]]:
    """What each class, or key, of the tasks with classes stands for."""
    sizes = {label.spec.name: label.spec.classes for label in LABELS}
    names = {task: vocabulary.names(key, sizes[task]) for task, key in CHOSEN.items()}
    names["timing"] = [
        f"{day} {part}" for day in households.DAYS for part in households.PARTS
    ]
    edges = [f"up to {edge:g} days" for edge in CYCLE]
    return names | {"consumption_cycle": [*edges, "longer"]}
