"""Weights spread over a symmetric graph, forward and backward by one and the same walk.

He et al., LightGCN (SIGIR 2020), equations 3, 4 and 8. ``A`` is a sparse matrix in
compressed rows (CSR) with ``A' = A``, so no transpose is ever made.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from ple_study.data.graphs.csr import matrix, normalised, square

CLOSE = 1e-6  # of the largest weight: a float32 matrix may be that far from symmetric


@dataclass(frozen=True)
class SymmetricGraph:
    """A weighted graph without direction: ``adjacency`` is CSR and its own transpose.

    Raises ValueError for a matrix that is not square, has a weight that is not finite,
    or is not symmetric.
    """

    adjacency: Float[Tensor, "node node"]

    def __post_init__(self) -> None:
        rows, columns = self.adjacency.shape
        weights = self.adjacency.values()
        if rows != columns or not weights.isfinite().all():
            raise ValueError(
                "An adjacency is square and its weights are finite. Found the shape "
                f"{(rows, columns)} and {int((~weights.isfinite()).sum())} weights "
                "that are not finite."
            )
        given = matrix(self.adjacency)
        apart = abs(given - given.T).max() if given.nnz else 0.0
        if apart > CLOSE * abs(given).max():
            raise ValueError(
                "An adjacency must equal its transpose. Found weights that are "
                f"{apart:.3g} apart. Give edges both ways."
            )

    @classmethod
    def bipartite(
        cls, weights: Float[Tensor, "row column"], dtype: torch.dtype = torch.float32
    ) -> "SymmetricGraph":
        """D^-1/2 [[0, R], [R', 0]] D^-1/2 of the weights R: rows first, then columns.

        A node without an edge keeps an empty row. Raises ValueError for a weight that
        is not positive.
        """
        scaled = normalised(square(weights.double()))
        # Half as much to read as int64, and enough for 2^31 edges.
        crow = scaled.crow_indices().to(torch.int32)
        column = scaled.col_indices().to(torch.int32)
        parts = crow, column, scaled.values().to(dtype)
        shape = tuple(scaled.shape)
        return cls(torch.sparse_csr_tensor(*parts, shape, check_invariants=True))

    def __len__(self) -> int:
        return self.adjacency.shape[0]

    @property
    def isolated(self) -> Bool[Tensor, " node"]:
        """The nodes that no edge reaches."""
        return self.adjacency.crow_indices().diff() == 0


def neighbours(
    graph: SymmetricGraph, nodes: Float[Tensor, "node dim"]
) -> Float[Tensor, "node dim"]:
    """``A x``: of each node, the weighted sum of its neighbours."""
    adjacency = graph.adjacency
    if nodes.dtype != torch.float32 or not nodes.is_cpu:
        return adjacency @ nodes
    # On a CPU the float32 kernel of embedding bags is about twice as fast.
    return F.embedding_bag(
        adjacency.col_indices(),
        nodes,
        adjacency.crow_indices(),
        mode="sum",
        per_sample_weights=adjacency.values(),
        include_last_offset=True,
    )


def layer_mean(
    graph: SymmetricGraph, nodes: Float[Tensor, "node dim"], layers: int = 3
) -> Float[Tensor, "node dim"]:
    """``p(A) x = (x + A x + ... + A^L x) / (L + 1)`` with L ``layers``: LightGCN.

    Layer 0, the nodes themselves, is part of the mean; there is no self loop, no weight
    and no activation. The gradient is ``p(A)' g = p(A) g``: the same walk, for which
    nothing is kept.

    Raises ValueError for fewer than 0 layers and for other nodes than the graph has.
    """
    if layers < 0 or len(nodes) != len(graph):
        raise ValueError(
            f"Nodes must be the {len(graph)} of the graph, and layers 0 or more. Found "
            f"{len(nodes)} nodes and {layers} layers."
        )
    mean: Tensor = _LayerMean.apply(nodes, graph, layers)  # type: ignore[no-untyped-call]
    return mean


class _LayerMean(Function):
    @staticmethod
    def forward(ctx: Any, nodes: Tensor, graph: SymmetricGraph, layers: int) -> Tensor:
        ctx.graph, ctx.layers = graph, layers
        # Horner's scheme: x + A (x + A (x + ...)).
        total = nodes
        for _ in range(layers):
            total = neighbours(graph, total).add_(nodes)
        return total / (layers + 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        mean = _LayerMean.apply(grad, ctx.graph, ctx.layers)  # type: ignore[no-untyped-call]
        return mean, None, None
