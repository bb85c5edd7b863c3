"""Where customers stand in the graph of payments and in the tree of merchants.

Both are learned offline, from training customers; whoever comes is then placed by what
she paid. The graph is of the days that the payments' series shows, and tells which
brands she likes; the tree is of the days before them, and tells which categories.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ple_study.data.graphs.fusion import graphs_of
from ple_study.data.graphs.visits import Visits, bipartite
from ple_study.data.log import Log
from ple_study.data.world.events import first_shown
from ple_study.data.world.plan import Plan
from ple_study.data.world.sizes import Size
from ple_study.experts.hgcn.expert import Places, hierarchy, number_names
from ple_study.experts.hgcn.graph import UnifiedHGCN
from ple_study.experts.lightgcn.embeddings import FittedLightGCN
from ple_study.experts.lightgcn.expert import LightGCN
from ple_study.schema import Vector

GRAPH, BALL = 64, 8  # dimensions of the embedding, and of the learned ball
VECTORS = (
    Vector(name="graph", dim=GRAPH),
    Vector(name="hierarchy", dim=len(number_names(BALL))),
)


@dataclass(frozen=True)
class FittedVectors:
    """What training customers taught: embeddings of merchants, and places of nodes."""

    graph: FittedLightGCN
    places: Places

    def of(
        self, plan: Plan, size: Size, card: Log
    ) -> dict[str, Float[Tensor, "customer _"]]:
        """``VECTORS`` of customers by their payments; NaN for who has none then."""
        begin = first_shown(size)
        early = in_tree(plan, card.until(begin))
        nodes = np.arange(len(plan.tree))
        found = hierarchy(early, plan.tree, nodes, self.places, begin)
        recent = bipartite(card.since(begin).visits)
        return {"graph": self.graph.newcomers(recent).float(), "hierarchy": found}


def fit_vectors(plan: Plan, size: Size, card: Log, seed: int) -> FittedVectors:
    """Learn from the payments of training customers."""
    begin, tree = first_shown(size), plan.tree
    graph = LightGCN(dim=GRAPH, epochs=10, seed=seed)
    ball = UnifiedHGCN(dim=BALL, epochs=20, rate=0.03, seed=seed)
    learned = ball.fit(graphs_of(tree, in_tree(plan, card.until(begin))).fused)
    return FittedVectors(
        graph.fit(bipartite(card.since(begin).visits)),
        Places.of(learned, tree),
    )


def in_tree(plan: Plan, log: Log) -> Visits:
    """Payments as visits to nodes of the tree: merchant m is its m-th leaf."""
    seen, nodes = log.visits, len(plan.tree)
    at = seen.merchant + nodes - len(plan.leaves) - 1
    return Visits(seen.customer, at, seen.day, seen.amount, log.num_customers, nodes)
