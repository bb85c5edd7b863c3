"""Do readouts agree, and does the loss grow fastest without whom they put first?

rho = agreement(contributions(..., readout="gate"), contributions(...))
curves = deletion(fitted, rows, contributions(fitted, rows.batch, background))
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ple_study.batch import Rows, tree_map
from ple_study.fitted import Fitted
from ple_study.interpret.coalitions import (
    all_coalitions,
    answers,
    asking,
    explained,
    listen,
)
from ple_study.interpret.contributions import Contributions
from ple_study.objective.losses import task_losses
from ple_study.schema import TaskSpec

Order = Int[Tensor, "batch task expert"]
Numbers = Int[Tensor, "batch task step"]


def agreement(one: Contributions, other: Contributions) -> Float[Tensor, "batch task"]:
    """Spearman's correlation of two readouts' shares, over the experts of each row.

    Equal shares have their average rank. NaN where all shares of a row are equal.

    Raises ValueError unless both are of the same experts, tasks and number of rows.
    """
    same = one.experts == other.experts and one.tasks == other.tasks
    if not same or len(one.raw) != len(other.raw):
        raise ValueError(
            "Readouts agree on the same experts, tasks and rows. Found "
            + " and ".join(
                f"{list(c.experts)} x {list(c.tasks)} x {len(c.raw)}"
                for c in (one, other)
            )
            + "."
        )
    x, y = (ranks(c.share) for c in (one, other))
    x, y = (r - r.mean(-1, keepdim=True) for r in (x, y))
    # cov(x, y) / (s_x s_y) of the ranks
    return (x * y).sum(-1) / (x.square().sum(-1) * y.square().sum(-1)).sqrt()


def ranks(values: Float[Tensor, "*axes item"]) -> Float[Tensor, "*axes item"]:
    """From one for the smallest; equal values share the mean of their ranks."""
    one, other = values[..., :, None], values[..., None, :]
    below, equal = (one > other).sum(-1), (one == other).sum(-1)
    return below + (equal.to(values.dtype) + 1) / 2


class Deletion(NamedTuple):
    """Mean loss when experts fall silent one after the other, none of them first.

    most: those of the largest share first; least: the other way round; random: each
    customer in an order of her own. NaN for a task that no row observed. All three
    begin and end alike: nobody removed, and all.
    """

    tasks: tuple[str, ...]
    most: Float[Tensor, "task step"]
    random: Float[Tensor, "task step"]
    least: Float[Tensor, "task step"]


def deletion(
    fitted: Fitted, rows: Rows, order: Contributions, *, seed: int = 0
) -> Deletion:
    """The study's loss of each task after each removal, by ``order.share``.

    ``order``: contributions of these very rows; an expert that is removed says the mean
    of their background, and their gates decide anew or are held as there. Of equals,
    the first in the model's order counts as the larger. ``seed`` draws the random
    order. A readout that finds whom the answers rest on has ``most`` above ``random``
    and ``least`` below it, where the answers are better than the background's.

    Raises ValueError where ``order`` is of another number of rows or other experts, and
    for more than 10 experts.
    """
    model = explained(fitted)
    names = tuple(model.experts.names)
    if len(rows) != len(order.raw) or names != order.experts:
        raise ValueError(
            f"An order is of the same rows and experts, {len(rows)} x {list(names)}. "
            f"Found {len(order.raw)} x {list(order.experts)}."
        )
    heard = all_coalitions(len(names))
    most = order.share.argsort(dim=2, descending=True, stable=True)
    draw = torch.Generator().manual_seed(seed)
    anyhow = torch.rand(len(rows), 1, len(names), generator=draw).argsort(2)
    orders = [most, anyhow.expand_as(most), most.flip(2)]
    steps = torch.stack([remaining(own) for own in orders], dim=2).flatten(2)
    found, start = [], 0
    with asking(model):
        said, _ = listen(fitted, rows.batch)
        unheard = [m.to(b) for m, b in zip(order.unheard, said.blocks, strict=True)]
        for logits in answers(model, said, unheard, heard, hold_gate=order.hold_gate):
            stop = start + len(next(iter(logits.values())))
            found.append(_along(order.about, logits, steps[start:stop]))
            start = stop
    paths = {name: torch.cat([piece[name] for piece in found]) for name in order.tasks}
    most_first, random, least_first = _losses(order.about, paths, rows).chunk(3, 1)
    return Deletion(order.tasks, most_first, random, least_first)


def remaining(order: Order) -> Numbers:
    """The coalition's number after each removal: all first, nobody last."""
    gone = (2**order).cumsum(2)
    whole = 2 ** order.shape[2] - 1
    return torch.cat([torch.full_like(gone[:, :, :1], whole), whole - gone], dim=2)


def _along(
    tasks: Sequence[TaskSpec],
    logits: dict[str, Float[Tensor, "batch coalition _"]],
    steps: Numbers,
) -> dict[str, Float[Tensor, "batch step _"]]:
    """Each task's logits along the path of each of its rows."""
    found = {}
    for task, own in zip(tasks, steps.unbind(1), strict=True):
        z = logits[task.name].cpu()
        found[task.name] = z.gather(1, own[..., None].expand(-1, -1, z.shape[2]))
    return found


def _losses(
    tasks: Sequence[TaskSpec],
    paths: dict[str, Float[Tensor, "batch step _"]],
    rows: Rows,
) -> Float[Tensor, "task step"]:
    labels, weights = (
        {t.name: tree_map(Tensor.cpu, part[t.name]) for t in tasks if t.name in part}
        for part in (rows.labels, rows.weights)
    )
    found = []
    for step in range(next(iter(paths.values())).shape[1]):
        at = {name: path[:, step] for name, path in paths.items()}
        values, present = task_losses(tasks, at, labels, weights)
        found.append(values.where(present, torch.nan))
    return torch.stack(found, dim=1)
