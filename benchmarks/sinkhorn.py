"""Sinkhorn of many customers against prototypes, beside POT's solvers: one thread.

``python -m benchmarks.sinkhorn`` takes 1,024 customers, 16 prototypes, 32 support
points at epsilon 0.1 in float64, and gives each contestant the tolerance that lets its
worst pair's marginals be within 1e-6 (sum of absolute differences), which is checked.
Then the time of each, interleaved, and the ratios go to ``results/sinkhorn.json``. By
default POT's batch solver is timed on 32 of the customers and the loop over its
solver of one pair on 16 of them, and multiplied: in a larger batch all pairs wait for
the slowest, and every pair of the loop takes a call of its own.
"""

import argparse
import json
import random
import statistics
from collections.abc import Callable
from pathlib import Path

import ot
import torch
from torch import Tensor

from benchmarks.clock import Clock, machine
from ple_study.experts.transport.expert import MetricCost
from ple_study.experts.transport.sinkhorn import Sinkhorn, plan, potentials

RESULTS = Path(__file__).parent / "results" / "sinkhorn.json"
CUSTOMERS, PROTOTYPES, BINS, EPSILON = 1024, 16, 32, 0.1
GOAL = 1e-6
Plans = Callable[[float], Tensor]


def world() -> tuple[Tensor, Tensor, Tensor]:
    """Customers, prototypes and the metric cost as the expert starts with it."""
    torch.manual_seed(0)
    a = torch.randn(CUSTOMERS, BINS, dtype=torch.float64).softmax(1)
    b = torch.randn(PROTOTYPES, BINS, dtype=torch.float64).softmax(1)
    return a, b, MetricCost(BINS)().detach()


def ours(a: Tensor, b: Tensor, cost: Tensor, tolerance: float) -> Tensor:
    how = Sinkhorn(
        epsilon=EPSILON, iterations=10_000, tolerance=tolerance, spread=float(BINS)
    )
    pair = a[:, None], b[None]
    found = potentials(*pair, cost, how)
    return plan(*pair, cost, found, EPSILON).flatten(0, 1)


def batch(a: Tensor, b: Tensor, cost: Tensor, tolerance: float) -> Tensor:
    """POT's batch solver, every pair with its own copy of the cost."""
    rows = a.repeat_interleave(len(b), 0)
    solved = ot.solve_batch(
        cost.repeat(len(rows), 1, 1),
        EPSILON,
        rows,
        b.repeat(len(a), 1),
        max_iter=10_000,
        tol=tolerance,
        method="sinkhorn",
        grad="detach",
    )
    found: Tensor = solved.plan
    return found


def loop(a: Tensor, b: Tensor, cost: Tensor, tolerance: float) -> Tensor:
    rows, columns, costs = a.numpy(), b.numpy(), cost.numpy()
    plans = [
        torch.from_numpy(
            ot.bregman.sinkhorn(
                x, y, costs, EPSILON, stopThr=tolerance, numItermax=10_000
            )
        )
        for x in rows
        for y in columns
    ]
    return torch.stack(plans)


def error(plans: Tensor, a: Tensor, b: Tensor) -> float:
    """The worst pair's: what is missing in its rows and in its columns."""
    rows = plans.sum(2) - a.repeat_interleave(len(b), 0)
    columns = plans.sum(1) - b.repeat(len(a), 1)
    return float(torch.maximum(rows.abs().sum(1), columns.abs().sum(1)).max())


def loosest(run: Plans, a: Tensor, b: Tensor) -> tuple[float, float]:
    """The largest tolerance with which the goal is reached, and the error then."""
    for part in (2.0, 1.0, 0.5, 0.25, 0.1):
        found = error(run(part * GOAL), a, b)
        if found <= GOAL:
            return part * GOAL, found
    raise AssertionError(f"no tolerance reaches {GOAL}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-share", type=int, default=32)
    parser.add_argument("--loop-share", type=int, default=64)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    a, b, cost = world()
    some, few = a[: CUSTOMERS // asked.batch_share], a[: CUSTOMERS // asked.loop_share]
    runs: dict[str, tuple[Plans, Tensor, int]] = {
        "ple_study": (lambda t: ours(a, b, cost, t), a, 1),
        "POT, batch": (lambda t: batch(some, b, cost, t), some, asked.batch_share),
        "POT, loop": (lambda t: loop(few, b, cost, t), few, asked.loop_share),
    }
    limits = {name: loosest(run, who, b) for name, (run, who, _) in runs.items()}
    clock, order = Clock(rounds=asked.rounds), random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(asked.rounds):
        for name in order.sample(list(runs), len(runs)):
            run, _, share = runs[name]
            tolerance = limits[name][0]
            taken = clock.once(lambda run=run, t=tolerance: run(t))  # type: ignore[misc]
            times[name].append(round(1e3 * share * taken, 1))
    middle = {name: statistics.median(found) for name, found in times.items()}
    base = middle["ple_study"]
    report = {
        "customers, prototypes, bins": [CUSTOMERS, PROTOTYPES, BINS],
        "epsilon": EPSILON,
        "share timed": {name: f"1/{share}" for name, (_, _, share) in runs.items()},
        "measure": clock.measure,
        "machine": machine("cpu"),
        "tolerance and error": limits,
        "ms": times,
        "times ours": {name: round(found / base, 1) for name, found in middle.items()},
    }
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
