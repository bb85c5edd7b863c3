"""One EM step on many customers' series, beside hmmlearn fed with their lengths.

``python -m benchmarks.hmm`` stores the time of each and the ratio, by one thread and by
two, once both have been shown to learn the same from 10,000 customers with 180 days of
3 channels in 10 states. By one thread it is processor time; by two it is the clock on
the wall, and nothing else should run. hmmlearn has two inner loops: its default, in
logs as ours, and one in scaled probabilities, which gives up where those underflow.
"""

import argparse
import json
import math
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from hmmlearn.hmm import GaussianHMM as Hmmlearn

from benchmarks.clock import Clock, machine
from ple_study.batch import Events
from ple_study.data.hmm.baum_welch import Parameters
from ple_study.data.hmm.model import GaussianHMM

RESULTS = Path(__file__).parent / "results"
STEPS, CHANNELS, STATES = 180, 3, 10
OURS = GaussianHMM(STATES, iterations=1, variance_floor=1e-12)


def world(customers: int) -> tuple[Events, Parameters]:
    """Series of a chain that mostly stays, and the parameters to start from."""
    g = torch.Generator().manual_seed(0)
    mean = torch.arange(STATES).double()[:, None].repeat(1, CHANNELS)
    moves = 0.8 * torch.eye(STATES, dtype=torch.float64) + 0.2 / STATES
    stay = torch.rand(customers, STEPS, generator=g) < 0.8
    path = torch.randint(STATES, (customers, STEPS), generator=g)
    for step in range(1, STEPS):
        path[:, step] = torch.where(stay[:, step], path[:, step - 1], path[:, step])
    noise = torch.randn(customers, STEPS, CHANNELS, generator=g, dtype=torch.float64)
    mask = torch.ones(customers, STEPS, dtype=torch.bool)
    even = torch.full((STATES,), 1 / STATES, dtype=torch.float64)
    begin = Parameters(even, moves, mean, torch.ones_like(mean))
    return Events(mean[path] + noise, mask), begin


def theirs(events: Events, begin: Parameters, loop: str) -> Hmmlearn:
    """One EM step of hmmlearn, priors and floor switched off."""
    model = Hmmlearn(
        STATES,
        covars_prior=0.0,
        min_covar=0.0,
        n_iter=1,
        tol=-math.inf,
        init_params="",
        implementation=loop,
    )
    model.startprob_, model.transmat_ = begin.start.numpy(), begin.transition.numpy()
    model.n_features = CHANNELS
    model.means_, model.covars_ = begin.mean.numpy(), begin.variance.numpy()
    rows, lengths = events.values.flatten(0, 1), [STEPS] * len(events.mask)
    return model.fit(rows.numpy(), lengths)


def check(events: Events, begin: Parameters) -> None:
    """Both learn the same in one step, or there is nothing to compare."""
    mine, other = OURS.fit(events, begin), theirs(events, begin, "log")
    np.testing.assert_allclose(mine.history, list(other.monitor_.history), rtol=1e-12)
    np.testing.assert_allclose(mine.parameters.mean, other.means_, atol=1e-8)
    np.testing.assert_allclose(mine.parameters.transition, other.transmat_, atol=1e-8)


def race(events: Events, begin: Parameters, clock: Clock) -> dict[str, Any]:
    torch.set_num_threads(clock.threads)
    times = clock.race(
        {
            "ple_study": lambda: OURS.fit(events, begin),
            "hmmlearn, logs": lambda: theirs(events, begin, "log"),
            "hmmlearn, scaled": lambda: theirs(events, begin, "scaling"),
        }
    )
    middle = {name: median(found) for name, found in times.items()}
    ratios = {name: round(x / middle["ple_study"], 2) for name, x in middle.items()}
    print(f"{len(events.mask)} customers, {clock.threads} threads, {ratios}")
    return {"measure": clock.measure, "ms": times, "times ours": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "hmm.json")
    asked = parser.parse_args()
    events, begin = world(asked.customers)
    check(events, begin)
    clocks = {n: Clock(rounds=asked.rounds, threads=n) for n in asked.threads}
    found = {f"{n} threads": race(events, begin, clocks[n]) for n in clocks}
    about = {"customers": asked.customers, "steps": STEPS, "machine": machine("cpu")}
    asked.out.write_text(json.dumps(about | found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
