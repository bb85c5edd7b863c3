"""LightGCN beside its paper and PyG: recall on real graphs, and the walk's speed.

``python -m benchmarks.lightgcn lastfm`` trains 240 epochs on Last.FM, ``gowalla`` the
first five on Gowalla, and ``speed`` runs forward and backward of the propagation on
Gowalla's graph beside PyG's edge index and beside CSR products with a symmetric
backward, one thread, processor time, interleaved. Each writes its part of
``benchmarks/results/lightgcn.json``. The data lie in the folder PLE_STUDY_DATA.
"""

import argparse
import gzip
import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch_geometric.nn import LGConv

from benchmarks.clock import Clock, machine
from ple_study.data.graphs.csr import tensor
from ple_study.experts.lightgcn.embeddings import embedded
from ple_study.experts.lightgcn.expert import LightGCN
from ple_study.experts.lightgcn.propagation import SymmetricGraph, layer_mean

DATA = Path(os.environ.get("PLE_STUDY_DATA", "."))
RESULTS = Path(__file__).parent / "results" / "lightgcn.json"
AT = 20  # places of a ranking that count
Graph = tuple[Tensor, sparse.csr_array]  # what trains, and what was held out


def ones(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> Any:
    """A matrix of ones, each pair once."""
    pairs = np.unique(np.stack([rows, columns]), axis=1)
    return sparse.coo_array((np.ones(pairs.shape[1]), pairs), shape).tocsr()


def lastfm() -> Graph:
    folder, shape = DATA / "lastfm_lightgcn", (1892, 4489)
    parts = []
    for name in ("data1", "test1"):
        found = np.loadtxt(folder / f"{name}.txt.gz", np.int64, usecols=(0, 1)).T - 1
        parts.append(ones(*found, shape))
    return tensor(parts[0]), parts[1]


def gowalla() -> Graph:
    folder = DATA / "gowalla"
    whole = sparse.csr_array(sparse.load_npz(folder / "s_adj_mat.npz")).astype(float)
    users = 29858
    rows, columns = [], []
    with gzip.open(folder / "test.txt.gz", "rt") as lines:
        for line in lines:
            user, *items = map(int, line.split())
            rows += [user] * len(items)
            columns += items
    train = whole[:users, users:].tocsr()
    return tensor(train), ones(np.array(rows), np.array(columns), train.shape)


def ranking(graph: Graph, model: LightGCN, nodes: Tensor) -> dict[str, float]:
    """Recall and NDCG of the first 20 that were not trained on: means over the users
    who have something held out. The ideal order has ``min(20, held out)`` hits."""
    weights, held_out = graph
    fitted = embedded(weights, nodes, model.layers)
    recalls, gains = [], []
    discount = 1 / np.log2(np.arange(2, AT + 2))
    for users in torch.arange(weights.shape[0]).split(512):
        scores = fitted.customers[users] @ fitted.merchants.T
        scores = scores.nan_to_num(-torch.inf)
        known = weights.to_sparse_coo().index_select(0, users).coalesce().indices()
        scores[known[0], known[1]] = -torch.inf
        best = scores.topk(AT).indices.numpy()
        truth = held_out[users.numpy()]
        hits = np.take_along_axis(truth.toarray(), best, 1)
        number = np.diff(truth.indptr)
        some = number > 0
        ideal = discount.cumsum()[np.minimum(number[some], AT) - 1]
        recalls += (hits.sum(1)[some] / number[some]).tolist()
        gains += ((hits @ discount)[some] / ideal).tolist()
    return {"recall": float(np.mean(recalls)), "ndcg": float(np.mean(gains))}


def curve(graph: Graph, epochs: tuple[int, ...], seed: int) -> list[dict[str, Any]]:
    """What is reached after so many epochs, the last of them the end."""
    model, rows = LightGCN(epochs=epochs[-1], seed=seed), []
    start = time.process_time()
    passes = islice(model.passes(graph[0]), epochs[-1])
    for number, epoch in enumerate(passes, 1):
        if number in epochs:
            spent = round(time.process_time() - start, 1)
            found = ranking(graph, model, epoch.nodes)
            start += time.process_time() - start - spent
            row = {"epoch": number, "loss": epoch.loss, **found, "seconds": spent}
            rows.append({k: round(v, 5) for k, v in row.items()})
            print(rows[-1], flush=True)
    return rows


class SymmetricCSR(torch.autograd.Function):
    """One product whose gradient is the same product: what is to be matched."""

    @staticmethod
    def forward(ctx: Any, adjacency: Tensor, nodes: Tensor) -> Tensor:
        ctx.adjacency = adjacency
        return adjacency @ nodes

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, ctx.adjacency @ grad


def forms(ours: SymmetricGraph, nodes: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Three layers and their mean, in ours and in two usual ways."""
    edges = ours.adjacency.to_sparse_coo()
    # int64: torch's gather, in PyG's backward, reads int32 places wrongly.
    place, weight = edges.indices().flip(0).long(), edges.values()
    layer = LGConv(normalize=False)

    def stacked(step: Callable[[Tensor], Tensor]) -> Tensor:
        found = [nodes]
        for _ in range(3):
            found.append(step(found[-1]))
        return torch.stack(found).mean(0)

    product = partial(SymmetricCSR.apply, ours.adjacency)
    return {
        "ple_study": lambda: layer_mean(ours, nodes, 3),
        "CSR, symmetric backward": lambda: stacked(product),
        "PyG, edge index": lambda: stacked(lambda x: layer(x, place, weight)),
    }


def both(form: Callable[[], Tensor], nodes: Tensor, grad: Tensor) -> list[Tensor]:
    """Forward and backward: the mean, and the gradient of the nodes."""
    nodes.grad = None
    mean = form()
    mean.backward(grad)
    assert nodes.grad is not None
    return [mean.detach(), nodes.grad]


def speed(graph: Graph, rounds: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    ours = SymmetricGraph.bipartite(graph[0])
    draw = torch.Generator().manual_seed(0)
    nodes, grad = torch.randn(2, len(ours), 64, generator=draw)
    nodes.requires_grad_()
    ways = forms(ours, nodes)
    runs = {name: partial(both, way, nodes, grad) for name, way in ways.items()}
    wanted, apart = runs["ple_study"](), {}
    for name, run in runs.items():
        pairs = zip(run(), wanted, strict=True)
        apart[name] = max(float((a - b).abs().max()) for a, b in pairs)
    assert max(apart.values()) < 1e-5, apart
    clock = Clock(rounds=rounds)
    times = clock.race(runs)
    median = {name: statistics.median(found) for name, found in times.items()}
    return {
        "about": machine("cpu"),
        "measure": clock.measure,
        "milliseconds": times,
        "ratio of medians": {
            n: round(t / median["ple_study"], 2) for n, t in median.items()
        },
        "largest difference": apart,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("lastfm", "gowalla", "speed"))
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    if asked.part == "lastfm":
        found: Any = curve(lastfm(), (10, 20, 40, 80, 160, 240), asked.seed)
    elif asked.part == "gowalla":
        found = curve(gowalla(), (1, 2, 3, 4, 5), asked.seed)
    else:
        found = speed(gowalla(), asked.rounds)
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    key = asked.part if asked.part == "speed" else f"{asked.part}, seed {asked.seed}"
    RESULTS.write_text(json.dumps(before | {key: found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
