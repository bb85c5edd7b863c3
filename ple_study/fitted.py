"""A trained model and what one asks of it: probabilities, gates, metrics."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ple_study import metrics
from ple_study.batch import Batch, Model, ModelSpec, Output, Rows, tree_map
from ple_study.data.loader import Scaler
from ple_study.names import nearest
from ple_study.objective.evidence import Opinion, opinion
from ple_study.objective.losses import task_losses
from ple_study.schema import Schema, TaskSpec

CHUNK = 8192  # rows at once where no gradient is kept

LOWER = ("loss", "log_loss", "ece", "mae")  # where less is better

Logits = dict[str, Float[Tensor, "batch _"]]


@dataclass(frozen=True)
class Fitted:
    """A trained model with all that its answers need; its weights are the best epoch's.

    Of a model whose tasks share nothing, each task's weights are its own best epoch's.

    ``history`` has an entry an epoch: ``epoch`` (from one), ``train`` (raw loss by
    task), ``val`` (by task: raw ``loss`` and every metric) and ``score``. ``run`` is
    what was asked for, as JSON values. Batches and rows are given as the study has
    them, unscaled; answers are on the CPU.
    """

    model: Model
    spec: ModelSpec
    schema: Schema
    scaler: Scaler
    history: list[dict[str, Any]] = field(default_factory=list)
    run: dict[str, Any] = field(default_factory=dict)

    @property
    def best_epoch(self) -> int:
        """The epoch, from one, whose weights the model has: the last of ``epochs``."""
        return max(self.epochs.values())

    @property
    def epochs(self) -> dict[str, int]:
        """The epoch, from one, whose weights answer each task."""
        return kept(self.model, self.history, self.run["training"])

    @property
    def peaks(self) -> dict[str, int]:
        """The epoch, from one, at which each task's primary metric is best."""
        return {
            task.name: best(
                self.history, f"{task.name}/{metrics.PRIMARY[task.kind].metric}"
            )
            for task in self.schema.tasks
        }

    def output(self, batch: Batch) -> Output:
        """Logits, gate weights, expert outputs and evidence."""
        outputs = list(infer(self.model, batch, self.scaler))
        weights = zip(*(o.weights for o in outputs), strict=True)
        experts = zip(*(o.experts for o in outputs), strict=True)
        return Output(
            join([o.logits for o in outputs]),
            tuple(torch.cat(level).cpu() for level in weights),
            tuple(torch.cat(expert).cpu() for expert in experts),
            evidence=join([o.evidence for o in outputs]),
        )

    def predict(self, batch: Batch) -> Logits:
        """Probabilities by task; of a regression, the value itself."""
        logits = join([o.logits for o in infer(self.model, batch, self.scaler)])
        return probabilities(self.schema.tasks, logits)

    def uncertainty(self, batch: Batch) -> dict[str, Opinion]:
        """What evidential heads think; beside towers, other than what ``predict`` says.

        Raises ValueError for a model without such heads.
        """
        if self.model.evidential is None:
            raise ValueError(
                "Uncertainty needs evidential=EvidentialSpec(). Found a spec without."
            )
        found = join([o.evidence for o in infer(self.model, batch, self.scaler)])
        return {name: opinion(self.schema.task(name), e) for name, e in found.items()}

    def evaluate(self, rows: Rows) -> dict[str, dict[str, float]]:
        """Every metric of every task on these rows."""
        logits = join([o.logits for o in infer(self.model, rows.batch, self.scaler)])
        return metrics.evaluate(self.schema, logits, rows.labels)


def infer(model: Model, batch: Batch, scaler: Scaler | None = None) -> Iterator[Output]:
    """The answers to ``CHUNK`` rows at a time, on the model's device, in eval mode."""
    if not len(batch):
        raise ValueError("A model answers at least one row. Found an empty batch.")
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    for start in range(0, len(batch), CHUNK):
        rows = slice(start, start + CHUNK)
        piece = tree_map(itemgetter(rows), batch)
        with torch.no_grad():
            output = model((scaler(piece) if scaler else piece).to(device))
        yield output
    model.train(training)


def join(pieces: Sequence[Mapping[str, Tensor]]) -> Logits:
    """Logits of consecutive rows as one tensor a task, on the CPU."""
    return {k: torch.cat([piece[k] for piece in pieces]).cpu() for k in pieces[0]}


def probabilities(tasks: Sequence[TaskSpec], logits: Logits) -> Logits:
    """What logits mean: a sigmoid, a softmax over classes, or the value itself."""
    return {task.name: _MEANING[task.kind](logits[task.name]) for task in tasks}


_MEANING: dict[str, Callable[[Tensor], Tensor]] = {
    "binary": torch.sigmoid,
    "multiclass": lambda z: z.softmax(1),
    "contrastive": lambda z: z.softmax(1),
    "regression": lambda z: z,
}


def judge(schema: Schema, model: Model, rows: Rows) -> dict[str, Any]:
    """An epoch's entry: by task the raw loss and every metric, and their score."""
    logits = join([output.logits for output in infer(model, rows.batch)])
    labels = tree_map(Tensor.cpu, rows.labels)
    weights = tree_map(Tensor.cpu, rows.weights)
    losses = task_losses(schema.tasks, logits, labels, weights).values
    found = metrics.evaluate(schema, logits, labels)
    val = {
        name: {"loss": loss} | found[name]
        for name, loss in zip(schema.task_names, losses.tolist(), strict=True)
    }
    return {"val": val, "score": metrics.score(found)}


def kept(
    model: Model, history: Sequence[dict[str, Any]], training: Mapping[str, Any]
) -> dict[str, int]:
    """The epoch, from one, whose weights answer each task.

    Tasks that share nothing have each the epoch at which a run of its own would have
    ended: the ``score`` of one task is its skill. A task whose skill the validation
    rows do not define goes by the score of all.
    """
    monitor, patience = training["monitor"], training["patience"]
    epochs = dict.fromkeys(history[0]["val"], best(history, monitor, patience))
    own = model.parts() if monitor == "score" else {}
    defined = [task for task in own if not math.isnan(history[0]["val"][task]["skill"])]
    return epochs | {t: best(history, f"{t}/skill", patience) for t in defined}


def best(
    history: Sequence[dict[str, Any]], monitor: str, patience: int | float = math.inf
) -> int:
    """The epoch, from one, that was best by ``score`` or ``task/metric``.

    What comes after ``patience`` epochs without an improvement does not count.
    """
    sign = -1 if monitor.rpartition("/")[2] in LOWER else 1
    found = [sign * monitored(entry, monitor) for entry in history]
    peak, top = 0, -math.inf
    for epoch, value in enumerate(found):
        if epoch - peak > patience:
            break
        if value > top:
            peak, top = epoch, value
    return 1 + peak


def monitored(entry: dict[str, Any], monitor: str) -> float:
    """The value of ``score`` or ``task/metric`` in an epoch's entry."""
    task, _, metric = monitor.rpartition("/")
    value: float = entry["val"][task][metric] if task else entry["score"]
    return value


def check_monitor(schema: Schema, monitor: str) -> None:
    """Raises ValueError when no metric of the study has this name."""
    names = ["score"]
    for task in schema.tasks:
        own = ("loss", "skill", *metrics.METRICS[task.kind])
        names += [f"{task.name}/{metric}" for metric in own]
    if monitor not in names:
        raise ValueError(
            f"A monitor is one of {names}. Found {monitor!r}.{nearest(monitor, names)}"
        )
