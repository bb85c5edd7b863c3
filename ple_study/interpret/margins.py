"""The one number a task that is explained: a logit, or the log-odds of one class.

Binary: its logit. Regression: its value, in the label's unit. Multiclass and
contrastive: the log-odds of one class (or key) c against all others,

    z_c - log sum_{j != c} exp z_j = log p_c / (1 - p_c),

which, other than a plain logit, does not move when all logits do. A sigmoid of it is
the probability, as in a binary task.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ple_study.names import nearest
from ple_study.schema import TaskKind, TaskSpec

Classes = Mapping[str, int | Int[Tensor, " batch"]]


def margin(
    logits: Float[Tensor, "*axes outputs"], chosen: Int[Tensor, " batch"]
) -> Float[Tensor, "*axes"]:
    """The logit of a task that has one; else the log-odds of each row's class.

    The first axis is the batch; what lies between it and the last is of one row.
    """
    if logits.shape[-1] == 1:
        return logits[..., 0]
    one = chosen.view(-1, *[1] * (logits.ndim - 1)).expand(*logits.shape[:-1], 1)
    rest = logits.scatter(-1, one, -torch.inf).logsumexp(-1)
    return logits.gather(-1, one)[..., 0] - rest


def margins(
    tasks: Sequence[TaskSpec],
    logits: Mapping[str, Float[Tensor, "*axes _"]],
    chosen: Int[Tensor, "batch task"],
) -> Float[Tensor, "*axes task"]:
    """``margin`` for every task."""
    pairs = zip(tasks, chosen.unbind(1), strict=True)
    return torch.stack([margin(logits[t.name], own) for t, own in pairs], -1)


def meaning(kind: TaskKind, margin: float) -> float:
    """The probability, or the value of a regression, that a margin stands for."""
    if kind == "regression":
        return margin
    return float(torch.tensor(margin, dtype=torch.float64).sigmoid())


def logit(probability: float) -> float:
    """The margin of a probability within (0, 1)."""
    return math.log(probability / (1 - probability))


def chosen_classes(
    tasks: Sequence[TaskSpec],
    logits: Mapping[str, Float[Tensor, "batch _"]],
    classes: Classes | None = None,
) -> Int[Tensor, "batch task"]:
    """By task the class that is explained: the one given, else the one predicted.

    Zero for a task of one logit. Raises ValueError for a class of a task that is not
    asked for or has none, for one that is not there, and for a tensor of other length.
    """
    classes = classes or {}
    known = [task.name for task in tasks if task.outputs > 1]
    for name in classes:
        if name not in known:
            raise ValueError(
                f"Classes are of the multiclass and contrastive tasks asked for, "
                f"{known}. Found {name!r}.{nearest(name, known)}"
            )
    found = []
    for task in tasks:
        best = logits[task.name].argmax(1)
        given = torch.as_tensor(classes.get(task.name, best), device=best.device)
        whole = not (given.is_floating_point() or given.is_complex())
        if not whole or given.shape not in ((), best.shape):
            raise ValueError(
                f"Classes of task {task.name!r} are a whole number, or one for each of "
                f"{len(best)} rows. Found {given.dtype} of shape {tuple(given.shape)}."
            )
        if not ((given >= 0) & (given < task.outputs)).all():
            raise ValueError(
                f"Classes of task {task.name!r} lie in 0 .. {task.outputs - 1}. Found "
                f"{int(given.min())} .. {int(given.max())}."
            )
        found.append(given.long().expand(len(best)))
    return torch.stack(found, dim=1)
