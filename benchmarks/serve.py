"""What an answer takes: ``python -m benchmarks.serve``.

A PLE on a bank's columns and the whole model on all that the bank knows, each asked for
1 and for 256 test customers: by ONNX Runtime with arrays that are ready (``session``),
by the service with raw records (``service``), both also with explanation, by torch
(``Fitted.predict``, and the graph of the explaining file), and by one LightGBM a task
that was taught the model's answers (``students``). One thread; in every round each
once, in a random order. Before that all must agree, and kept is how close the students
are on test rows, and where a group of columns has moved by a deviation.

Time is that of the processor; with ``--wall``, on a machine that does nothing else, it
is the clock's.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.clock import Clock, machine
from benchmarks.whole_model import CUSTOMERS, RESULTS, TRAINING, WHOLE
from ple_study.batch import Batch, ModelSpec
from ple_study.data.loader import Study
from ple_study.data.world import Bank
from ple_study.fidelity import shifted
from ple_study.fitted import Fitted
from ple_study.interpret.contributions import contributions
from ple_study.model import HeterogeneousPLESpec
from ple_study.recipes import MODELS
from ple_study.serving.graphs import Contributions
from ple_study.serving.publish import publish, records_of
from ple_study.serving.service import Service
from ple_study.students import Students, StudentSpec, distill
from ple_study.tasks.evidential import EvidentialSpec
from ple_study.training import fit

SIZES = (1, 256)
NEAR = {"rtol": 1e-4, "atol": 1e-4}
SURE = replace(WHOLE, evidential=EvidentialSpec())
SPECS: Mapping[str, ModelSpec] = {"ple": MODELS["ple"], "whole": SURE}


def columns_alone(study: Study) -> Study:
    """Without series, diagrams, states, clusters and vectors."""
    schema = replace(
        study.schema, sequences=(), diagrams=(), vectors=(), states=(0, 0), clusters=0
    )
    batch = study.rows.batch
    bare = Batch(batch.numeric, batch.categorical, customer=batch.customer)
    return Study(schema, replace(study.rows, batch=bare), study.split)


def agree(fitted: Fitted, service: Service, batch: Batch, background: Batch) -> None:
    """Raises AssertionError where the service says other than the model."""
    records = records_of(fitted.schema, batch)
    arrays = service.inputs(records)
    for explain in (False, True):
        outputs = service.run(arrays, explain=explain)
        for task, wanted in fitted.predict(batch).items():
            np.testing.assert_allclose(outputs[task], wanted, **NEAR)
    if isinstance(fitted.spec, HeterogeneousPLESpec):
        wanted = contributions(fitted, batch, background, readout="loo").raw
        found = outputs["explanation/loo"]
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
        for name, sure in fitted.uncertainty(batch).items():
            place = service.about["uncertainty"].index(name)
            found = outputs["uncertainty/epistemic"][:, place]
            np.testing.assert_allclose(found, sure.epistemic, rtol=1e-3, atol=1e-4)


def contestants(
    fitted: Fitted,
    service: Service,
    students: Students,
    batch: Batch,
    background: Batch,
) -> dict[str, Callable[[], object]]:
    """By name what is timed."""
    records = records_of(fitted.schema, batch)
    arrays = service.inputs(records)
    runs: dict[str, Callable[[], object]] = {
        "torch": lambda: fitted.predict(batch),
        "session": lambda: service.run(arrays),
        "service": lambda: service.answer(records),
        "parsing": lambda: service.inputs(records),
        "students": lambda: students.predict(batch),
        "session, explained": lambda: service.run(arrays, explain=True),
        "service, explained": lambda: service.answer(records, explain=True),
    }
    if isinstance(fitted.spec, HeterogeneousPLESpec):
        graph = Contributions(fitted, background)
        runs["torch, explained"] = torch.no_grad()(lambda: graph(batch))
    return runs


def told(times: Mapping[str, list[float]]) -> dict[str, Any]:
    """Of each contestant's milliseconds p50 and p95, and how many times torch's.

    A ratio is the median of the rounds' own, of the answer or of the explained one.
    """
    found = {}
    for name, own in times.items():
        rival = "torch, explained" if name.endswith("explained") else "torch"
        pairs = np.array(own) / np.array(times.get(rival, times["torch"]))
        found[name] = {
            "p50": round(float(np.median(own)), 4),
            "p95": round(float(np.quantile(own, 0.95)), 4),
            "of_torch": round(float(np.median(pairs)), 4),
        }
    return found


def fidelity(fitted: Fitted, students: Students, batch: Batch) -> dict[str, Any]:
    """By what was moved, ``nothing`` or a group of columns, and by task.

    None is an R2 of a task of which the teacher says one thing.
    """
    groups = [f.group for f in fitted.schema.numeric if f.kind == "numeric"]
    moved = {name: shifted(fitted, batch, name) for name in dict.fromkeys(groups)}
    return {
        name: {
            task: {k: None if np.isnan(v) else round(v, 4) for k, v in own.items()}
            for task, own in students.fidelity(fitted, rows).items()
        }
        for name, rows in {"nothing": batch, **moved}.items()
    }


def measured(name: str, study: Study, asked: argparse.Namespace) -> dict[str, Any]:
    """One model, trained, published, taught to students and timed."""
    training = replace(TRAINING["bank"], epochs=asked.epochs)
    fitted = fit(study, SPECS[name], training=training, seed=asked.seed, progress=False)
    train, test = study.part("train").batch, study.part("test").batch
    whole = isinstance(fitted.spec, HeterogeneousPLESpec)
    spec = StudentSpec(threads=1, rounds=asked.trees, seed=asked.seed)
    students = distill(fitted, train, spec=spec)
    clock = Clock(rounds=asked.rounds, seconds=0.0, threads=0 if asked.wall else 1)
    found: dict[str, Any] = {"measure": clock.measure, "latency": {}}
    with tempfile.TemporaryDirectory() as folder:
        publish(fitted, folder, background=train if whole else None)
        service = Service.load(folder, threads=1)
        for size in SIZES:
            batch = test.rows(torch.arange(size) % len(test))
            agree(fitted, service, batch, train)
            runs = contestants(fitted, service, students, batch, train)
            found["latency"][str(size)] = told(clock.race(runs))
            print(name, size, found["latency"][str(size)], flush=True)
        files = {f.name: f.stat().st_size for f in sorted(Path(folder).iterdir())}
    return found | {
        "tasks": {task.name: task.kind for task in study.schema.tasks},
        "parameters": sum(p.numel() for p in fitted.model.parameters()),
        "bytes": files,
        "fidelity": fidelity(fitted, students, test),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(SPECS), choices=SPECS)
    parser.add_argument("--customers", type=int, default=CUSTOMERS["bank"])
    parser.add_argument("--epochs", type=int, default=TRAINING["bank"].epochs)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--trees", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wall", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS / "serve.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    study = Bank(asked.customers, seed=asked.seed, size="small").study()
    studies = {"ple": columns_alone(study), "whole": study}
    models = {name: measured(name, studies[name], asked) for name in asked.models}
    settings = {k: v for k, v in vars(asked).items() if k not in ("out", "models")}
    about = {"machine": machine("cpu"), "settings": settings, "models": models}
    asked.out.write_text(json.dumps(about) + "\n")


if __name__ == "__main__":
    main()
