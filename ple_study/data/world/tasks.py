"""The eighteen tasks of the bank, and the lens in which each one's signal is planted.

A lens is what one expert is made to read. A task's first lens carries four parts of its
signal, the second two, the third one, where a part is the same for all tasks; the rest
is told in ``signal``. Half of the first lenses agree with the thread's own prior, and
half do not, so that a prior can be seen to be right and to be wrong.
"""

from dataclasses import dataclass

from ple_study.data.thread import MODES as MODES
from ple_study.data.thread import TRANSFERS as TRANSFERS
from ple_study.schema import TaskSpec

LENSES = (
    "unified_hgcn",
    "perslay",
    "deepfm",
    "temporal",
    "lightgcn",
    "causal",
    "optimal_transport",
)
HGCN, PERSLAY, DEEPFM, TEMPORAL, LIGHTGCN, CAUSAL, TRANSPORT = LENSES
Lenses = tuple[str, str, str]  # the strongest first
PARTS = (4.0, 2.0, 1.0)
CATEGORIES = 12  # classes of nba and spending_category


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task, its three lenses, and how often its label is known.

    ``rate`` is about the share of ones of a binary task by its own score alone, of all
    customers, before another task decides with it: only who clicks converts.
    """

    spec: TaskSpec
    lenses: Lenses
    observed: float = 1.0
    rate: float = 0.0
    active: bool = True


def tasks(brands: int) -> tuple[Task, ...]:
    """The table of the eighteen, with so many ``brands`` to predict among."""
    return (
        _binary("ctr", "engagement", 1.0, 0.055, (PERSLAY, TEMPORAL, DEEPFM), 0.95),
        _binary("cvr", "engagement", 1.5, 0.15, (HGCN, TEMPORAL, PERSLAY), 0.95),
        _amount("engagement", "engagement", 0.8, (TEMPORAL, PERSLAY, LIGHTGCN)),
        _amount("uplift", "engagement", 1.0, (CAUSAL, DEEPFM, TRANSPORT), active=False),
        _binary("churn", "lifecycle", 1.2, 0.10, (TEMPORAL, PERSLAY, CAUSAL), 0.9),
        _binary(
            "retention", "lifecycle", 1.0, 0.95, (PERSLAY, TEMPORAL, TRANSPORT), 0.85
        ),
        _classes(
            "life_stage", "lifecycle", 0.8, 6, (TRANSPORT, TEMPORAL, DEEPFM), 0.35
        ),
        _amount("ltv", "lifecycle", 1.5, (DEEPFM, TEMPORAL, LIGHTGCN), 0.9),
        _amount("balance_util", "value", 1.0, (CAUSAL, TEMPORAL, DEEPFM), 0.8),
        _classes("channel", "value", 0.8, 3, (TRANSPORT, DEEPFM, TEMPORAL), 0.9),
        _classes("timing", "value", 0.8, 28, (LIGHTGCN, TEMPORAL, PERSLAY), 0.8),
        _classes("nba", "consumption", 2.0, CATEGORIES, (LIGHTGCN, HGCN, CAUSAL), 0.7),
        _classes(
            "spending_category",
            "consumption",
            1.2,
            CATEGORIES,
            (HGCN, LIGHTGCN, PERSLAY),
            0.9,
        ),
        _classes(
            "consumption_cycle", "consumption", 0.8, 7, (DEEPFM, CAUSAL, TEMPORAL), 0.8
        ),
        _amount(
            "spending_bucket", "consumption", 0.8, (CAUSAL, DEEPFM, TRANSPORT), 0.9
        ),
        _amount(
            "category_uplift",
            "consumption",
            1.5,
            (HGCN, CAUSAL, LIGHTGCN),
            active=False,
        ),
        Task(
            spec=TaskSpec(
                name="brand_prediction",
                kind="contrastive",
                classes=brands,
                group="consumption",
                weight=2.0,
            ),
            lenses=(LIGHTGCN, HGCN, DEEPFM),
            observed=0.6,
        ),
        _amount(
            "merchant_affinity", "consumption", 1.0, (TRANSPORT, HGCN, TEMPORAL), 0.85
        ),
    )


def _binary(
    name: str, group: str, weight: float, rate: float, lenses: Lenses, observed: float
) -> Task:
    spec = TaskSpec(name=name, group=group, weight=weight)
    return Task(spec=spec, lenses=lenses, observed=observed, rate=rate)


def _classes(
    name: str, group: str, weight: float, classes: int, lenses: Lenses, observed: float
) -> Task:
    spec = TaskSpec(
        name=name, kind="multiclass", classes=classes, group=group, weight=weight
    )
    return Task(spec=spec, lenses=lenses, observed=observed)


def _amount(
    name: str,
    group: str,
    weight: float,
    lenses: Lenses,
    observed: float = 1.0,
    active: bool = True,
) -> Task:
    huber = name in ("balance_util", "ltv", "spending_bucket", "merchant_affinity")
    spec = TaskSpec(
        name=name,
        kind="regression",
        group=group,
        weight=weight,
        loss="huber" if huber else "default",
    )
    return Task(spec=spec, lenses=lenses, observed=observed, active=active)
