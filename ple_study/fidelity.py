"""How close answers are to a model's, on rows like those of its training and others.

::

    closeness(task, fitted.predict(batch)[task.name], other[task.name])
    students.fidelity(fitted, shifted(fitted, batch, "spending"))

No label is needed: what is measured is agreement with a teacher, not how good it is.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ple_study.batch import Batch
from ple_study.fitted import Fitted
from ple_study.names import nearest
from ple_study.schema import Schema, TaskSpec

LEAST = 1e-6  # of a probability whose logit is taken


def closeness(
    task: TaskSpec,
    said: Float[Tensor, "row outputs"],
    own: Float[Tensor, "row outputs"],
) -> dict[str, float]:
    """How close answers are to the teacher's; needs no label.

    Binary: ``mae`` of the probabilities, ``logit_r2``, and the share of rows with the
    same ``decision`` at 0.5. With classes: the share of rows whose likeliest ``class``
    is the same, and the mean total ``variation``, half the sum over classes of the
    absolute difference. Regression: ``r2``, and ``mae`` in the label's unit. An R2 is
    1 - sum (said - own)^2 / sum (said - mean)^2; NaN where the teacher says one thing.
    """
    a, b = said.double(), own.double()
    if task.outputs > 1:
        return {
            "class": (a.argmax(1) == b.argmax(1)).double().mean().item(),
            "variation": (a - b).abs().sum(1).mean().item() / 2,
        }
    mae = (a - b).abs().mean().item()
    if task.kind == "regression":
        return {"mae": mae, "r2": _r2(a, b)}
    logits = (x.clamp(LEAST, 1 - LEAST).logit() for x in (a, b))
    same = ((a > 0.5) == (b > 0.5)).double().mean().item()
    return {"mae": mae, "logit_r2": _r2(*logits), "decision": same}


def _r2(said: Tensor, own: Tensor) -> float:
    spread = (said - said.mean()).square().sum()
    return (1 - (said - own).square().sum() / spread).item() if spread > 0 else np.nan


def shifted(fitted: Fitted, batch: Batch, group: str, by: float = 1.0) -> Batch:
    """The same rows, the numeric columns of a group moved by so many deviations.

    Deviations are the training rows' (``fitted.scaler``). Probabilities and codes stay.
    Raises ValueError for a group without a numeric column.
    """
    moved = [f.kind == "numeric" and f.group == group for f in fitted.schema.numeric]
    if not any(moved):
        groups = _groups(fitted.schema)
        raise ValueError(
            f"No numeric column is of the group {group!r}. Groups are {groups}."
            f"{nearest(group, groups)}"
        )
    step = by * fitted.scaler.std * torch.tensor(moved)
    return replace(batch, numeric=batch.numeric + step)


def _groups(schema: Schema) -> list[str]:
    return list(dict.fromkeys(f.group for f in schema.numeric if f.kind == "numeric"))
