"""The households and what they buy as graphs, from the days before a cut-off alone.

A merchant is here a node of the tree of products: the type of a product where it is
known, such as SPECIALTY COOKIES, else the last level above it that is. Types are few
enough to be met by many households, and many enough to tell households apart. So the
tree, the bipartite graph and the co-visits number their nodes alike, and node 0, the
root, stands for the products that are not in the tree.
"""

import numpy as np
import pandas as pd

from ple_study.data.graphs.fusion import Graphs, graphs_of
from ple_study.data.graphs.tree import Tree, filled, from_columns
from ple_study.data.graphs.visits import Merchants, Visits, visits
from ple_study.data.journey.habits import named
from ple_study.data.journey.snapshots import FIRST
from ple_study.data.journey.tables import Codes, Purchases, read
from ple_study.data.journey.windows import Window

LEVELS = ("department", "category", "type")


def graphs(purchases: Purchases | None = None, cutoff: int = FIRST["train"]) -> Graphs:
    """All graphs of the households, as known on day ``cutoff``.

    The default is the first training cut-off, so that no row of the study, of whatever
    part, finds an edge that its own future made. Row ``i`` of ``bipartite`` is the
    household with ``Batch.customer == i``, and counts how often it bought at each
    merchant; who bought nothing yet has an empty row. ``fused`` is ``A_tree + 0.5
    A_cov``.
    """
    purchases = purchases if purchases is not None else read()
    known = tree(purchases, cutoff)
    return graphs_of(known, tree_visits(purchases, known, cutoff))


def tree(purchases: Purchases, cutoff: int = FIRST["train"]) -> Tree:
    """Departments, categories and types of the products sold before day ``cutoff``.

    A product whose type is known and its category not hangs below one "not known".
    """
    _, levels = _levels(Window(purchases, 0, cutoff))
    return from_columns(filled(levels))


def tree_visits(
    purchases: Purchases, tree: Tree, cutoff: int, days: int | None = None
) -> Visits:
    """Every line before day ``cutoff`` as a visit to its node; 0 where not in ``tree``.

    Amounts are the dollars of the line. With ``days`` only those of so many last days.
    """
    past = Window(purchases, 0 if days is None else cutoff - days, cutoff)
    row, levels = _levels(past)
    events = pd.DataFrame(
        {
            "customer": past.lines["household"].to_numpy(),
            "merchant": tree.nodes(filled(levels))[row],
            "day": past.lines["day"].to_numpy(),
            "amount": past.lines["sales"].to_numpy(),
        }
    )
    merchants = Merchants(pd.RangeIndex(1, len(tree)))
    return visits(events, merchants, purchases.num_households, cutoff, unseen="unknown")


def _levels(past: Window) -> tuple[Codes, pd.DataFrame]:
    """Of each line, its row in the table of distinct names, and that table."""
    codes = past.lines[list(LEVELS)].to_numpy()
    sizes = [len(past.purchases.names[level]) + 1 for level in LEVELS]
    keys, row = np.unique(
        np.ravel_multi_index(tuple(codes.T + 1), sizes), return_inverse=True
    )
    names = {
        level: named(past.purchases.names[level], code - 1)
        for level, code in zip(LEVELS, np.unravel_index(keys, sizes), strict=True)
    }
    return row, pd.DataFrame(names)
