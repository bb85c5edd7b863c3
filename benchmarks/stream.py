"""Training from Parquet beside training in memory: ``python -m benchmarks.stream``.

Two questions. How much memory does a process hold that trains one epoch on ``--rows``
rows from disk? And how fast are a stream's batches beside a ``Loader``'s, on a table
that memory holds too: alone, and with the steps of a small model? Bars, set before any
run: a peak under 3 GiB, and 80 % of the in-memory rate of training. Passes are run in
turns, in a random order; of either clock, the median of the rounds' ratios counts.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.clock import machine
from benchmarks.whole_model import RESULTS
from ple_study.baselines import SharedBottomSpec
from ple_study.data.columns import join
from ple_study.data.loader import Batches, Loader, Scaler
from ple_study.data.parquet import ParquetRows
from ple_study.data.stream import Stream
from ple_study.data.streamed import stream_parquet
from ple_study.experts.mlp import MLPSpec
from ple_study.objective.losses import task_losses
from ple_study.schema import Feature, Schema, TaskSpec
from ple_study.training import Training, fit

BATCH, FILE, GROUP = 4096, 1_000_000, 1 << 17
PEAK, RATE = 3 * 2**30, 0.8
TEXTS = tuple(f"value {i}" for i in range(50))
SCHEMA = Schema(
    features=(
        *(Feature(name=f"x{i}") for i in range(40)),
        *(
            Feature(name=f"c{i}", kind="categorical", vocabulary=TEXTS)
            for i in range(4)
        ),
    ),
    tasks=(
        TaskSpec(name="bought"),
        TaskSpec(name="stage", kind="multiclass", classes=4),
        TaskSpec(name="spend", kind="regression"),
    ),
)
SPEC = SharedBottomSpec(trunk=MLPSpec(dims=(128, 64)), tower=MLPSpec(dims=(32,)))


def write(folder: Path, rows: int, seed: int = 0) -> None:
    """Files of a million rows: 40 numbers, 4 texts, 3 labels that depend on them."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for number, start in enumerate(range(0, rows, FILE)):
        size = min(FILE, rows - start)
        columns = {f"x{i}": rng.normal(size=size) for i in range(40)}
        for i in range(4):
            drawn = rng.integers(0, len(TEXTS), size)
            columns[f"c{i}"] = pa.DictionaryArray.from_arrays(drawn, list(TEXTS)).cast(
                pa.string()
            )
        signal = columns["x0"] + columns["x1"] * columns["x2"]
        columns["bought"] = (signal + rng.normal(size=size) > 0).astype(np.float64)
        columns["stage"] = np.digitize(columns["x3"], [-1.0, 0.0, 1.0])
        columns["spend"] = signal + rng.normal(size=size)
        path = folder / f"part-{number:03d}.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=GROUP)


def epoch(folder: Path) -> dict[str, float]:
    """One epoch of ``fit`` in this process, and the most memory that it held."""
    study = stream_parquet(folder / "train", SCHEMA, val=folder / "val")
    start = time.perf_counter()
    study.scaler()
    scaled = time.perf_counter()
    training = Training(epochs=1, batch_size=BATCH)
    fitted = fit(study, SPEC, training=training, device="cpu", progress=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "rows": len(study.train),
        "peak_bytes": peak,
        "scaler_seconds": round(scaled - start, 1),
        "fit_seconds": round(time.perf_counter() - scaled, 1),
        "score": round(fitted.history[-1]["score"], 4),
    }


def steps(loader: Batches, scaler: Scaler) -> None:
    """One epoch of the small model's steps."""
    torch.manual_seed(0)
    model = SPEC.build(SCHEMA)
    optimiser = torch.optim.AdamW(model.parameters(), fused=True)
    for rows in loader:
        logits = model(scaler(rows.batch)).logits
        losses = task_losses(SCHEMA.tasks, logits, rows.labels, rows.weights)
        optimiser.zero_grad()
        losses.values.sum().backward()
        optimiser.step()


def race(folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds of a pass, by either clock, in every round."""
    disk = ParquetRows(folder / "train", SCHEMA)
    rows = join(disk)
    scaler = Scaler.fit(SCHEMA, rows.batch)
    loaders: Mapping[str, Batches] = {
        "memory": Loader(rows, BATCH, shuffle=True),
        "stream": Stream(disk, BATCH),
    }
    runs: dict[str, Callable[[], object]] = {}
    for name, loader in loaders.items():
        runs[f"{name} alone"] = lambda loader=loader: sum(map(len, loader))
        runs[f"{name} with model"] = lambda loader=loader: steps(loader, scaler)
    order, found = random.Random(0), {name: [] for name in runs}
    for _ in range(rounds):
        for name in order.sample(list(runs), len(runs)):
            wall, own = time.perf_counter(), time.process_time()
            runs[name]()
            taken = time.perf_counter() - wall, time.process_time() - own
            found[name].append([round(seconds, 3) for seconds in taken])
        print({name: times[-1] for name, times in found.items()}, flush=True)
    return {"rows": len(rows), "seconds": found, "rate": rates(found)}


def rates(seconds: Mapping[str, list[list[float]]]) -> dict[str, dict[str, float]]:
    """The stream's rate over the loader's, the median of the rounds."""
    found: dict[str, dict[str, float]] = {}
    for kind in ("alone", "with model"):
        sides = (seconds[f"{name} {kind}"] for name in ("memory", "stream"))
        pairs = list(zip(*sides, strict=True))
        found[kind] = {
            clock: round(statistics.median(a[i] / b[i] for a, b in pairs), 3)
            for i, clock in enumerate(("wall", "processor"))
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--held", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "stream.json")
    parser.add_argument("--epoch", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.epoch:
        print(json.dumps(epoch(asked.epoch)))
        return
    about: dict[str, Any] = {"machine": machine("cpu"), "batch_size": BATCH}
    with tempfile.TemporaryDirectory() as name:
        held, long = Path(name) / "held", Path(name) / "long"
        for folder, rows in ((held, asked.held), (long, asked.rows)):
            folder.mkdir()
            if rows:
                write(folder / "train", rows)
                write(folder / "val", 50_000, seed=1)
        if asked.held:
            about["throughput"] = race(held, asked.rounds)
        if asked.rows:
            own = [sys.executable, "-m", "benchmarks.stream", "--epoch", str(long)]
            done = subprocess.run(own, check=True, stdout=subprocess.PIPE, text=True)
            about["memory"] = json.loads(done.stdout)
    bars = {}
    if asked.rows:
        bars["peak"] = about["memory"]["peak_bytes"] < PEAK
    if asked.held:
        bars["rate"] = about["throughput"]["rate"]["with model"]["wall"] >= RATE
    about["bars"] = bars
    print(json.dumps({k: v for k, v in about.items() if k != "machine"}), flush=True)
    asked.out.write_text(json.dumps(about) + "\n")


if __name__ == "__main__":
    main()
