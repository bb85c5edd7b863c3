"""Boosted trees beside the whole model: ``python -m benchmarks.trees journey``.

One LightGBM a task on all the numbers and codes that the model gets outside of series
and diagrams, stopped early on validation rows; once a seed, which deals rows and
columns to the trees. With ``--keep``, the folder of whole models that
``benchmarks.whole_model`` saved, the trees are also taught a model's probabilities of
the binary tasks, and both are asked again where a column has moved by a deviation.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import torch
from torch import Tensor

from benchmarks.clock import machine
from benchmarks.whole_model import RESULTS, WORLDS, all_numbers
from ple_study import metrics
from ple_study.batch import Batch
from ple_study.data.loader import Study
from ple_study.export import load
from ple_study.fitted import Fitted
from ple_study.schema import TaskSpec

ROUNDS, PATIENCE = 500, 30
OPTIONS: Mapping[str, Any] = {
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_child_samples": 50,
    "subsample": 0.8,
    "subsample_freq": 1,
    "colsample_bytree": 0.8,
    "num_threads": 1,
    "verbosity": -1,
}
ASKED, MOVED = 400, 40  # rows that are asked again, columns that are moved
LEAST = 1e-6  # of a probability


def table(batch: Batch) -> np.ndarray:
    """Numbers, then codes."""
    return torch.cat([batch.numeric, batch.categorical.float()], 1).double().numpy()


def objective(task: TaskSpec) -> dict[str, Any]:
    if task.kind == "binary":
        return {"objective": "binary"}
    if task.kind == "regression":
        return {"objective": "huber" if task.loss == "huber" else "regression"}
    return {"objective": "multiclass", "num_class": task.classes}


def grown(
    task: TaskSpec,
    columns: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    seed: int,
    **options: Any,
) -> lgb.Booster:
    """Trees of one task, where its label is known."""
    sets = {}
    for part in ("train", "val"):
        known = ~np.isnan(labels[part])
        sets[part] = lgb.Dataset(columns[part][known], labels[part][known])
    asked = {**OPTIONS, **objective(task), "seed": seed, **options}
    stop = lgb.early_stopping(PATIENCE, verbose=False)
    return lgb.train(
        asked, sets["train"], ROUNDS, valid_sets=[sets["val"]], callbacks=[stop]
    )


def logits(task: TaskSpec, trees: lgb.Booster, columns: np.ndarray) -> Tensor:
    """The trees' answers as a model's, in deviations where a label has a scale."""
    raw = task.kind == "binary"
    found = np.asarray(trees.predict(columns, raw_score=raw))
    if task.classes > 1:
        found = np.log(np.maximum(found, LEAST))
    return torch.from_numpy(found.reshape(len(columns), -1)).float()


def rival(study: Study, seed: int) -> dict[str, dict[str, float]]:
    """All metrics of the trees on test rows."""
    wide = all_numbers(study)
    columns = {part: table(wide.part(part).batch) for part in study.split}
    found = {}
    for task in study.schema.tasks:
        labels = {p: study.part(p).labels[task.name].numpy() for p in study.split}
        trees = grown(task, columns, labels, seed)
        answer = logits(task, trees, columns["test"])
        own = metrics.evaluate_task(task, answer, study.part("test").labels[task.name])
        found[task.name] = {k: round(v, 4) for k, v in own.items()}
    return found


def divergence(teacher: np.ndarray, student: np.ndarray) -> float:
    """KL of two Bernoullis, mean over rows."""
    p, q = (np.clip(x, LEAST, 1 - LEAST) for x in (teacher, student))
    return float((p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean())


def taught(study: Study, teacher: Fitted, seed: int) -> dict[str, Any]:
    """Students of the binary tasks: as good, as near, and as near elsewhere?"""
    wide = all_numbers(study)
    columns = {part: table(wide.part(part).batch) for part in study.split}
    says = {part: teacher.predict(study.part(part).batch) for part in study.split}
    tasks = [task for task in study.schema.tasks if task.kind == "binary"]
    test, found = study.part("test"), {}
    students = {}
    for task in tasks:
        name = task.name
        soft = {part: says[part][name][:, 0].double().numpy() for part in study.split}
        labels = {part: study.part(part).labels[name].numpy() for part in study.split}
        soft = {k: np.where(np.isnan(labels[k]), np.nan, v) for k, v in soft.items()}
        student = grown(task, columns, soft, seed, objective="cross_entropy")
        students[name] = student
        chance = np.asarray(student.predict(columns["test"]))
        auc = {
            "teacher": metrics.evaluate_task(
                task, says["test"][name].logit(), test.labels[name]
            )["auc"],
            "student": metrics.evaluate_task(
                task,
                torch.from_numpy(chance)[:, None].clamp(LEAST, 1 - LEAST).logit(),
                test.labels[name],
            )["auc"],
        }
        said = says["test"][name][:ASKED, 0].double().numpy()
        near = divergence(said, chance[:ASKED])
        found[name] = {**{k: round(v, 4) for k, v in auc.items()}, "near": near}
    moved = elsewhere(study, teacher, students, columns)
    for name, far in moved.items():
        found[name]["moved"] = far
    return found


def elsewhere(
    study: Study,
    teacher: Fitted,
    students: Mapping[str, lgb.Booster],
    columns: Mapping[str, np.ndarray],
) -> dict[str, float]:
    """The divergence where one column has moved by a deviation, mean over columns."""
    batch = study.part("test").batch.rows(torch.arange(ASKED))
    spread = columns["train"].std(0)
    count = batch.numeric.shape[1]
    chosen = np.linspace(0, count - 1, MOVED).round().astype(int)
    far: dict[str, list[float]] = {name: [] for name in students}
    for place in chosen:
        numeric = batch.numeric.clone()
        numeric[:, place] += float(spread[place])
        said = teacher.predict(replace(batch, numeric=numeric))
        table = columns["test"][:ASKED].copy()
        table[:, place] += spread[place]
        for name, student in students.items():
            own = np.asarray(student.predict(table))
            far[name].append(divergence(said[name][:, 0].double().numpy(), own))
    return {name: float(np.mean(values)) for name, values in far.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", choices=WORLDS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    out = asked.out or RESULTS / f"trees_{asked.world}.json"
    torch.set_num_threads(1)
    runs = []
    for seed in asked.seeds:
        study = WORLDS[asked.world](seed)
        runs.append({"seed": seed, "metrics": rival(study, seed)})
        if asked.keep:
            teacher = load(asked.keep / f"{asked.world}_{seed}")
            runs[-1]["students"] = taught(study, teacher, seed)
        print(runs[-1], flush=True)
        about = {"machine": machine("cpu"), "options": dict(OPTIONS), "runs": runs}
        out.write_text(json.dumps(about) + "\n")


if __name__ == "__main__":
    main()
