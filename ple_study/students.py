"""A trained model's answers taught to boosted trees: one student a task.

::

    students = distill(fitted, study.part("train").batch)
    students.fidelity(fitted, study.part("test").batch)["churn"]

The rows need no label: a student learns what the teacher says of them (Hinton, Vinyals,
Dean 2015, "Distilling the knowledge in a neural network"), so any number of customers
may be asked about. It reads what is a number or a code of a customer, and no series or
diagram; it has no gate and no evidence. Fidelity is agreement with the teacher, on the
rows that it is measured on (``ple_study.fidelity``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ple_study.batch import Batch
from ple_study.fidelity import closeness
from ple_study.fitted import Fitted, Logits
from ple_study.names import unique
from ple_study.schema import TaskSpec

if TYPE_CHECKING:
    import lightgbm as lgb

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class StudentSpec:
    """How trees are grown: ``rounds`` at most, until ``patience`` rounds are no better.

    ``held`` is the share of rows, drawn by the seed, on which that is seen. ``leaves``
    of a tree, ``rate`` of what each adds, ``smallest`` number of rows in a leaf.
    """

    rounds: int = 500
    patience: int = 30
    held: float = 0.2
    leaves: int = 31
    rate: float = 0.05
    smallest: int = 20
    seed: int = 0
    threads: int = 0  # LightGBM's word for one a core

    def __post_init__(self) -> None:
        for name, least in (("rounds", 1), ("patience", 1), ("leaves", 2)):
            if getattr(self, name) < least:
                found = getattr(self, name)
                raise ValueError(f"{name} must be {least} or more. Found {found}.")
        if not (0 < self.held < 1 and 0 < self.rate < np.inf):
            found = f"held={self.held}, rate={self.rate}"
            raise ValueError(f"held lies in (0, 1) and rate above 0. Found {found}.")


@dataclass(frozen=True)
class Students:
    """One student a task; ``trees`` are LightGBM's, by the task's name."""

    tasks: tuple[TaskSpec, ...]
    trees: Mapping[str, "lgb.Booster"] = field(repr=False)

    def predict(self, batch: Batch) -> Logits:
        """Probabilities by task, or values: as ``Fitted.predict``."""
        table = columns(batch)
        return {t.name: _answer(t, self.trees[t.name], table) for t in self.tasks}

    def fidelity(self, fitted: Fitted, batch: Batch) -> dict[str, dict[str, float]]:
        """How close the students are to their teacher on these rows (``closeness``)."""
        said, own = fitted.predict(batch), self.predict(batch)
        return {t.name: closeness(t, said[t.name], own[t.name]) for t in self.tasks}


def distill(
    fitted: Fitted,
    batch: Batch,
    *,
    tasks: Sequence[str] | None = None,
    spec: StudentSpec | None = None,
) -> Students:
    """Students of a model, taught what it says of these rows; of ``tasks``, or of all.

    A binary task's student has cross-entropy with the teacher's probability, a
    regression's the squared error. One with K classes has the cross-entropy with all
    its probabilities p in one multiclass model, whose gradient is softmax(z) - p: what
    K copies of each row, weighed by p, would ask for, without the copies; K models of
    one class each would add up to one only by force.

    Raises ValueError without LightGBM, for fewer than two rows, and an unknown task.
    """
    if find_spec("lightgbm") is None:
        raise ValueError(
            "Distillation needs `pip install 'ple-study[distill]'`. Found no lightgbm."
        )
    if len(batch) < 2:
        raise ValueError(f"Students need two rows or more. Found {len(batch)}.")
    names = fitted.schema.task_names if tasks is None else tuple(tasks)
    unique("Tasks", names)
    asked, spec = tuple(fitted.schema.task(n) for n in names), spec or StudentSpec()
    table, said = columns(batch), fitted.predict(batch)
    start, count = batch.numeric.shape[1], batch.categorical.shape[1]
    coded = list(range(start, start + count))
    grown = (_grown(t, table, said[t.name], coded, spec) for t in asked)
    return Students(asked, dict(zip(names, grown, strict=True)))


def columns(batch: Batch) -> Values:
    """``[row, column]``: numbers, codes, states, clusters and vectors, side by side.

    NaN where a customer has no such state, cluster or vector; trees read that.
    """
    parts: list[Tensor] = [batch.numeric, batch.categorical]
    parts += [x.flatten(1) for x in (batch.states, batch.clusters) if x is not None]
    parts += list(batch.vectors.values())
    return torch.cat([part.double() for part in parts], 1).cpu().numpy()


def _grown(
    task: TaskSpec, table: Values, said: Tensor, coded: list[int], spec: StudentSpec
) -> "lgb.Booster":
    import lightgbm as lgb

    order = np.random.default_rng(spec.seed).permutation(len(table))
    cut = min(max(1, round(spec.held * len(table))), len(table) - 1)
    parts = order[cut:], order[:cut]
    soft = said.double().numpy()
    label = np.zeros(len(table)) if task.outputs > 1 else soft[:, 0]
    train, held = (
        lgb.Dataset(table[rows], label[rows], categorical_feature=coded)
        for rows in parts
    )
    options: dict[str, Any] = {
        "learning_rate": spec.rate,
        "num_leaves": spec.leaves,
        "min_child_samples": spec.smallest,
        "seed": spec.seed,
        "num_threads": spec.threads,
        "deterministic": True,
        "force_col_wise": True,
        "verbosity": -1,
    }
    measure = None
    if task.outputs > 1:
        of = {id(train): soft[parts[0]], id(held): soft[parts[1]]}

        def slope(raw: Values, data: lgb.Dataset) -> tuple[Values, Values]:
            return slopes(raw, of[id(data)])

        def measure(raw: Values, data: lgb.Dataset) -> tuple[str, float, bool]:
            return "cross_entropy", cross_entropy(raw, of[id(data)]), False

        options |= {"objective": slope, "num_class": task.outputs, "metric": "None"}
    else:
        kinds = {"binary": "cross_entropy", "regression": "regression"}
        options["objective"] = kinds[task.kind]
    stop = lgb.early_stopping(spec.patience, verbose=False)
    return lgb.train(
        options, train, spec.rounds, valid_sets=[held], feval=measure, callbacks=[stop]
    )


def softmax(raw: Values) -> Values:
    """Along the last axis."""
    found = np.exp(raw - raw.max(1, keepdims=True))
    return found / found.sum(1, keepdims=True)


def cross_entropy(raw: Values, p: Values) -> float:
    """-mean over rows of sum_k p_k log softmax(z)_k."""
    top = raw.max(1, keepdims=True)
    logs = raw - top - np.log(np.exp(raw - top).sum(1, keepdims=True))
    return float(-(p * logs).sum(1).mean())


def slopes(raw: Values, p: Values) -> tuple[Values, Values]:
    """Of a row's cross-entropy in z: softmax(z) - p, and q (1 - q) K / (K - 1).

    The factor is that of LightGBM's own multiclass objective.
    """
    q = softmax(raw)
    classes = q.shape[1]
    return q - p, q * (1 - q) * classes / (classes - 1)


def _answer(
    task: TaskSpec, trees: "lgb.Booster", table: Values
) -> Float[Tensor, "row _"]:
    found = np.asarray(trees.predict(table, raw_score=task.outputs > 1), np.float64)
    if task.outputs > 1:
        found = softmax(found)
    return torch.from_numpy(found.reshape(len(table), -1)).float()
