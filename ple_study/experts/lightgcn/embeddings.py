"""Embeddings of customers and merchants by a walk on their graph; of newcomers too."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ple_study.data.graphs.csr import matrix
from ple_study.experts.lightgcn.propagation import SymmetricGraph, layer_mean

TINY = 1e-300  # where a degree is zero, and so is what it divides


@dataclass(frozen=True)
class FittedLightGCN:
    """Embeddings of a trained graph; NaN throughout for who has no edge in it.

    through: by merchant, what it hands to a customer who visits it: layers 0 to L - 1
    summed and divided by L + 1. degree: the sum of each merchant's weights.
    """

    customers: Float[Tensor, "customer dim"]
    merchants: Float[Tensor, "merchant dim"]
    through: Float[Tensor, "merchant dim"]
    degree: Float[Tensor, " merchant"]
    losses: tuple[float, ...]

    def newcomers(
        self, weights: Float[Tensor, "row merchant"]
    ) -> Float[Tensor, "row dim"]:
        """Customers who came later, placed by the merchants that they visited (CSR).

        ``sum_i w_ui / sqrt(d_u d_i) through_i``: layers 1 to L as training would have
        them if these customers moved no merchant; of layer 0 nothing is known. Visits
        to merchants without an edge in training say nothing; NaN where none is left.

        Raises ValueError for other merchants and for a weight that is not positive.
        """
        wrong = weights.values()[~(weights.values() > 0)]
        if weights.shape[1] != len(self.degree) or len(wrong):
            raise ValueError(
                f"Newcomers visit some of {len(self.degree)} merchants, with positive "
                f"weights. Found {weights.shape[1]} merchants and the weights "
                f"{wrong[:5].tolist()}."
            )
        seen = (self.degree > 0).double()
        visits = matrix(weights.double())
        shares = self.through / self.degree.clamp_min(TINY).sqrt()[:, None]
        met = torch.from_numpy(visits @ (seen[:, None] * shares).numpy())
        total = torch.from_numpy(visits @ seen.numpy())
        # 0 / 0 is NaN: she has none.
        return (met / total.sqrt()[:, None]).to(self.through.dtype)


def embedded(
    weights: Float[Tensor, "customer merchant"],
    nodes: Float[Tensor, "node dim"],
    layers: int,
    losses: tuple[float, ...] = (),
) -> FittedLightGCN:
    """What embeddings of layer 0, customers first, come to in their graph (CSR)."""
    graph = SymmetricGraph.bipartite(weights, nodes.dtype)
    mean = layer_mean(graph, nodes, layers)
    mean = mean.masked_fill(graph.isolated[:, None], torch.nan)
    customers, merchants = weights.shape
    through = torch.zeros_like(nodes[customers:])
    if layers:
        part = layer_mean(graph, nodes, layers - 1)[customers:]
        through = part * (layers / (layers + 1))
    degree = torch.bincount(weights.col_indices(), weights.values().double(), merchants)
    halves = mean[:customers], mean[customers:]
    return FittedLightGCN(*halves, through, degree, losses)
