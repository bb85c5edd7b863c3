"""This library, the way its own users run it: the PLE of a shape, and ``fit``."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.contestant import Contestant
from benchmarks.shapes import Shape
from ple_study.batch import Batch, Rows
from ple_study.data.loader import Study
from ple_study.experts.mlp import Norm
from ple_study.experts.row_gradients import row_gradients
from ple_study.learner import Training, decay_groups
from ple_study.objective.losses import task_losses
from ple_study.training import fit


class Ours(Contestant):
    """As the paper has it: no normalisation."""

    name = "ple_study"
    twin: Norm | None = "none"

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.training = ExitStack()

    def build(self) -> Any:
        return self.shape.spec(self.twin).build(self.shape.schema)

    def steps(self, model: Any, rows: Rows) -> Callable[[], None]:
        groups = [g for g in decay_groups(model, 0.01) if g["params"]]
        optimizer = torch.optim.AdamW(groups, lr=1e-3, fused=True)
        self.training.enter_context(row_gradients(model))  # as fit does
        return partial(_step, self.shape, model, optimizer, rows)

    def answers(self, model: Any, rows: Rows) -> Callable[[], Tensor]:
        def run() -> Tensor:
            return torch.cat(list(model(rows.batch).logits.values()), dim=1).sigmoid()

        return run

    def epoch(self, train: Rows, val: Rows, batch_size: int) -> Callable[[], object]:
        options = Training(epochs=1, batch_size=batch_size)
        study, spec = _study(self.shape, train, val), self.shape.spec(self.twin)
        return partial(fit, study, spec, training=options, progress=False)


class OursWithBatchNorm(Ours):
    """What torch-rechub computes: a normalisation before activations and gates."""

    name = "ple_study, batch norm"
    twin = "batch"


class OursAsGraph(Ours):
    """On a GPU: compiled, and replayed as a CUDA graph."""

    name = "ple_study, compiled"

    def build(self) -> Any:
        return torch.compile(super().build(), fullgraph=True, mode="reduce-overhead")


def _step(
    shape: Shape, model: Any, optimizer: torch.optim.Optimizer, rows: Rows
) -> None:
    losses = task_losses(shape.schema.tasks, model(rows.batch).logits, rows.labels)
    optimizer.zero_grad()
    losses.values.sum().backward()
    optimizer.step()


def _study(shape: Shape, train: Rows, val: Rows) -> Study:
    """Both as one study; its test part, which no one looks at, is one row."""
    batch = Batch(
        torch.cat([train.batch.numeric, val.batch.numeric]),
        torch.cat([train.batch.categorical, val.batch.categorical]),
    )
    labels = {k: torch.cat([train.labels[k], val.labels[k]]) for k in train.labels}
    order = torch.arange(len(batch))
    parts = order.tensor_split([len(train), len(batch) - 1])
    rows = replace(train, batch=batch, labels=labels)
    return Study(
        shape.schema, rows, dict(zip(("train", "val", "test"), parts, strict=True))
    )
