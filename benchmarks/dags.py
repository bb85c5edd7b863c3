"""Searches for a DAG beside dagma's, acyclicity values on the clock, and the collapse.

``PLE_STUDY_DATA=... python -m benchmarks.dags`` prints, and writes to
``benchmarks/results/dags.json``: the value and gradient of each acyclicity value at 644
variables (float64, one thread, processor time); the edges that ours and dagma 1.1.1
find in the same rows, in their own units and standardised, of random graphs and of the
proteins of Sachs et al. (2005); and what a training leaves of a causal expert's effects
in each of its forms.
"""

import json
import os
import re
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import dagma.linear
import numpy as np
import pandas as pd
import torch
from dagma.utils import (
    set_random_seed,
    simulate_dag,
    simulate_linear_sem,
    simulate_parameter,
)
from torch import Tensor, nn

from benchmarks.clock import Clock, machine
from ple_study.batch import Batch
from ple_study.experts.base import Columns
from ple_study.experts.causal import dag
from ple_study.experts.causal.expert import STARTS, Causal, Fix
from ple_study.experts.causal.search import Dagma, least_squares

RESULTS = Path(__file__).parent / "results" / "dags.json"
SAMPLES, VARIABLES, SEEDS = 1000, 20, 5
PROTEINS = "sachs/sachs.2005.continuous.txt.gz"
TRUTHS = {"cmu": "sachs/sachs.2005.ground.truth.graph.txt"}
TRUTHS |= {"cdt": "sachs/cdt_cyto_full_target.csv"}


dagma.linear.tqdm = MagicMock()  # no progress bar


def plain(weights: Tensor) -> Tensor:
    """The definition, with a gradient through the exponential's own algorithm."""
    return torch.matrix_exp(weights.square()).trace() - len(weights)


def values(clock: Clock, size: int = 644) -> dict[str, Any]:
    """Milliseconds for a value and its gradient, by name."""
    g = torch.Generator().manual_seed(0)
    weights = (
        torch.randn(size, size, generator=g, dtype=torch.float64) * 0.1 / size**0.5
    )
    at = weights.requires_grad_()
    names = ("log_determinant", "exponential", "polynomial", "truncated")
    forms = {"autograd through matrix_exp": plain}
    forms |= {name: getattr(dag, name) for name in names}
    slopes = {k: torch.autograd.grad(form(at), at)[0] for k, form in forms.items()}
    same = slopes["exponential"] - slopes["autograd through matrix_exp"]
    runs = {k: _with_slope(form, at) for k, form in forms.items()}
    times = {k: statistics.median(v) for k, v in clock.race(runs).items()}
    base = times["autograd through matrix_exp"]
    ratios = {k: round(base / t, 1) for k, t in times.items()}
    return {"ms": times, "times faster": ratios, "difference": float(same.abs().max())}


def _with_slope(form: Callable[[Tensor], Tensor], at: Tensor) -> Callable[[], object]:
    return lambda: torch.autograd.grad(form(at), at)


def by_variance(rows: Tensor) -> Tensor:
    """Each column regressed on all that vary less: what needs no search."""
    centred = rows - rows.mean(0)
    covariance = centred.mT @ centred / len(rows)
    variance = covariance.diagonal()
    weights = least_squares(covariance, variance[:, None] < variance)
    return dag.prune(weights, 0.3)


def ours(rows: Tensor) -> Tensor:
    return Dagma().fit(rows, [f"x{i}" for i in range(rows.shape[1])]).weights


def theirs(rows: Tensor) -> Tensor:
    found = dagma.linear.DagmaLinear("l2").fit(rows.numpy().copy(), lambda1=0.03)
    return dag.prune(torch.from_numpy(found), 0.3)


def search(rows: Tensor, truths: dict[str, Tensor]) -> dict[str, Any]:
    """What each finds of each truth: right, reversed, missing, extra, distance."""
    told: dict[str, Any] = {"varsortability": {}, "empty": {}}
    for name, truth in truths.items():
        told["varsortability"][name] = round(dag.varsortability(rows, truth), 3)
        told["empty"][name] = int((truth | truth.mT).triu().sum())
    for find in (ours, theirs, by_variance):
        start = time.process_time()
        graph = find(rows) != 0
        told[find.__name__] = {"seconds": round(time.process_time() - start, 2)}
        for name, truth in truths.items():
            found = dag.compare(graph, truth)
            told[find.__name__][name] = found._asdict() | {"distance": found.distance}
    return told


def in_units(rows: Tensor) -> dict[str, Tensor]:
    return {"raw": rows, "standardised": (rows - rows.mean(0)) / rows.std(0)}


def random_graphs() -> Iterator[dict[str, Any]]:
    """ER2: twenty variables and forty edges, Gaussian noise of one size."""
    for seed in range(SEEDS):
        set_random_seed(seed)
        truth = simulate_dag(VARIABLES, 2 * VARIABLES, "ER")
        made = simulate_linear_sem(simulate_parameter(truth), SAMPLES, "gauss")
        for units, rows in in_units(torch.from_numpy(made)).items():
            told = search(rows, {"truth": torch.from_numpy(truth != 0)})
            yield {"graph": "ER2", "seed": seed, "units": units, **told}


def proteins(folder: Path) -> Iterator[dict[str, Any]]:
    """7,466 cells, 11 proteins, and the two graphs that circulate as their truth."""
    cells = pd.read_csv(folder / PROTEINS, sep="\t")
    names = list(cells.columns)
    text = (folder / TRUTHS["cmu"]).read_text()
    pairs = {"cmu": re.findall(r"(\w+) --> (\w+)", text)}
    columns = pd.read_csv(folder / "sachs/cdt_cyto_full_data.csv.gz", nrows=0).columns
    same = dict(zip(columns, names, strict=True))  # the same order under other names
    edges = pd.read_csv(folder / TRUTHS["cdt"])
    pairs["cdt"] = [(same[a], same[b]) for a, b in edges.to_numpy()]
    truths = {k: torch.zeros(11, 11, dtype=torch.bool) for k in pairs}
    for name, found in pairs.items():
        for cause, effect in found:
            truths[name][names.index(cause), names.index(effect)] = True
    for units, rows in in_units(torch.from_numpy(cells.to_numpy(np.float64))).items():
        yield {"graph": "Sachs", "units": units, **search(rows, truths)}


def collapse(fix: Fix, seed: int, steps: int = 600) -> dict[str, Any]:
    """32 latents beside a task: the effects' norm, latents and residual, by step."""
    g = torch.Generator().manual_seed(seed)
    causes, mixing = torch.randn(4096, 8, generator=g), torch.randn(8, 64, generator=g)
    numeric = causes @ mixing / 8**0.5 + 0.5 * torch.randn(4096, 64, generator=g)
    target = (causes[:, :1] * causes[:, 1:2] + causes[:, 2:3]).tanh()
    torch.manual_seed(seed)
    expert, head = Causal(Columns(range(64)), 16, fix=fix), nn.Linear(16, 1)
    parameters = [*expert.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.01)
    told: dict[str, Any] = {"fix": fix, "start": STARTS[fix], "seed": seed}
    for step in range(steps + 1):
        rows = torch.randint(4096, (256,), generator=g)
        batch = Batch(numeric[rows], torch.zeros(256, 0, dtype=torch.long))
        if step in (0, steps):
            told[f"step {step}"] = _state(expert, batch)
        loss = (head(expert(batch)) - target[rows]).square().mean()
        optimiser.zero_grad()
        (loss + expert.penalty_of(batch)).backward()
        optimiser.step()
    return told


@torch.no_grad()
def _state(expert: Causal, batch: Batch) -> dict[str, float]:
    z, effects = expert.latents(batch), expert.mechanism.effects()
    residual = (z - z @ effects).square().sum() / z.square().sum()
    found = {"|W|": expert.mechanism.weight.norm(), "|effects|": effects.norm()}
    found |= {"E z^2": z.square().mean(), "residual": residual}
    return {k: round(float(v), 5) for k, v in found.items()}


def main() -> None:
    torch.set_num_threads(1)
    told: dict[str, Any] = {
        "machine": machine("cpu"),
        "values": values(Clock(rounds=5)),
    }
    forms: tuple[Fix, ...] = ("none", "source", "stable")
    told["collapse"] = [collapse(fix, seed) for seed in range(3) for fix in forms]
    print(json.dumps(told, indent=1), flush=True)
    told["searches"] = []
    folder = Path(os.environ["PLE_STUDY_DATA"])
    for found in chain(random_graphs(), proteins(folder)):
        told["searches"].append(found)
        print(json.dumps(found), flush=True)
    RESULTS.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
