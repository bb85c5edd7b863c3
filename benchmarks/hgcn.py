"""Link prediction on HGCN's simulated disease tree, beside Euclidean graph convolution.

``python -m benchmarks.hgcn`` trains five seeds of each on the authors' split of their
``disease_lp`` (5 % of the edges to stop by, 10 % to test by, once for all seeds, as
their code does) and writes ``benchmarks/results/hgcn.json``: the area under the ROC
curve, its mean and a 95 % interval over the seeds. There are two Euclidean models of
the same size: an unbounded one, and the authors' own, whose decoder scales embeddings
into the unit ball. The data lie in the folder PLE_STUDY_DATA.
"""

import argparse
import csv
import json
import os
import statistics
import time
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse, stats
from torch import Tensor

from benchmarks.clock import machine
from ple_study.data.graphs.csr import tensor
from ple_study.experts.hgcn.graph import HGCN, steps
from ple_study.ranking import roc_and_precision

FOLDER = Path(os.environ.get("PLE_STUDY_DATA", ".")) / "hgcn_disease_lp"
RESULTS = Path(__file__).parent / "results" / "hgcn.json"
SEEDS = (1234, 1, 2, 3, 4)  # those of the runs of the authors' code
SPLIT = 1234  # the authors' default
HELD_OUT = (0.05, 0.1)
RATE = 0.01


class Study(NamedTuple):
    """Training edges as a graph, what nodes show, and pairs with their labels."""

    graph: Tensor
    features: Tensor
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def study() -> Study:
    numbers: dict[str, int] = {}
    with open(FOLDER / "disease_lp.edges.csv", newline="") as lines:
        named = [
            [numbers.setdefault(n, len(numbers)) for n in x] for x in csv.reader(lines)
        ]
    features = sparse.load_npz(FOLDER / "disease_lp.feats.npz").toarray()
    size = len(features)
    dense = np.zeros((size, size))
    dense[tuple(np.array(named).T)] = 1
    dense = np.triu(np.maximum(dense, dense.T))
    # The order of the authors' draws, so that the split is theirs.
    draw = np.random.RandomState(SPLIT)
    edges, apart = np.argwhere(dense > 0), np.argwhere(np.triu(1 - dense - dense.T) > 0)
    draw.shuffle(edges)
    draw.shuffle(apart)
    stop, end = np.cumsum([int(len(edges) * part) for part in HELD_OUT])
    parts = []
    for place in (slice(0, stop), slice(stop, end)):
        pairs = torch.from_numpy(np.concatenate([edges[place], apart[place]]).T)
        labels = torch.arange(pairs.shape[1]) < pairs.shape[1] // 2
        parts.append((pairs, labels.float()))
    one, other = edges[end:].T
    half = sparse.coo_array((np.ones(len(one)), (one, other)), (size, size))
    shown = torch.from_numpy(features).float()
    return Study(tensor((half + half.T).tocsr()).float(), shown, parts[0], parts[1])


class InUnitBall(HGCN):
    """The authors' Euclidean decoder: no embedding is longer than 1."""

    def link_logits(self, tangents: Tensor, pairs: Tensor) -> Tensor:
        length = tangents.norm(dim=1, keepdim=True)
        # Half, because the distance of this space is 2 |u - v|.
        return super().link_logits(tangents / length.clamp_min(1.0) / 2, pairs)


def models(dim: int, width: int, seed: int) -> dict[str, HGCN]:
    dims, draw = (width, dim, dim), torch.Generator().manual_seed
    return {
        "HGCN": HGCN(dims, draw=draw(seed)),
        "GCN": HGCN(dims, space="euclidean", draw=draw(seed)),
        "GCN in the unit ball": InUnitBall(dims, space="euclidean", draw=draw(seed)),
    }


@torch.no_grad()
def scores(model: HGCN, tangents: Tensor, part: tuple[Tensor, Tensor]) -> Tensor:
    pairs, labels = part
    return torch.tensor(roc_and_precision(model.link_logits(tangents, pairs), labels))


def run(
    model: HGCN, given: Study, seed: int, limits: tuple[int, int]
) -> dict[str, Any]:
    """Train until the validation pairs have not gained for so many steps."""
    draw = torch.Generator().manual_seed(seed)
    start, (longest, patience) = time.process_time(), limits
    best, at, test = -1.0, 0, -1.0
    train = steps(model, given.features, given.graph, rate=RATE, draw=draw)
    for number, step in enumerate(islice(train, longest)):
        reached = float(scores(model, step.tangents, given.validation).mean())
        if reached > best:
            best, at = reached, number
            test = float(scores(model, step.tangents, given.test)[0])
        elif number - at >= patience:
            break
    found = {"seed": seed, "test": test, "validation": best, "c": float(model.c)}
    found |= {"steps": at, "seconds": time.process_time() - start}
    return {name: round(value, 4) for name, value in found.items()}


def interval(values: list[float]) -> list[float]:
    """The mean and a 95 % interval by Student's t."""
    mean, number = statistics.mean(values), len(values)
    half = stats.t.ppf(0.975, number - 1) * statistics.stdev(values) / number**0.5
    return [round(x, 4) for x in (mean, mean - half, mean + half)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dim", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--patience", type=int, default=200)
    asked = parser.parse_args()
    given, table = study(), {}
    names = list(models(1, 1, 0))
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in SEEDS:
        for name, model in models(asked.dim, given.features.shape[1], seed).items():
            runs[name].append(run(model, given, seed, (asked.steps, asked.patience)))
            print(name, runs[name][-1], flush=True)
    test = {name: [row["test"] for row in rows] for name, rows in runs.items()}
    table = {name: interval(values) for name, values in test.items()}
    for name in names[1:]:
        gains = [a - b for a, b in zip(test["HGCN"], test[name], strict=True)]
        table[f"HGCN minus {name}"] = interval(gains)
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    found = {"about": machine("cpu"), "mean and 95 % interval": table, "runs": runs}
    text = json.dumps(before | {f"{asked.dim} dimensions": found}, indent=1)
    RESULTS.write_text(text + "\n")
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
