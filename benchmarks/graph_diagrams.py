"""Diagrams of graphs by extended persistence of their heat kernel signature.

As in PersLay's section 4: the signature of node i at time t is
sum_k exp(-t lambda_k) psi_k(i)^2 over the normalised Laplacian, and its extended
persistence on the graph has four parts, Ord0, Rel1, Ext0 and Ext1. The paper reads two
things more of a graph: the eigenvalues lambda_k, and the deciles of the signature.
"""

import os
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import gudhi
import numpy as np
import torch
from scipy.io import loadmat
from scipy.sparse.csgraph import laplacian
from torch import Tensor

from ple_study.batch import Diagrams

NAMES = {"MUTAG": (10.0,), "PROTEINS": (10.0,), "IMDB-BINARY": (0.1, 10.0)}
PARTS = ("Ord0", "Rel1", "Ext0", "Ext1")
Bars = list[np.ndarray]


def matrices(name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Adjacency and class of each graph of a set."""
    file = Path(os.environ["PLE_STUDY_DATA"]) / "perslay_graphs" / f"{name}.tar.gz"
    with tarfile.open(file) as packed:
        members = [m for m in packed.getmembers() if m.name.endswith(".mat")]
        for member in sorted(members, key=lambda m: m.name):
            content = packed.extractfile(member)
            assert content is not None
            words = member.name.split("_")
            label = int(words[words.index("lb") + 1])
            yield loadmat(BytesIO(content.read()))["A"].astype(np.float64), label


def graphs(name: str) -> tuple[dict[str, Diagrams], Tensor, Tensor]:
    """By part and time one diagram a graph, the graphs' spectra, and their classes."""
    bars: dict[str, Bars] = {f"{p} {t}": [] for t in NAMES[name] for p in PARTS}
    labels, spectra = [], []
    for edges, label in matrices(name):
        labels.append(label)
        values, vectors = np.linalg.eigh(laplacian(edges, normed=True))
        heights = {t: vectors**2 @ np.exp(-t * values) for t in NAMES[name]}
        for when, height in heights.items():
            for part, rows in zip(PARTS, extended(edges, height), strict=True):
                bars[f"{part} {when}"].append(rows)
        deciles = [np.quantile(h, np.linspace(0, 1, 11)) for h in heights.values()]
        spectra.append((values, np.concatenate(deciles)))
    size = max(len(values) for values, _ in spectra)
    beside = [np.r_[np.pad(v, (0, size - len(v))), more] for v, more in spectra]
    _, classes = np.unique(labels, return_inverse=True)
    read = {key: padded(rows) for key, rows in bars.items()}
    return read, torch.from_numpy(np.stack(beside)).float(), torch.tensor(classes)


def extended(edges: np.ndarray, heights: np.ndarray) -> Bars:
    """Ord0, Rel1, Ext0 and Ext1 of the sublevel filtration, as rows (low, high)."""
    tree = gudhi.SimplexTree()
    for node, height in enumerate(heights):
        tree.insert([node], float(height))
    for one, other in np.argwhere(np.triu(edges, 1)):
        tree.insert([one, other], float(max(heights[one], heights[other])))
    tree.extend_filtration()
    ordinary, relative, plus, minus = tree.extended_persistence()
    kinds = (ordinary, 0), (relative, 1), (plus, 0), (minus, 1)
    return [
        np.sort([pair for k, pair in rows if k == kind] or np.zeros((0, 2)), axis=1)
        for rows, kind in kinds
    ]


def padded(rows: Bars) -> Diagrams:
    """All are of homology 0 here: a part is a diagram of its own."""
    size = max(1, *map(len, rows))
    points, mask = torch.zeros(len(rows), size, 3), torch.zeros(len(rows), size) > 0
    for place, bars in enumerate(rows):
        points[place, : len(bars), :2] = torch.from_numpy(bars)
        mask[place, : len(bars)] = True
    return Diagrams(points, mask)
