"""Customers' diagrams (H0 and H1), beside a plain loop over gudhi's Rips complex.

``python -m benchmarks.diagrams`` stores how many customers a second each makes, once
all Rips diagrams, and all alpha diagrams, have been shown to be equal. Clouds are
events at the book's six coordinates, and points of a normal distribution in two and
three. The plain loop stores every simplex; "collapsed" is the same after edge collapse.
"""

import argparse
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import gudhi
import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial.distance import pdist, squareform

from benchmarks.clock import Clock, machine
from ple_study.data.diagrams import (
    Clouds,
    EventColumns,
    Persistence,
    Ranks,
    Scale,
    cloud,
)
from ple_study.data.diagrams.clouds import borders

RESULTS = Path(__file__).parent / "results"
Array = npt.NDArray[np.float64]
Loop = Callable[[Array], gudhi.SimplexTree]


def events(customers: int, points: int) -> Clouds:
    """A year or a quarter of purchases: by day, in opening hours, of twenty kinds."""
    g = np.random.default_rng(0)
    sizes = np.full(customers, points)
    num = customers * points
    made = EventColumns(
        amount=g.lognormal(3, 1, num),
        category=g.integers(0, 20, num),
        day=np.tile(np.arange(points), customers),
        hour=np.clip(g.normal(15, 3, num), 8, 22),
        start=borders(sizes),
    )
    raw, everyone = cloud(made, Ranks.fit(made, np.arange(customers))), range(customers)
    return Scale.fit(raw, np.array(everyone)).standard(raw)


def normal(customers: int, points: int, coordinates: int) -> Clouds:
    g = np.random.default_rng(0)
    rows = g.normal(size=(customers * points, coordinates))
    return Clouds(rows, borders(np.full(customers, points)))


def plain(points: Array) -> gudhi.SimplexTree:
    return gudhi.RipsComplex(points=points).create_simplex_tree(max_dimension=2)


def collapsed(points: Array) -> gudhi.SimplexTree:
    distance = squareform(pdist(points))
    rips = gudhi.RipsComplex(
        distance_matrix=distance, max_edge_length=distance.max(1).min()
    )
    tree = rips.create_simplex_tree(max_dimension=1)
    tree.collapse_edges()
    tree.expansion(2)
    return tree


def alpha(points: Array) -> gudhi.SimplexTree:
    made = gudhi.AlphaComplex(points=points)
    return made.create_simplex_tree(output_squared_values=False)


def bars(clouds: Clouds, loop: Loop, workers: int) -> list[Array]:
    """Rows (birth, death, homology index) of each customer, by gudhi's own tree."""

    def one(customer: int) -> Array:
        tree = loop(clouds.of(customer))
        tree.compute_persistence(homology_coeff_field=2)
        found = (tree.persistence_intervals_in_dimension(k) for k in (0, 1))
        return np.concatenate(
            [np.insert(np.reshape(b, (-1, 2)), 2, k, 1) for k, b in enumerate(found)]
        )

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, range(len(clouds))))


def check(clouds: Clouds, ours: Persistence, loop: Loop, unit: float) -> None:
    """Raise AssertionError unless both answer the same diagrams."""
    made = ours.diagrams(clouds)
    for customer, rows in enumerate(bars(clouds, loop, 1)):
        rows = rows[np.isfinite(rows[:, 1])] * [unit, unit, 1]
        rows = rows[rows[:, 1] - rows[:, 0] > np.finfo(np.float32).eps * rows[:, 1]]
        rows = rows.astype(np.float32)
        mine = made.points[customer][made.mask[customer]].numpy()
        rows, mine = (part[np.lexsort(part.T)] for part in (rows, mine))
        np.testing.assert_allclose(mine, rows, rtol=1e-6, atol=1e-7)


def race(clouds: Clouds, loops: dict[str, Loop], clock: Clock) -> dict[str, Any]:
    size, threads = 2 * len(clouds.of(0)), clock.threads
    rips = Persistence(size=size, complex="rips")
    runs: dict[str, Callable[[], object]] = {
        "ple_study, rips": lambda: rips.diagrams(clouds, threads)
    }
    for label, loop in loops.items():
        check(clouds, rips, loop, 1.0)
        runs[f"gudhi, {label}"] = lambda loop=loop: bars(clouds, loop, threads)  # type: ignore[misc]
    if clouds.points.shape[1] < 4:
        by_alpha = Persistence(size=4 * size, complex="alpha")
        check(clouds, by_alpha, alpha, 2.0)
        runs["ple_study, alpha"] = lambda: by_alpha.diagrams(clouds, threads)
    times = {k: median(v) for k, v in clock.race(runs).items()}
    return {
        "customers": len(clouds),
        "points": size // 2,
        "a second": {k: round(1e3 * len(clouds) / v, 1) for k, v in times.items()},
        "of plain": {k: round(times["gudhi, plain"] / v, 1) for k, v in times.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--points", type=int, nargs="+", default=[90, 365])
    parser.add_argument("--out", type=Path, default=RESULTS / "diagrams.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    clock = Clock(rounds=asked.rounds, threads=asked.threads)
    found = {}
    for points in asked.points:
        customers = 40 if points < 200 else 2
        loops: dict[str, Loop] = {"plain": plain, "collapsed": collapsed}
        worlds = {
            "events, 6-D": (events(customers, points), loops),
            "normal, 2-D": (normal(customers, points, 2), {"plain": plain}),
            "normal, 3-D": (normal(customers, points, 3), {"plain": plain}),
        }
        for name, world in worlds.items():
            own = found[f"{name}, {points} points"] = race(*world, clock)
            print(name, own)
    about = {"threads": asked.threads, "measure": clock.measure}
    about |= {"machine": machine("cpu"), "worlds": found}
    asked.out.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
