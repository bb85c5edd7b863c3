"""The hierarchy of merchants: departments, categories, brands, to any depth.

Made from the columns of a table, one a level, or from links of a child to its parent.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from scipy import sparse
from torch import Tensor

from ple_study.data.graphs.csr import tensor

Path = tuple[str, ...]


@dataclass(frozen=True)
class Tree:
    """Nodes named by their path from the root, which is node 0 and has the path ().

    Parents stand before their children: by depth, then by path. The root stands also
    for what is not in the tree.
    """

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def index(self) -> dict[Path, int]:
        """Node of each path."""
        return {path: node for node, path in enumerate(self.paths)}

    @property
    def parent(self) -> Int64[Tensor, " node"]:
        """The node above each node; -1 for the root."""
        above = [self.index[path[:-1]] for path in self.paths[1:]]
        return torch.tensor([-1, *above], dtype=torch.int64)

    @property
    def depth(self) -> Int64[Tensor, " node"]:
        """Steps from the root, whose depth is 0."""
        return torch.tensor([len(path) for path in self.paths], dtype=torch.int64)

    @property
    def edges(self) -> Int64[Tensor, "2 edge"]:
        """Parent and child of each edge, in order of the child."""
        return torch.stack([self.parent[1:], torch.arange(1, len(self))])

    @property
    def adjacency(self) -> Float[Tensor, "node node"]:
        """One for parent and child, both ways (CSR, float64)."""
        place = tuple(self.edges.numpy())
        shape = len(self), len(self)
        half = sparse.coo_array((np.ones(len(self) - 1), place), shape)
        return tensor((half + half.T).tocsr())

    def nodes(
        self, levels: pd.DataFrame, merchant: pd.Series | None = None
    ) -> Int64[np.ndarray, " row"]:
        """The node of each row, given as to ``from_columns``; 0 where there is none."""
        paths = _rows(levels, merchant)
        return np.array([self.index.get(path, 0) for path in paths], dtype=np.int64)


def from_columns(levels: pd.DataFrame, merchant: pd.Series | None = None) -> Tree:
    """The tree whose levels are the columns, the top one first.

    A path ends where the rest of its row is missing. One name under two parents is two
    nodes, because nodes are named by path. A ``merchant`` hangs below the end of its
    row's path, as a leaf that has one place only. Give the rows that are known by the
    cut-off: what comes later is node 0.

    Raises ValueError for a table without rows or columns, for a name below a missing
    one (``filled`` gives it a parent), and for a merchant with two parents or without a
    name.
    """
    if levels.empty:
        raise ValueError(
            "A tree needs at least one row and one column. Found the shape "
            f"{levels.shape}."
        )
    paths = _rows(levels, merchant)
    if merchant is not None:
        _above((path[-1], path[:-1]) for path in paths)
    return _tree(paths)


def filled(levels: pd.DataFrame, name: str = "not known") -> pd.DataFrame:
    """The levels with ``name`` where one is missing though one below it is known.

    Such rows hang below a node of that name; what is missing at the end of a row stays
    so. Raises ValueError where a level has that name of its own: two things would
    become one.
    """
    taken = [str(column) for column in levels if (levels[column] == name).any()]
    if taken:
        raise ValueError(
            f"The name of the unknown must be no known one. Found {name!r} in {taken}."
        )
    known = levels.notna().to_numpy()
    below = np.logical_or.accumulate(known[:, ::-1], axis=1)[:, ::-1]
    return levels.mask(below & ~known, name)


def from_links(child: pd.Series, parent: pd.Series) -> Tree:
    """The tree in which each child hangs below its parent; names are unique.

    A node without a parent, or with a missing one, hangs below the root. A link that
    is given twice is one link.

    Raises ValueError for an empty table, a child without a name or with two parents,
    and a cycle.
    """
    if not len(child):
        raise ValueError("A tree needs at least one link. Found none.")
    roots = parent.isna().to_numpy()
    over = [() if top else (str(p),) for p, top in zip(parent, roots, strict=True)]
    above = _above(zip(_named(child), over, strict=True))
    try:
        order = tuple(TopologicalSorter(above).static_order())
    except CycleError as error:
        cycle = " -> ".join(error.args[1])
        raise ValueError(f"Links must lead to a root. Found {cycle}.") from error
    paths: dict[str, Path] = {}
    for name in order:  # parents first
        top = [paths[parent] for parent in above.get(name, ())]
        paths[name] = (*(top[0] if top else ()), name)
    return _tree(list(paths.values()))


def _tree(paths: list[Path]) -> Tree:
    every = {path[:end] for path in set(paths) for end in range(len(path) + 1)}
    return Tree(tuple(sorted(every, key=lambda path: (len(path), path))))


def _rows(levels: pd.DataFrame, merchant: pd.Series | None) -> list[Path]:
    """Each row's names down to the first that is missing, and its merchant's."""
    missing = levels.isna().to_numpy()
    hole = (missing[:, :-1] & ~missing[:, 1:]).any(1)
    if hole.any():
        row = int(hole.argmax())
        raise ValueError(
            "A level may be missing only where all below it are. Found "
            f"{levels.iloc[row].tolist()} in row {row}."
        )
    names = levels.astype(str).to_numpy(object).tolist()
    ends = (~missing).sum(1).tolist()
    paths: list[Path] = [tuple(r[:end]) for r, end in zip(names, ends, strict=True)]
    if merchant is None:
        return paths
    return [(*p, name) for p, name in zip(paths, _named(merchant), strict=True)]


def _named(values: pd.Series) -> list[str]:
    missing = values.isna().to_numpy()
    if missing.any():
        raise ValueError(f"A name is needed. Found none in row {missing.argmax()}.")
    return [str(value) for value in values]


def _above(links: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """What stands above each name: the one thing, or a ValueError."""
    above: dict[str, Path] = {}
    for name, over in links:
        if above.setdefault(name, over) != over:
            first, second = (" / ".join(p) or "the root" for p in (above[name], over))
            raise ValueError(
                f"A child has one parent. Found {name!r} below {first} and {second}."
            )
    return above
