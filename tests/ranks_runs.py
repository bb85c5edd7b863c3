"""Runs for one process or for several: ``python -m tests.ranks_runs what folder``."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from ple_study.checkpoint import read
from ple_study.data.loader import Study
from ple_study.data.streamed import stream_parquet
from ple_study.experts.causal import CausalSpec
from ple_study.fitted import Fitted
from ple_study.gates.routing import GateSpec
from ple_study.learner import Learner
from ple_study.objective.adatt import AdaTTSpec
from ple_study.objective.gradnorm import GradNormSpec
from ple_study.objective.surgery import GradientSurgerySpec
from ple_study.objective.weighting import (
    DynamicWeightAverageSpec,
    UncertaintyWeightingSpec,
)
from ple_study.ranks import launched
from ple_study.tasks.evidential import EvidentialSpec
from ple_study.training import Training, fit
from tests import test_model
from tests.runs import PLE, SMALL
from tests.studies import mixed
from tests.test_training_stream import TABLE, write

BATCH = 16  # of all ranks together
STILL = replace(PLE, expert=replace(SMALL, dropout=0.0))
NORMED = replace(PLE, expert=replace(SMALL, dropout=0.0, norm="batch"))
SHORT = Training(epochs=2, lr=0.01, clip=0.5, schedule="cosine")
HETERO = replace(
    test_model.SPEC,
    experts=test_model.FOUR
    | {"causal": CausalSpec(dim=5, hidden=8, latents=6, dropout=0.0, fix="none")},
    gates=replace(test_model.GATES, gate=GateSpec()),
    evidential=EvidentialSpec(anneal=1),
)
WEIGHTINGS = {
    "learned": UncertaintyWeightingSpec(),
    "average": DynamicWeightAverageSpec(temperature=0.1),
    "gradnorm": GradNormSpec(),
    "surgery": GradientSurgerySpec(),
    # A cap that binds for some tasks.
    "transfer": AdaTTSpec(every=2, warmup=0, strength=2.0, prior=(0.9, 0.9)),
}
EQUAL = [*WEIGHTINGS, "in batch", "heterogeneous"]


def holes() -> Study:
    """A first task that few rows observed, so that ranks have it unequally often."""
    study = mixed()
    churn = study.rows.labels["churn"].clone()
    churn[torch.arange(len(churn)) % 5 > 0] = torch.nan
    labels = study.rows.labels | {"churn": churn}
    return replace(study, rows=replace(study.rows, labels=labels))


def in_batch() -> Study:
    study = holes()
    tasks = tuple(
        replace(task, loss="in_batch") if task.kind == "contrastive" else task
        for task in study.schema.tasks
    )
    return replace(study, schema=replace(study.schema, tasks=tasks))


def people() -> Study:
    study = test_model.study(115)  # the last batch is dealt as two rows and three
    ltv = study.rows.labels["ltv"].clone()
    ltv[torch.arange(len(ltv)) % 3 > 0] = torch.nan
    rows = replace(study.rows, labels=study.rows.labels | {"ltv": ltv})
    return replace(study, rows=rows)


def trained(name: str) -> Fitted:
    training = replace(SHORT, batch_size=BATCH // launched().size)
    if name in ("average", "transfer"):
        training = replace(training, epochs=4)
    common = {"training": training, "seed": 5, "device": "cpu"}
    if name == "heterogeneous":
        return fit(people(), HETERO, **common)
    if name == "in batch":
        return fit(in_batch(), STILL, **common)
    if name == "normed":
        return fit(holes(), NORMED, **common)
    return fit(holes(), STILL, weighting=WEIGHTINGS[name], **common)


@contextmanager
def watched() -> Iterator[list[tuple[list[int], int]]]:
    """Of every step, the rows' numbers and how torch's generator stood."""
    seen, step = [], Learner.training_step

    def watch(self: Learner, rows: object, place: int) -> torch.Tensor:
        drawn = hash(torch.get_rng_state().numpy().tobytes())
        seen.append((rows.batch.customer.tolist(), drawn))
        return step(self, rows, place)

    Learner.training_step = watch
    try:
        yield seen
    finally:
        Learner.training_step = step


def streamed(folder: Path) -> dict[str, object]:
    study = stream_parquet(
        folder / "train", TABLE, val=folder / "val", customer="id", buffer=30
    )
    training = replace(SHORT, batch_size=BATCH // 2)
    with watched() as seen:
        fitted = fit(study, PLE, training=training, seed=5, device="cpu")
    return {"seen": seen, "history": fitted.history}


def numbered(folder: Path) -> Path:
    """The mixed study's files, whose rows bear numbers."""
    write(folder)
    import pandas as pd

    count = 0
    for path in sorted(folder.glob("*/*.parquet")):
        frame = pd.read_parquet(path)
        frame["id"] = range(count, count + len(frame))
        count += len(frame)
        frame.to_parquet(path, row_group_size=40)
    return folder


def interrupted(folder: Path) -> dict[str, object]:
    """A run whose second process dies once; launched again, it goes on."""
    path = folder / "run" / "checkpoint.safetensors"
    again = path.exists()
    begun = len(read(path)[1]["history"]) if again else 0
    step, calls = Learner.training_step, 0

    def until_killed(*args: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 12 + 4 and launched().rank == 1 and not again:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*args)

    Learner.training_step = until_killed
    training = replace(SHORT, epochs=3, batch_size=BATCH // launched().size)
    try:
        where = {"folder": folder / "run", "resume": again}
        fitted = fit(mixed(), PLE, training=training, seed=5, device="cpu", **where)
        return {"begun": begun, **answers(fitted)}
    finally:
        Learner.training_step = step


def whole() -> Fitted:
    training = replace(SHORT, epochs=3, batch_size=BATCH // launched().size)
    return fit(mixed(), PLE, training=training, seed=5, device="cpu")


def answers(fitted: Fitted) -> dict[str, object]:
    state = {name: t.clone() for name, t in fitted.model.state_dict().items()}
    return {"history": fitted.history, "state": state, "run": fitted.run}


def main(what: str, folder: Path) -> None:
    torch.set_num_threads(1)
    rank, found = launched().rank, {}
    if what == "equal":
        found = {name: answers(trained(name)) for name in [*EQUAL, "normed"]}
        found["streamed"] = streamed(folder)
    elif what == "killed":
        found["resumed"] = interrupted(folder)
        found["whole"] = answers(whole())
    elif what == "apart":
        training = replace(SHORT, epochs=1, batch_size=8)
        fit(mixed(), STILL, training=training, seed=5 + rank, device="cpu")
    torch.save(found, folder / f"{what}.{rank}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
