import math
import time

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as sk

from ple_study.metrics import (
    METRICS,
    PRIMARY,
    evaluate,
    evaluate_task,
    gain,
    paired_interval,
    score,
)
from ple_study.schema import Schema, TaskSpec

ROWS = 211
TASKS = (
    TaskSpec(name="churn"),
    TaskSpec(name="stage", kind="multiclass", classes=6),
    TaskSpec(name="spend", kind="regression", loss="huber"),
    TaskSpec(name="brand", kind="contrastive", classes=23),
)
SCHEMA = Schema(features=(), tasks=TASKS)
BY_KIND = [pytest.param(task, id=task.kind) for task in TASKS]


def answers(task, seed=0, dtype=torch.float64):
    """Logits, and labels that lean on them; of three labels one is unknown."""
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(ROWS, task.outputs, generator=draw, dtype=dtype)
    noise = logits + torch.randn(ROWS, task.outputs, generator=draw, dtype=dtype)
    if task.kind == "binary":
        labels = (noise[:, 0] > 1).to(dtype)
    elif task.kind == "regression":
        labels = noise[:, 0] + 3
    else:
        labels = noise.argmax(1).to(dtype)
    return logits, labels.masked_fill(
        torch.rand(ROWS, generator=draw) < 1 / 3, torch.nan
    )


def known(task):
    """The observed rows alone, as arrays."""
    logits, labels = answers(task)
    kept = ~labels.isnan()
    return logits[kept].numpy(), labels[kept].numpy()


def calibration_error(confidence, hits):
    """sum over 15 bins of |hits - confidence|, row counts as weights."""
    places = np.minimum((confidence * 15).astype(int), 14)
    sums = [abs((hits - confidence)[places == b].sum()) for b in range(15)]
    return sum(sums) / len(hits)


def test_binary_metrics():
    z, y = known(TASKS[0])
    p = 1 / (1 + np.exp(-z[:, 0]))
    expected = {
        "auc": sk.roc_auc_score(y, p),
        "pr_auc": sk.average_precision_score(y, p),
        "log_loss": sk.log_loss(y, p),
        "ece": calibration_error(p, y),
        "skill": 2 * sk.roc_auc_score(y, p) - 1,
    }
    found = evaluate_task(TASKS[0], *answers(TASKS[0]))
    assert found.pop("ece") == pytest.approx(expected.pop("ece"), abs=1e-6)
    assert found == pytest.approx(expected, abs=1e-12)


def test_multiclass_metrics():
    z, y = known(TASKS[1])
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    best = p.argmax(1)
    expected = {
        "macro_f1": sk.f1_score(y, best, average="macro"),
        "accuracy": sk.accuracy_score(y, best),
        "ndcg@3": sk.ndcg_score(np.eye(6)[y.astype(int)], z, k=3),
        "log_loss": sk.log_loss(y, p, labels=range(6)),
        "ece": calibration_error(p.max(1), (best == y).astype(float)),
    }
    found = evaluate_task(TASKS[1], *answers(TASKS[1]))
    del found["skill"]
    assert found == pytest.approx(expected, abs=1e-6)


def test_regression_metrics():
    z, y = known(TASKS[2])
    mae = sk.mean_absolute_error(y, z[:, 0])
    trivial = sk.mean_absolute_error(y, np.full_like(y, np.median(y)))
    expected = {"mae": mae, "r2": sk.r2_score(y, z[:, 0]), "skill": 1 - mae / trivial}
    found = evaluate_task(TASKS[2], *answers(TASKS[2]))
    assert found == pytest.approx(expected, abs=1e-12)


def test_contrastive_metrics():
    z, y = known(TASKS[3])
    found = evaluate_task(TASKS[3], *answers(TASKS[3]))
    recall = sk.top_k_accuracy_score(y, z, k=10, labels=range(23))
    assert found["recall@10"] == pytest.approx(recall, abs=1e-12)
    ndcg = sk.ndcg_score(np.eye(23)[y.astype(int)], z, k=10)
    assert found["ndcg@10"] == pytest.approx(ndcg, abs=1e-12)


@pytest.mark.parametrize("task", BY_KIND)
def test_keys_are_those_announced(task):
    found = evaluate_task(task, *answers(task))
    assert tuple(found) == (*METRICS[task.kind], "skill")
    assert PRIMARY[task.kind].metric in found
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("task", BY_KIND)
def test_skill_of_the_best_constant_is_zero_and_of_the_truth_one(task):
    _, labels = answers(task)
    seen = labels[~labels.isnan()]
    truth = labels.nan_to_num()
    if task.kind == "binary":
        constant, perfect = torch.zeros(ROWS, 1), truth[:, None]
    elif task.kind == "regression":
        constant = torch.quantile(seen, 0.5).expand(ROWS, 1)
        perfect = truth[:, None]
    else:
        constant = seen.long().bincount(minlength=task.classes).expand(ROWS, -1).float()
        # Keys that tie at the tenth place would share it; the trivial answer picks.
        constant = constant - torch.arange(task.classes) / 100
        perfect = torch.eye(task.classes)[truth.long()]
    trivial = evaluate_task(task, constant.to(labels), labels)
    assert trivial["skill"] == pytest.approx(0, abs=1e-6)
    best = evaluate_task(task, perfect.to(labels), labels)
    assert best["skill"] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("task", BY_KIND)
def test_order_of_rows_and_rows_without_labels_change_nothing(task):
    logits, labels = answers(task)
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    unknown = torch.full((7,), torch.nan, dtype=labels.dtype)
    more = torch.randn(7, task.outputs, dtype=logits.dtype) * torch.nan
    found = evaluate_task(
        task, torch.cat([logits[order], more]), torch.cat([labels[order], unknown])
    )
    assert found == pytest.approx(evaluate_task(task, logits, labels), abs=1e-6)


@pytest.mark.parametrize("task", BY_KIND)
def test_float32_and_half_precision_logits(task):
    logits, labels = answers(task, dtype=torch.float32)
    half = logits.bfloat16()
    found = evaluate_task(task, half, labels)
    assert found == pytest.approx(evaluate_task(task, half.double(), labels), abs=1e-5)


@pytest.mark.parametrize("task", BY_KIND)
def test_no_observed_row_is_nan(task):
    logits, labels = answers(task)
    found = evaluate_task(task, logits, labels * torch.nan)
    assert tuple(found) == (*METRICS[task.kind], "skill")
    assert all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize("label", [0.0, 1.0])
@pytest.mark.parametrize("task", BY_KIND)
def test_labels_all_alike_have_no_skill_and_no_warning(task, label):
    logits, labels = answers(task)
    found = evaluate_task(task, logits, labels * 0 + label)
    assert math.isnan(found["skill"])
    undefined = {"binary": ["auc", "pr_auc"], "regression": ["r2"]}
    assert all(math.isnan(found[name]) for name in undefined.get(task.kind, []))
    finite = {"binary": "ece", "regression": "mae"}.get(task.kind)
    assert math.isfinite(found[finite or PRIMARY[task.kind].metric])


@pytest.mark.parametrize("task", BY_KIND)
def test_one_row(task):
    logits, _ = answers(task)
    found = evaluate_task(task, logits[:1], torch.ones(1, dtype=torch.float64))
    assert math.isnan(found["skill"])


def test_a_logit_that_is_not_finite_is_named():
    logits, labels = answers(TASKS[0])
    place = int((~labels.isnan()).nonzero()[0])
    logits[place] = torch.nan
    with pytest.raises(
        ValueError, match=r"'churn' has NaN or infinity in 1 of \d+ obs"
    ):
        evaluate_task(TASKS[0], logits, labels)


def study(seed):
    parts = {task.name: answers(task, seed) for task in TASKS}
    return tuple({name: part[i] for name, part in parts.items()} for i in (0, 1))


def test_score_is_the_mean_skill_of_the_tasks_that_have_one():
    logits, labels = study(0)
    results = evaluate(SCHEMA, logits, labels)
    assert list(results) == list(SCHEMA.task_names)
    skills = [results[task.name]["skill"] for task in TASKS]
    assert score(results) == pytest.approx(sum(skills) / 4)
    labels["spend"] = labels["spend"] * torch.nan
    fewer = evaluate(SCHEMA, logits, labels)
    assert score(fewer) == pytest.approx((sum(skills) - skills[2]) / 3)
    assert math.isnan(score({"spend": fewer["spend"]}))


def test_gain_is_positive_where_joint_training_is_better():
    single = {
        "churn": {"auc": 0.6},
        "stage": {"macro_f1": 0.5},
        "spend": {"mae": 2.0},
        "brand": {"recall@10": 0.3},
    }
    joint = {
        "churn": {"auc": 0.7},
        "stage": {"macro_f1": 0.25},
        "spend": {"mae": 1.5},
        "brand": {"recall@10": 0.3},
    }
    found = gain(SCHEMA, joint, single)
    expected = {"churn": 0.1, "stage": -0.25, "spend": 0.5, "brand": 0.0}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_interval_is_that_of_a_paired_t_test(level):
    draw = np.random.default_rng(0)
    ours, theirs = draw.normal(size=(2, 7))
    found = paired_interval((ours - theirs).tolist(), level)
    expected = stats.ttest_rel(ours, theirs).confidence_interval(level)
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-12)
    assert found.mean == pytest.approx((ours - theirs).mean(), rel=1e-12)
    assert found.n == 7


@pytest.mark.parametrize("bad", [[], [0.1], [0.1, math.nan], [0.1, math.inf]])
def test_interval_refuses_what_it_cannot_use(bad):
    with pytest.raises(ValueError, match="two finite differences or more"):
        paired_interval(bad)


@pytest.mark.plain
def test_two_hundred_thousand_rows_are_quick():
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(200_000, 1, generator=draw)
    labels = (torch.rand(200_000, generator=draw) < 0.1).float()
    evaluate_task(TASKS[0], logits, labels)
    start = time.process_time()
    for _ in range(2):
        evaluate_task(TASKS[0], logits, labels)
    assert time.process_time() - start < 0.3
