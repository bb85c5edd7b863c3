"""Label patterns: losses are those of a slow loop, metrics lie where they must."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ple_study.baselines import SharedBottomSpec
from ple_study.batch import Batch, Rows
from ple_study.data.loader import Study
from ple_study.experts.mlp import MLPSpec
from ple_study.metrics import evaluate_task
from ple_study.objective.losses import task_losses
from ple_study.schema import Feature, Schema, TaskSpec
from ple_study.training import Training, fit
from tests.fuzz.strategies import Refused, cases, tried

pytestmark = pytest.mark.plain
TASKS = (
    TaskSpec(name="binary"),
    TaskSpec(name="focal", loss="focal", focal=(0.3, 1.5)),
    TaskSpec(name="classes", kind="multiclass", classes=3),
    TaskSpec(name="value", kind="regression", scale=(1.0, 2.0)),
    TaskSpec(name="huber", kind="regression", loss="huber"),
    TaskSpec(name="keys", kind="contrastive", classes=4, dim=3),
    TaskSpec(name="in_batch", kind="contrastive", classes=4, dim=3, loss="in_batch"),
)
NAN = float("nan")


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def slow(task: TaskSpec, logits: list[float], label: float, keys: set[int]) -> float:
    """One row's loss, as the definition has it."""
    if task.kind == "regression":
        miss = (logits[0] - label) / task.scale[1]
        huber = miss**2 / 2 if abs(miss) <= 1 else abs(miss) - 0.5
        return huber if task.loss == "huber" else miss**2
    if task.kind == "binary":
        z = logits[0] if label == 1 else -logits[0]
        if task.loss == "default":
            return softplus(-z)
        alpha, gamma = task.focal
        share = alpha if label == 1 else 1 - alpha
        return share * math.exp(-gamma * softplus(z)) * softplus(-z)
    held = keys if task.loss == "in_batch" else set(range(task.classes))
    top = max(logits[k] for k in held)
    total = sum(math.exp(logits[k] - top) for k in held)
    return top + math.log(total) - logits[int(label)]


@st.composite
def tasks_rows(draw: st.DrawFn) -> tuple[list[TaskSpec], dict[str, Any]]:
    """Some of the tasks, and labels, logits and weights of a few rows of each."""
    tasks = draw(st.lists(st.sampled_from(TASKS), min_size=1, unique=True))
    size = draw(st.integers(1, 6))
    found: dict[str, Any] = {"labels": {}, "logits": {}, "weights": {}}
    for task in tasks:
        top = max(task.classes, 2) - 1
        known = st.integers(0, top).map(float)
        if task.kind == "regression":
            known = st.floats(-50, 50, width=32)
        labels = st.lists(st.just(NAN) | known, min_size=size, max_size=size)
        number = st.floats(-30, 30, width=32)
        row = st.lists(number, min_size=task.outputs, max_size=task.outputs)
        found["labels"][task.name] = draw(labels)
        found["logits"][task.name] = draw(st.lists(row, min_size=size, max_size=size))
        if draw(st.booleans()):
            weigh = st.sampled_from([0.0, 0.25, 1.0, 7.0])
            found["weights"][task.name] = draw(
                st.lists(weigh, min_size=size, max_size=size)
            )
    return tasks, found


def doubles(values: dict[str, Any]) -> dict[str, Tensor]:
    return {k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()}


@cases(15, 1500)
@given(tasks_rows())
def test_losses_are_those_of_a_loop(drawn: tuple[list[TaskSpec], Any]) -> None:
    tasks, rows = drawn
    given = (doubles(rows[k]) for k in ("logits", "labels", "weights"))
    found = tried(task_losses, tasks, *given)
    assert not isinstance(found, Refused)
    for place, task in enumerate(tasks):
        labels = rows["labels"][task.name]
        weights = rows["weights"].get(task.name, [1.0] * len(labels))
        seen = [i for i, y in enumerate(labels) if y == y and weights[i] > 0]
        assert bool(found.present[place]) == bool(seen)
        keys = {int(labels[i]) for i in seen}
        total = sum(
            weights[i] * slow(task, rows["logits"][task.name][i], labels[i], keys)
            for i in seen
        )
        wanted = total / sum(weights[i] for i in seen) if seen else 0.0
        assert float(found.values[place]) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


@cases(10, 1000)
@given(tasks_rows(), st.sampled_from([0.0, NAN, float("inf")]))
def test_metrics_lie_where_they_must(
    drawn: tuple[list[TaskSpec], Any], extra: float
) -> None:
    tasks, rows = drawn
    for task in tasks:
        labels = torch.tensor(rows["labels"][task.name])
        logits = torch.tensor(rows["logits"][task.name])
        logits[0, 0] += extra
        known = ~labels.isnan()
        found = tried(evaluate_task, task, logits, labels)
        if isinstance(found, Refused):
            assert not logits[known].isfinite().all()
            continue
        if not known.any():
            assert np.isnan(list(found.values())).all()
            continue
        assert logits[known].isfinite().all()
        for name, value in found.items():
            if name == "mae":
                away = (logits[known, 0].double() - labels[known].double()).abs()
                assert value == pytest.approx(float(away.mean()))
            elif name == "accuracy":
                hits = logits[known].argmax(1) == labels[known]
                assert value == pytest.approx(float(hits.double().mean()))
            elif name == "log_loss":
                assert value >= 0
            elif name in ("skill", "r2"):
                assert value != value or value <= 1 + 1e-6
            else:
                assert value != value or -1e-6 <= value <= 1 + 1e-6


SCHEMA = Schema(features=(Feature(name="x"), Feature(name="z")), tasks=TASKS)
SMALL = SharedBottomSpec(trunk=MLPSpec(dims=(3,)), tower=MLPSpec(dims=()))


@cases(2, 60)
@given(data=st.data(), size=st.sampled_from([8, 9, 13]))
def test_a_run_ends_well_or_says_why_not(data: st.DataObject, size: int) -> None:
    labels = {}
    for task in TASKS:
        top = max(task.classes, 2) - 1
        known = st.integers(0, top).map(float)
        likely = st.one_of(*[known] * 4, st.just(NAN))
        labels[task.name] = torch.tensor(
            data.draw(st.lists(likely, min_size=size, max_size=size))
        )
    draw = torch.Generator().manual_seed(0)
    numeric = torch.randn(size, 2, generator=draw)
    batch = Batch(numeric, torch.zeros(size, 0, dtype=torch.int64))
    split = {"train": range(size - 4), "val": (-4, -3), "test": (-2, -1)}
    parts = {k: torch.tensor([i % size for i in v]) for k, v in split.items()}

    def run() -> Any:
        study = Study(SCHEMA, Rows(batch, labels), parts)
        training = Training(epochs=1, batch_size=4)
        return study, fit(study, SMALL, training=training, device="cpu", progress=False)

    found = tried(run)
    if not isinstance(found, Refused):
        study, fitted = found
        entry = fitted.history[0]
        assert all(math.isfinite(loss) for loss in entry["train"].values())
        for task, answer in fitted.predict(study.rows.batch).items():
            assert answer.isfinite().all()
            if task not in ("value", "huber"):
                assert ((answer >= 0) & (answer <= 1)).all()
