"""The thread's opinions: whose states speak to whom, which experts a task prefers."""

from ple_study.data.thread import MODES, PREFERRED, TRANSFERS, preferring
from ple_study.data.world.tasks import tasks
from ple_study.gates.attention import prior_table
from ple_study.model import seven
from ple_study.schema import TaskSpec, Transfer

ORDER = (
    "deepfm",
    "lightgcn",
    "unified_hgcn",
    "temporal",
    "perslay",
    "causal",
    "optimal_transport",
)
SIGNS = {  # of deepfm, lightgcn, unified_hgcn, temporal, perslay, causal, transport
    "ctr": "--+++--",
    "cvr": "--+++--",
    "churn": "---++--",
    "retention": "---++--",
    "nba": "-++-+--",
    "life_stage": "---++--",
    "balance_util": "---+---",
    "engagement": "---+---",
    "ltv": "+--+---",
    "channel": "---+---",
    "timing": "---+---",
    "spending_category": "--+-+--",
    "consumption_cycle": "---+---",
    "spending_bucket": "+------",
    "brand_prediction": "--+----",
    "merchant_affinity": "--++---",
}
GROUPS = {
    "journey": "ctr cvr engagement uplift",
    "lifecycle": "churn retention life_stage ltv",
    "behavior": "nba balance_util channel timing spending_category consumption_cycle "
    "spending_bucket brand_prediction merchant_affinity category_uplift",
}


def test_sixteen_tasks_prefer_what_the_thread_says() -> None:
    specs = [preferring(TaskSpec(name=name)) for name in SIGNS]
    wanted = [[2.0 * (sign == "+") - 1 for sign in row] for row in SIGNS.values()]
    assert prior_table(specs, ORDER).tolist() == wanted
    assert set(PREFERRED) == set(SIGNS)
    assert set(seven()) == set(ORDER)


def test_a_task_keeps_what_else_it_is_and_an_unknown_one_prefers_nobody() -> None:
    odd = TaskSpec(name="odd", kind="multiclass", classes=4, experts=("causal",))
    assert preferring(odd) == TaskSpec(name="odd", kind="multiclass", classes=4)
    ltv = preferring(TaskSpec(name="ltv", kind="regression", weight=1.5))
    assert (ltv.kind, ltv.weight, ltv.experts) == (
        "regression",
        1.5,
        ("deepfm", "temporal"),
    )


def test_every_task_of_the_bank_hears_the_mode_of_the_thread() -> None:
    specs = [task.spec for task in tasks(brands=50)]
    found = {mode: {t.name for t in specs if MODES[t.group] == mode} for mode in GROUPS}
    assert found == {mode: set(names.split()) for mode, names in GROUPS.items()}
    active = {task.spec.name for task in tasks(brands=50) if task.active}
    assert active == set(SIGNS)
    assert {name for e in TRANSFERS for name in (e.source, e.target)} <= active


def test_five_edges_of_three_kinds() -> None:
    told = {
        "sequential": ["ctr -> cvr"],
        "inverse": ["churn -> retention"],
        "feature": [
            "cvr -> ltv",
            "nba -> spending_category",
            "spending_category -> brand_prediction",
        ],
    }
    wanted = {
        Transfer(source=source, target=target, kind=kind, strength=0.5)
        for kind, edges in told.items()
        for source, target in (edge.split(" -> ") for edge in edges)
    }
    assert set(TRANSFERS) == wanted
    assert len(TRANSFERS) == 5
