"""What each task's answer costs: one mean over the rows where the task was observed.

Everything is computed from logits, in float32 at least, without asking the device for
a value. Tasks of one kind, loss and width share one call.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from ple_study.ranks import average
from ple_study.schema import TaskSpec

Labels = Mapping[str, Float[Tensor, " batch"]]
RowLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
Group = tuple[str, str, tuple[float, float], int]


class TaskLosses(NamedTuple):
    """One loss a task, in the schema's order.

    A task that no row of the batch observed has the value zero, sends no gradient, and
    is not ``present``.
    """

    values: Float[Tensor, " task"]
    present: Bool[Tensor, " task"]


def task_losses(
    tasks: Sequence[TaskSpec],
    logits: Mapping[str, Float[Tensor, "batch _"]],
    labels: Labels,
    weights: Labels | None = None,
    ranks: bool = False,
) -> TaskLosses:
    """L_k = sum_b w_bk l(z_bk, y_bk) / sum_b w_bk, over the rows that observed task k.

    A row observed task k when its label is not NaN and its sample weight is above zero;
    rows without weights weigh one. The mean is unmoved by the order of the rows and by
    rows that did not observe the task. With ``ranks`` both sums, and the keys in a
    batch, are those of all processes of ``torch.distributed`` (``mean_over_rows``).

    Raises ValueError when a task has no logits or no labels, and when weights name a
    task that has no labels.
    """
    weights = weights or {}
    _check_names(tasks, logits, labels, weights)
    groups: dict[Group, list[int]] = {}
    for place, task in enumerate(tasks):
        group = task.kind, task.loss, task.focal, task.outputs
        groups.setdefault(group, []).append(place)
    order = [place for places in groups.values() for place in places]
    names = [tasks[place].name for place in order]
    dtype = reduce(
        torch.promote_types, (z.dtype for z in logits.values()), torch.float32
    )
    logits, labels = (_in_deviations(tasks, v, dtype) for v in (logits, labels))
    found = torch.stack([labels[name] for name in names]).to(dtype)
    weight = _row_weights(names, found, weights)
    rows = _row_losses(groups, names, logits, found.nan_to_num(0.0), weight > 0, ranks)
    values, present = mean_over_rows((weight * rows).sum(1), weight.sum(1), ranks)
    if order == sorted(order):
        return TaskLosses(values, present)
    back = sorted(range(len(order)), key=order.__getitem__)
    apart = (values.unbind(), present.unbind())
    return TaskLosses(*(torch.stack([part[i] for i in back]) for part in apart))


def mean_over_rows(
    sums: Float[Tensor, " task"], totals: Float[Tensor, " task"], ranks: bool = False
) -> TaskLosses:
    """Each task's sum over its rows by the total of their weights.

    With ``ranks`` the value is sum_r S_r / sum_r W_r, in every process r of R. Its
    gradient is that of the process's own share of it, R S_r / sum_r W_r: the mean of
    the shares' gradients, as data-parallel training takes it, is the value's.
    """
    if ranks:
        whole, totals = average(torch.stack([sums, totals])).unbind()
    present = totals > 0
    # An absent task's sum is zero, whatever divides it.
    divisor = totals.where(present, 1.0)
    values = sums / divisor
    if ranks:  # values - values is zero, with the gradient of the own share
        values = (whole / divisor).detach() + (values - values.detach())
    return TaskLosses(values, present)


def _in_deviations(
    tasks: Sequence[TaskSpec], values: Mapping[str, Tensor], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Answers or labels, a regression's divided by how far its label strays."""
    # By plain numbers: a tensor of them would be copied to the device at every step.
    strays = {t.name: t.scale[1] for t in tasks if t.scale[1] != 1.0}
    return {**values} | {k: values[k].to(dtype) / unit for k, unit in strays.items()}


def _row_weights(
    names: Sequence[str], labels: Float[Tensor, "task batch"], weights: Labels
) -> Float[Tensor, "task batch"]:
    """Zero where the task was not observed, else the sample's weight."""
    observed = ~labels.isnan()
    if not weights:
        return observed.to(labels.dtype)
    ones = torch.ones_like(labels[0])
    given = [weights.get(name, ones).to(labels.dtype) for name in names]
    return torch.stack(given) * observed


def _row_losses(
    groups: Mapping[Group, Sequence[int]],
    names: Sequence[str],
    logits: Mapping[str, Tensor],
    labels: Float[Tensor, "task batch"],
    observed: Bool[Tensor, "task batch"],
    ranks: bool,
) -> Float[Tensor, "task batch"]:
    """The loss of every row, group by group; what was not observed is meaningless."""
    parts, start = [], 0
    for (kind, loss, focal, _), places in groups.items():
        group = slice(start, start + len(places))
        start = group.stop
        members = [logits[name] for name in names[group]]
        # One task alone is a view; stacking would copy its classes.
        stacked = torch.stack(members) if len(members) > 1 else members[0][None]
        scores = stacked.to(labels.dtype)
        own = {"focal": partial(_focal, focal), "in_batch": partial(_in_batch, ranks)}
        row_loss = own[loss] if loss in own else ROW_LOSS[kind, loss]
        parts.append(row_loss(scores, labels[group], observed[group]))
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _binary(logits: Tensor, labels: Tensor, _: Tensor) -> Tensor:
    # l = -y log p - (1 - y) log(1 - p), p = sigmoid(z)
    return F.binary_cross_entropy_with_logits(logits[..., 0], labels, reduction="none")


def _focal(
    focal: tuple[float, float], logits: Tensor, labels: Tensor, _: Tensor
) -> Tensor:
    """l = -a_t (1 - p_t)^gamma log p_t (Lin et al., ICCV 2017, equation 5).

    p_t is the probability of the label that was found, p_t = sigmoid(z_t) with
    z_t = (2 y - 1) z; a_t is alpha where the label is 1 and 1 - alpha where it is 0.
    """
    alpha, gamma = focal
    z = (2 * labels - 1) * logits[..., 0]
    share = alpha * labels + (1 - alpha) * (1 - labels)
    # A power below one has no derivative at zero, which a sigmoid reaches.
    doubt = torch.sigmoid(-z).clamp(min=torch.finfo(z.dtype).tiny)
    return -share * doubt**gamma * F.logsigmoid(z)


def _squared(logits: Tensor, labels: Tensor, _: Tensor) -> Tensor:
    # l = (z - y)^2
    return F.mse_loss(logits[..., 0], labels, reduction="none")


def _huber(logits: Tensor, labels: Tensor, _: Tensor) -> Tensor:
    # l = r^2 / 2 where |r| <= 1, else |r| - 1/2, with r = z - y
    return F.huber_loss(logits[..., 0], labels, reduction="none", delta=1.0)


def _entropy(logits: Tensor, labels: Tensor, _: Tensor) -> Tensor:
    # l = log sum_c exp z_c - z_y
    scores, target = logits.flatten(0, 1), labels.flatten().long()
    return F.cross_entropy(scores, target, reduction="none").view(labels.shape)


def _in_batch(ranks: bool, logits: Tensor, labels: Tensor, observed: Tensor) -> Tensor:
    """Cross-entropy over the keys that some observed row of the batch bears.

    A key counts once, however many rows bear it, so no row's own key is ever held
    against it.
    """
    task, _, classes = logits.shape
    place = labels.long() + classes * torch.arange(task, device=logits.device)[:, None]
    count = torch.zeros(task * classes, dtype=logits.dtype, device=logits.device)
    count = count.index_add(0, place.flatten(), observed.flatten().to(logits.dtype))
    count = average(count) if ranks else count
    absent = observed[..., None] & (count == 0).view(task, 1, classes)
    return _entropy(logits.masked_fill(absent, -torch.inf), labels, observed)


ROW_LOSS: dict[tuple[str, str], RowLoss] = {
    ("binary", "default"): _binary,
    ("regression", "default"): _squared,
    ("regression", "huber"): _huber,
    ("multiclass", "default"): _entropy,
    ("contrastive", "default"): _entropy,
}


def _check_names(
    tasks: Sequence[TaskSpec],
    logits: Mapping[str, Tensor],
    labels: Labels,
    weights: Labels,
) -> None:
    for what, found in (("logits", logits), ("labels", labels)):
        lost = [task.name for task in tasks if task.name not in found]
        if lost:
            raise ValueError(f"Every task needs {what}. None found for {lost}.")
    unknown = [name for name in weights if name not in labels]
    if unknown:
        raise ValueError(
            f"Sample weights belong to a task with labels. Found {unknown}; labels are "
            f"{list(labels)}."
        )
