"""Measure ple_study against its peers: ``python -m benchmarks``.

First the same numbers, then the clock: before anything is timed, our model gets the
peer's weights and must answer the same. Results go to ``benchmarks/results``.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from benchmarks import floor
from benchmarks.clock import Clock, machine
from benchmarks.contestant import Contestant, carry, roughen
from benchmarks.ours import Ours, OursAsGraph, OursWithBatchNorm
from benchmarks.shapes import SHAPES, SMALL, Shape
from ple_study.batch import Rows

PEERS = {
    "torch_rechub": "TorchRechub",
    "deepctr_torch": "DeepCTRTorch",
    "fuxictr": "FuxiCTR",
}
RESULTS = Path(__file__).parent / "results"
TOLERANCE = {False: 1e-6, True: 1e-5}  # in training, batch statistics are divided by
Entrants = list[type[Contestant]]
Models = Mapping[Contestant, nn.Module]


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    clock = Clock(rounds=options.rounds, device=options.device, threads=options.threads)
    entrants = contestants(options.device)
    results = []
    for shape in [s for s in SHAPES if s.name in options.shapes]:
        for size in options.batches:
            results += steps(clock, entrants, shape, size)
    for size in options.batches if options.rows else []:
        results.append(epochs(clock, entrants, size, options.rows))
    name = f"{options.device}-{options.threads}.json"
    about = {"machine": machine(options.device), "threads": options.threads}
    about |= {"measure": clock.measure, "versions": versions()}
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(about | {"results": results}, indent=1)
    (options.out or RESULTS / name).write_text(text + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [shape.name for shape in SHAPES]
    parser.add_argument("--shapes", nargs="*", choices=names, default=names)
    parser.add_argument("--batches", nargs="+", type=int, default=[1024, 4096])
    parser.add_argument("--rows", type=int, default=200_000, help="0: no epochs")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", type=Path, help="another file for the results")
    return parser.parse_args()


def contestants(device: str) -> Entrants:
    """Ours first; a peer that cannot be imported is named and left out."""
    found: list[type[Contestant]] = [Ours, OursWithBatchNorm]
    if device != "cpu":
        found.append(OursAsGraph)
    for module, name in PEERS.items():
        try:
            found.append(getattr(import_module(f"benchmarks.{module}"), name))
        except ImportError as error:
            print(f"left out: {name}: {error}", flush=True)
    return found


def versions() -> dict[str, str]:
    found = {}
    for name in ("torch-rechub", "deepctr-torch", "fuxictr"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def steps(
    clock: Clock, entrants: Entrants, shape: Shape, size: int
) -> list[dict[str, Any]]:
    """A step of training and a prediction, of everyone whom the shape suits."""
    rows = shape.rows(size).to(clock.device)
    models: dict[Contestant, nn.Module] = {}
    for entrant in entrants:
        if shape.sparse or not entrant.embeds:
            one = entrant(shape)
            models[one] = one.build().to(clock.device)
            roughen(models[one])
    equal = differences(models, rows)
    products = dict(zip(("train", "predict"), floor.build(shape, rows), strict=True))
    found = []
    for what in ("train", "predict"):
        runs = {c.name: _run(what, c, m, rows) for c, m in models.items()}
        taken = clock.race(runs | {floor.NAME: products[what]})
        entry = {"what": what, "shape": shape.name, "batch": size, "ms": taken}
        found.append(entry | {"difference": equal})
        _show(found[-1])
    return found


def _run(
    what: str, one: Contestant, model: nn.Module, rows: Rows
) -> Callable[[], object]:
    if what == "train":
        model.train()
        return one.steps(model, rows)
    model.eval()
    answer = one.answers(model, rows)
    return torch.no_grad()(answer)


def differences(models: Models, rows: Rows) -> dict[str, float]:
    """How far each peer's probabilities are from ours with its weights, at most.

    Both with the statistics of the batch, as in training, and with the running ones.
    Raises ValueError when they are further apart than the tolerance.
    """
    found = {}
    for peer, theirs in models.items():
        if isinstance(peer, Ours) or peer.twin is None:
            continue
        own = (Ours if peer.twin == "none" else OursWithBatchNorm)(peer.shape)
        ours = own.build().to(rows.batch.numeric.device)
        carry(peer.pairs(ours, theirs))
        pair = ((own, ours), (peer, theirs))
        for training, limit in TOLERANCE.items():
            a, b = (c.answers(m.train(training), rows)() for c, m in pair)
            apart = (a - b).abs().max().item()
            if apart > limit:
                raise ValueError(
                    f"Ours and {peer.name} must agree to {limit}. Found {apart:.1e}."
                )
            found[peer.name] = max(apart, found.get(peer.name, 0.0))
    return found


def epochs(clock: Clock, entrants: Entrants, size: int, count: int) -> dict[str, Any]:
    """One epoch of everyone's own fit: loading, training, and a fifth to evaluate."""
    train, val = SMALL.rows(count), SMALL.rows(count // 5, seed=1)
    runs = {c.name: c(SMALL).epoch(train, val, size) for c in entrants}
    rounds = max(2, clock.rounds // 3)
    taken = clock.race(runs, rounds=rounds)
    entry = {"what": "epoch", "shape": SMALL.name, "batch": size, "ms": taken}
    _show(entry)
    return entry


def _show(entry: dict[str, Any]) -> None:
    """A line a contestant: the median, and how many of ours it takes."""
    print(entry["what"], entry["shape"], entry["batch"])
    ours = next(iter(entry["ms"].values()))
    for name, taken in entry["ms"].items():
        ratio = median([a / b for a, b in zip(taken, ours, strict=True)])
        print(f"  {name:24}{median(taken):10.1f} ms {ratio:6.2f}", flush=True)
