"""How good the answers are, task by task, on the rows where the task was observed."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
    multiclass_f1_score,
)

from ple_study.ranking import NAN, Scores, ndcg, recall, roc_and_precision
from ple_study.schema import Schema, TaskKind, TaskSpec

Found = Float[Tensor, " row"]
BINS = 15  # of the calibration error


class Primary(NamedTuple):
    """The metric that stands for a task; ``sign`` is 1 if more is better, else -1."""

    metric: str
    sign: int


PRIMARY: dict[TaskKind, Primary] = {
    "binary": Primary("auc", 1),
    "multiclass": Primary("macro_f1", 1),
    "regression": Primary("mae", -1),
    "contrastive": Primary("recall@10", 1),
}


class Interval(NamedTuple):
    """A mean over seeds and the confidence interval around it."""

    mean: float
    low: float
    high: float
    n: int


def evaluate(
    schema: Schema,
    logits: Mapping[str, Float[Tensor, "batch _"]],
    labels: Mapping[str, Float[Tensor, " batch"]],
) -> dict[str, dict[str, float]]:
    """``evaluate_task`` for every task of the schema."""
    parts = ((task, logits[task.name], labels[task.name]) for task in schema.tasks)
    return {task.name: evaluate_task(task, *rest) for task, *rest in parts}


@torch.no_grad()
def evaluate_task(task: TaskSpec, logits: Scores, labels: Found) -> dict[str, float]:
    """The metrics of the task's kind, and its ``skill``.

    Rows whose label is NaN are left out. The skill places the primary metric between a
    trivial answer (0) and a perfect one (1); below zero is worse than trivial. The
    trivial answers are the best that a constant can do on the rows evaluated: an AUC of
    one half; the most frequent class; the median; the ten most frequent keys.

    A metric that these rows cannot define is NaN: any, where no row was observed; AUC
    and PR-AUC, where all labels are alike; the skill, where trivial is perfect.

    Raises ValueError when a logit of an observed row is not finite.
    """
    known = ~labels.isnan()
    if not known.any():
        return dict.fromkeys((*METRICS[task.kind], "skill"), NAN)
    logits, labels = logits[known], labels[known]
    lost = int((~logits.isfinite()).any(1).sum())
    if lost:
        raise ValueError(
            f"Logits must be finite. Task {task.name!r} has NaN or infinity in {lost} "
            f"of {len(logits)} observed rows."
        )
    values = METRIC_VALUES[task.kind](logits, labels)
    metrics = dict(zip(METRICS[task.kind], values, strict=True))
    metric, sign = PRIMARY[task.kind]
    trivial, perfect = TRIVIAL[task.kind](labels), max(sign, 0)
    room = perfect - trivial
    return metrics | {"skill": (metrics[metric] - trivial) / room if room else NAN}


def score(results: Mapping[str, Mapping[str, float]]) -> float:
    """The mean skill over the tasks that have one: what a checkpoint is chosen by.

    Which tasks have a skill depends on the labels alone, so that the scores of two
    models on the same rows are means over the same tasks.
    """
    skills = [task["skill"] for task in results.values()]
    return fmean([s for s in skills if s == s] or [NAN])


def gain(
    schema: Schema,
    joint: Mapping[str, Mapping[str, float]],
    single: Mapping[str, Mapping[str, float]],
) -> dict[str, float]:
    """What joint training adds to each task's primary metric; below zero, it harms.

    The difference to a model of the task alone, turned so that more is better ("MTL
    gain", Tang et al. 2020).
    """
    gains = {}
    for task in schema.tasks:
        metric, sign = PRIMARY[task.kind]
        gains[task.name] = sign * (joint[task.name][metric] - single[task.name][metric])
    return gains


def paired_interval(differences: Sequence[float], level: float = 0.95) -> Interval:
    """Student's interval of the mean of differences, one a seed.

    Raises ValueError for fewer than two differences, a difference that is not finite,
    and a level outside (0, 1).
    """
    values = torch.tensor(differences, dtype=torch.float64)
    if len(values) < 2 or not values.isfinite().all() or not 0 < level < 1:
        raise ValueError(
            f"An interval needs two finite differences or more and a level in (0, 1). "
            f"Found {list(differences)} and level {level}."
        )
    n, mean = len(values), float(values.mean())
    # mean +- t_(n-1) std / sqrt(n)
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * values.std() / n**0.5)
    return Interval(mean, mean - half, mean + half, n)


def _binary(logits: Scores, labels: Found) -> tuple[float, ...]:
    z = logits[:, 0] if logits.dtype == torch.float64 else logits[:, 0].float()
    rows = F.binary_cross_entropy_with_logits(z, labels.to(z), reduction="none")
    ece = binary_calibration_error(
        z.sigmoid(), labels.long(), n_bins=BINS, validate_args=False
    )
    return *roc_and_precision(z, labels), float(rows.double().mean()), float(ece)


def _multiclass(logits: Scores, labels: Found) -> tuple[float, ...]:
    z = logits if logits.dtype == torch.float64 else logits.float()
    target, classes = labels.long(), logits.shape[1]
    hits = z.argmax(1) == target
    rows = F.cross_entropy(z, target, reduction="none")
    ece = multiclass_calibration_error(
        z.softmax(1), target, classes, n_bins=BINS, validate_args=False
    )
    f1 = multiclass_f1_score(z, target, classes, validate_args=False)
    means = (hits.double().mean(), rows.double().mean())
    return float(f1), float(means[0]), ndcg(z, target, 3), float(means[1]), float(ece)


def _regression(logits: Scores, labels: Found) -> tuple[float, ...]:
    truth = labels.double()
    error = logits[:, 0].double() - truth
    spread = (truth - truth.mean()).square().sum()
    r2 = 1 - error.square().sum() / spread.where(spread > 0, NAN)
    return float(error.abs().mean()), float(r2)


def _contrastive(logits: Scores, labels: Found) -> tuple[float, ...]:
    return recall(logits, labels.long(), 10), ndcg(logits, labels.long(), 10)


def _majority_f1(labels: Found) -> float:
    # F1 = 2p / (1 + p) for the class that is always named, 0 for the others
    counts = labels.long().bincount()
    share = float(counts.max()) / len(labels)
    return 2 * share / (1 + share) / int(counts.count_nonzero())


def _frequent_recall(labels: Found) -> float:
    counts = labels.long().bincount().sort(descending=True)[0]
    return float(counts[:10].sum()) / len(labels)


METRICS: dict[TaskKind, tuple[str, ...]] = {
    "binary": ("auc", "pr_auc", "log_loss", "ece"),
    "multiclass": ("macro_f1", "accuracy", "ndcg@3", "log_loss", "ece"),
    "regression": ("mae", "r2"),
    "contrastive": ("recall@10", "ndcg@10"),
}
METRIC_VALUES: dict[TaskKind, Callable[[Scores, Found], tuple[float, ...]]] = {
    "binary": _binary,
    "multiclass": _multiclass,
    "regression": _regression,
    "contrastive": _contrastive,
}
TRIVIAL: dict[TaskKind, Callable[[Found], float]] = {
    "binary": lambda _: 0.5,
    "multiclass": _majority_f1,
    "regression": lambda y: float((y.double() - y.double().median()).abs().mean()),
    "contrastive": _frequent_recall,
}
