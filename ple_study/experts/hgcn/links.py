"""What joins two nodes of a graph, and what does not: examples for a decoder."""

import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from ple_study.data.graphs.csr import matrix, tensor
from ple_study.experts.lightgcn.bpr import Visited


def with_itself(weights: Float[Tensor, "node node"]) -> Float[Tensor, "node node"]:
    """``A + I``, each row over its sum (CSR): a mean of a node and its neighbours.

    A node without an edge is its own mean.
    """
    whole = matrix(weights.double()) + sparse.eye_array(weights.shape[0])
    over = sparse.diags_array(1 / whole.sum(axis=1))
    return tensor((over @ whole).tocsr()).to(weights.dtype)


class Links:
    """The edges of a graph, and pairs that are none: what a decoder learns to tell.

    Raises ValueError for a graph that is not square, without an edge, with a weight
    that is not positive and finite, and where every two nodes are linked.
    """

    def __init__(self, weights: Float[Tensor, "node node"]) -> None:
        rows, columns = weights.shape
        found = weights.values()
        if (
            rows != columns
            or not len(found)
            or not ((found > 0) & found.isfinite()).all()
        ):
            raise ValueError(
                "A graph is square, with one edge or more and weights that are "
                f"positive and finite. Found the shape {(rows, columns)} and weights "
                f"{found[:5].tolist()}."
            )
        self.pairs = _pairs(weights)
        self.weights = (found / found.mean()).float()
        loops = sparse.eye_array(rows)
        self.known = Visited(tensor((matrix(weights.double()) + loops).tocsr()))

    def apart(self, draw: torch.Generator) -> Int[Tensor, "2 pair"]:
        """As many pairs as there are edges; none is an edge, or a node and itself."""
        pairs = self.known.draw(len(self.weights), draw)
        return torch.stack([pairs.customer, pairs.other])


def _pairs(weights: Tensor) -> Tensor:
    numbers = weights.crow_indices().diff()
    row = torch.arange(len(numbers)).repeat_interleave(numbers)
    return torch.stack([row, weights.col_indices()])
