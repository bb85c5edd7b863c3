"""What every study of the thread's tasks has in common.

Which task feeds which, whose hidden states speak to a group of tasks, and which experts
the thread's authors expect each task to prefer.
"""

from collections.abc import Mapping
from dataclasses import replace

from ple_study.schema import TaskSpec, Transfer

TRANSFERS = tuple(
    Transfer(source=source, target=target)
    for source, target in (
        ("ctr", "cvr"),
        ("churn", "retention"),
        ("cvr", "ltv"),
        ("nba", "spending_category"),
        ("spending_category", "brand_prediction"),
    )
)
MODES: Mapping[str, str] = {
    "engagement": "journey",
    "lifecycle": "lifecycle",
    "value": "behavior",
    "consumption": "behavior",
}
_LIFE = ("temporal", "perslay")
PREFERRED: Mapping[str, tuple[str, ...]] = {
    "ctr": ("unified_hgcn", "temporal", "perslay"),
    "cvr": ("unified_hgcn", "temporal", "perslay"),
    "churn": _LIFE,
    "retention": _LIFE,
    "nba": ("lightgcn", "unified_hgcn", "perslay"),
    "life_stage": _LIFE,
    "balance_util": ("temporal",),
    "engagement": ("temporal",),
    "ltv": ("deepfm", "temporal"),
    "channel": ("temporal",),
    "timing": ("temporal",),
    "spending_category": ("unified_hgcn", "perslay"),
    "consumption_cycle": ("temporal",),
    "spending_bucket": ("deepfm",),
    "brand_prediction": ("unified_hgcn",),
    "merchant_affinity": ("unified_hgcn", "temporal"),
}


def preferring(task: TaskSpec) -> TaskSpec:
    """The task with the experts that the thread expects it to prefer."""
    return replace(task, experts=PREFERRED.get(task.name, ()))
