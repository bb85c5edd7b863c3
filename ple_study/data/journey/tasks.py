"""The registry of the sixteen tasks on real households: words, units, horizons.

Task names are those of the thread, for the part that a task plays here; the words say
what is really predicted. None is a function of the features: each looks past the
cut-off (``life_stage`` at a survey). Two tasks of the thread, uplift and
category_uplift, are absent: nothing here was given to some households at random.
"""

from ple_study.data.journey import labels as labels
from ple_study.data.journey.features import MONTH, Vocabulary
from ple_study.data.journey.labels import AGES, CYCLE, MAKERS, Label
from ple_study.data.thread import TRANSFERS as TRANSFERS
from ple_study.schema import TaskSpec

SLOW = 2 * MONTH  # days
DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
PARTS = ("to 11 h", "to 15 h", "to 19 h", "to 24 h")


def _binary(name: str, group: str, weight: float) -> TaskSpec:
    return TaskSpec(name=name, group=group, weight=weight)


def _classes(name: str, group: str, weight: float, classes: int) -> TaskSpec:
    return TaskSpec(
        name=name, kind="multiclass", classes=classes, group=group, weight=weight
    )


def _amount(name: str, group: str, weight: float) -> TaskSpec:
    return TaskSpec(name=name, kind="regression", group=group, weight=weight)


_BRAND = TaskSpec(
    name="brand_prediction",
    kind="contrastive",
    classes=MAKERS,
    group="consumption",
    weight=2.0,
)

LABELS = (
    Label(
        _binary("ctr", "engagement", 1.0),
        "uses a coupon in the next 28 days",
        "yes or no",
        labels.ctr,
    ),
    Label(
        _binary("cvr", "engagement", 1.5),
        "uses, in the next 28 days, a coupon in a product category that it did not buy "
        "in the 180 days before",
        "yes or no",
        labels.cvr,
    ),
    Label(
        _amount("engagement", "engagement", 0.8),
        "number of baskets in the next 28 days",
        "log(1 + baskets)",
        labels.engagement,
    ),
    Label(
        _binary("churn", "lifecycle", 1.2),
        "buys nothing in the next 28 days",
        "yes or no",
        labels.churn,
    ),
    Label(
        _binary("retention", "lifecycle", 1.0),
        "buys something in the second month, days 29 to 56",
        "yes or no",
        labels.retention,
        SLOW,
    ),
    Label(
        _classes("life_stage", "lifecycle", 0.8, len(AGES)),
        "age class that a survey gives the household; it is shown in one part of the "
        "split only",
        "class: " + ", ".join(AGES),
        labels.life_stage,
        0,
    ),
    Label(
        _amount("ltv", "lifecycle", 1.5),
        "dollars spent in the next 56 days",
        "log(1 + dollars)",
        labels.ltv,
        SLOW,
    ),
    Label(
        _amount("balance_util", "value", 1.0),
        "share of the list price that loyalty discounts took off in the next 28 days, "
        "where something was bought",
        "share, 0 to 1",
        labels.balance_util,
    ),
    Label(
        _classes("channel", "value", 0.8, 3),
        "store of the next basket within 28 days: the store with the most baskets of "
        "the 180 days before, another store of those days, or one new to the household",
        "class: home, known, new",
        labels.channel,
    ),
    Label(
        _classes("timing", "value", 0.8, 28),
        "weekday and part of the day of the next basket within 28 days",
        "class: 4 * weekday (0 Sunday) + part (to 11, 15, 19, 24 h)",
        labels.timing,
    ),
    Label(
        _classes("nba", "consumption", 2.0, 12),
        "of the twelve largest departments without grocery, the one with the most "
        "dollars in the next basket within 28 days, where it has one",
        "class: department",
        labels.nba,
    ),
    Label(
        _classes("spending_category", "consumption", 1.2, 12),
        "of the twelve largest product categories, the one with the most dollars in "
        "the next 28 days, where any was bought",
        "class: product category",
        labels.spending_category,
    ),
    Label(
        _classes("consumption_cycle", "consumption", 0.8, len(CYCLE) + 1),
        "mean number of days between shopping days in the next 56 days, where there "
        "are two shopping days or more",
        "class: up to 2, 3, 4, 6, 8, 14 days, longer",
        labels.consumption_cycle,
        SLOW,
    ),
    Label(
        _amount("spending_bucket", "consumption", 0.8),
        "tenth of the training rows (0 to 9) that the mean dollars a basket of the "
        "next 28 days fall in, where there is a basket",
        "tenth",
        labels.spending_bucket,
        buckets=10,
    ),
    Label(
        _BRAND,
        "of the 200 largest makers that sell under their own name, the one with the "
        "most dollars in the next 28 days, where any was bought",
        "key: maker",
        labels.brand_prediction,
    ),
    Label(
        _amount("merchant_affinity", "consumption", 1.0),
        "share of the baskets of the next 28 days that are bought in the store with "
        "the most baskets of the 180 days before, where there is a basket",
        "share, 0 to 1",
        labels.merchant_affinity,
    ),
)


def class_names(vocabulary: Vocabulary) -> dict[str, list[str]]:
    """What each class, or key, of the tasks with classes stands for."""
    chosen = {"nba": "department", "spending_category": "category"}
    chosen["brand_prediction"] = "manufacturer"
    names = {
        label.spec.name: vocabulary.names(
            chosen[label.spec.name],
            label.spec.classes,
            skip=labels.SKIPPED.get(chosen[label.spec.name], ()),
        )
        for label in LABELS
        if label.spec.name in chosen
    }
    names["life_stage"] = list(AGES)
    names["channel"] = ["home", "known", "new"]
    names["timing"] = [f"{day} {part}" for day in DAYS for part in PARTS]
    edges = [f"up to {edge:g} days" for edge in CYCLE]
    names["consumption_cycle"] = [*edges, "longer"]
    return names
