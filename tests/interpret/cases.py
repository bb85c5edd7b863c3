"""Contributions that no model made: one customer, tasks of three kinds."""

from collections.abc import Sequence

import torch

from ple_study.interpret.contributions import Contributions
from ple_study.schema import TaskSpec

TASKS = (
    TaskSpec(name="leaving_soon"),
    TaskSpec(name="channel", kind="multiclass", classes=3),
    TaskSpec(name="spend", kind="regression", scale=(1000.0, 70.0)),
)
EXPERTS = ("temporal", "lightgcn", "deepfm", "causal", "my_expert")


def found(
    raw: Sequence[float],
    base: float = -2.0,
    usual: float = 0.08,
    present: Sequence[bool] = (True,) * 5,
    **options: object,
) -> Contributions:
    """The same for every task, in the second of two rows; 50 times for spend."""
    one = torch.tensor(raw).double().expand(2, 3, -1).clone()
    start = torch.full((2, 3), base).double()
    one[:, 2], start[:, 2] = 50 * one[:, 2], 1000.0
    middle = torch.full((2, 3), usual).double()
    middle[:, 2] = 990.0
    one[0], start[0] = -one[0], 5.0
    parts = {
        "readout": "shapley",
        "hold_gate": False,
        "about": TASKS,
        "experts": EXPERTS[: len(raw)],
        "raw": one,
        "base": start,
        "full": start + one.sum(2),
        "usual": middle,
        "private": torch.zeros(2, 3).double(),
        "classes": torch.tensor([[0, 0, 0], [0, 2, 0]]),
        "present": torch.tensor([[True] * len(raw), list(present)[: len(raw)]]),
        "unheard": (),
    }
    return Contributions(**parts | options)
