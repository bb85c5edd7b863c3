"""Where a household stands in the graph of what it buys, and in the tree of products.

Both are learned from the purchases before the first training cut-off, and a row is then
placed by its own 180 days: no row finds an edge that its own future made.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ple_study.data.graphs.csr import matrix, tensor
from ple_study.data.graphs.fusion import graphs_of
from ple_study.data.graphs.visits import bipartite
from ple_study.data.journey.graphs import tree, tree_visits
from ple_study.data.journey.snapshots import PAST, Snapshot
from ple_study.experts.hgcn.expert import Places, hierarchy
from ple_study.experts.hgcn.graph import UnifiedHGCN
from ple_study.experts.lightgcn.expert import LightGCN

GRAPH = LightGCN(epochs=5, batch_size=8192, rate=0.005)
BALL = UnifiedHGCN(epochs=20, rate=0.03)


def vectors(
    shots: Sequence[Snapshot], graph: LightGCN = GRAPH, ball: UnifiedHGCN = BALL
) -> dict[str, Float[Tensor, "row _"]]:
    """The embedding "graph" and the numbers "hierarchy", in order of the snapshots.

    A merchant is a type of product, as in ``journey.graphs``.
    """
    purchases, first = shots[0].past.purchases, shots[0].cutoff
    known = tree(purchases, first)
    nodes = np.arange(len(known))
    made = graphs_of(known, tree_visits(purchases, known, first))
    met = matrix(made.bipartite)
    some = met[np.flatnonzero(np.diff(met.indptr))]  # whoever bought anything by then
    embedded, learned = graph.fit(tensor(some)), ball.fit(made.fused)
    places = Places.of(learned, known)
    found: dict[str, list[Tensor]] = {"graph": [], "hierarchy": []}
    for shot in shots:
        seen = tree_visits(purchases, known, shot.cutoff, days=PAST)
        of = torch.from_numpy(shot.households)
        found["graph"].append(embedded.newcomers(bipartite(seen)).float()[of])
        placed = hierarchy(seen, known, nodes, places, shot.cutoff)
        found["hierarchy"].append(placed[of])
    return {name: torch.cat(parts) for name, parts in found.items()}
