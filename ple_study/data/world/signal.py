"""Which lens each task's signal lies in, and how loudly: the planted lens matrix."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from ple_study.data.world.sizes import Size
from ple_study.data.world.tasks import CATEGORIES, LENSES, PARTS, Lenses, Task, tasks

CONTEXT = ("regime", "cluster")
CONTEXT_PARTS = (0.8, 0.6)  # in the unit of PARTS


@dataclass(frozen=True)
class Signal:
    """How each task's score is made of lenses, context and noise.

    The score of task k has two components of unit variance: the sum over lenses of
    ``sqrt(shares[k, lens])`` times that lens's two factors, turned by ``angle[k]``,
    the effects of regime and cluster likewise, and noise. Shares, context and
    ``noise`` sum to one.

    Tasks with one angle read a lens alike. Tasks with the same first lens in the table
    have two angles in turn, whose cosine is the bank's ``correlation``; retention
    points away from churn besides.

    Shares are of a task's own score. What the chains then do to the labels of cvr,
    retention, ltv, spending_category and brand_prediction (``labels``) comes on top.
    """

    tasks: tuple[Task, ...]
    shares: Float[np.ndarray, "task lens"]
    context: Float[np.ndarray, "task 2"]
    noise: float
    angle: Float[np.ndarray, " task"]


def signal(
    size: Size, noise: float, correlation: float, lenses: Mapping[str, Lenses]
) -> Signal:
    """The planted lens matrix, and the angle between tasks of one lens."""
    if not (0 <= noise < 1 and -1 <= correlation <= 1):
        raise ValueError(
            "noise must lie in [0, 1) and correlation in [-1, 1]. Found "
            f"noise={noise}, correlation={correlation}."
        )
    table = _replaced(tasks(CATEGORIES * size.brands), lenses)
    shares = np.zeros((len(table), len(LENSES)))
    for row, task in enumerate(table):
        shares[row, [LENSES.index(name) for name in task.lenses]] = PARTS
    context = np.tile(CONTEXT_PARTS, (len(table), 1))
    part = (1 - noise) / (sum(PARTS) + sum(CONTEXT_PARTS))
    firsts = [task.lenses[0] for task in tasks(CATEGORIES * size.brands)]
    turn = [(-1) ** firsts[:row].count(name) for row, name in enumerate(firsts)]
    angle = np.array(turn) * np.arccos(correlation) / 2
    # What keeps a customer is what does not drive her away.
    angle[[task.spec.name for task in table].index("retention")] += np.pi
    return Signal(table, part * shares, part * context, noise, angle)


def _replaced(
    table: tuple[Task, ...], lenses: Mapping[str, Lenses]
) -> tuple[Task, ...]:
    names = [task.spec.name for task in table]
    for name, chosen in lenses.items():
        if name not in names or len(set(chosen)) != 3 or not set(chosen) <= set(LENSES):
            raise ValueError(
                f"Lenses are three different ones of {LENSES} for a task of {names}. "
                f"Found {name!r}: {chosen}."
            )
    return tuple(
        replace(task, lenses=lenses.get(task.spec.name, task.lenses)) for task in table
    )
