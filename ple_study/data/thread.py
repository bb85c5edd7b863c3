"""What every study of the thread's tasks has in common.

Which task feeds which, whose hidden states speak to a group of tasks, and which experts
the thread's authors expect each task to prefer.
"""

from collections.abc import Mapping
from dataclasses import replace

from ple_study.schema import TaskSpec, Transfer

TRANSFERS = (
    Transfer(source="ctr", target="cvr", kind="sequential"),
    Transfer(source="churn", target="retention", kind="inverse"),
    Transfer(source="cvr", target="ltv", kind="feature"),
    Transfer(source="nba", target="spending_category", kind="feature"),
    Transfer(source="spending_category", target="brand_prediction", kind="feature"),
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
