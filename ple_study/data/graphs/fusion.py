"""One graph of two kinds of edge: the hierarchy of merchants and their co-visits.

The hierarchy says what a merchant is, co-visits how it is used. Chami et al., HGCN
(NeurIPS 2019), aggregate over one adjacency; here it is ``A_tree + scale * A_cov``.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64
from scipy import sparse
from torch import Tensor

from ple_study.data.graphs.covisits import covisits
from ple_study.data.graphs.csr import matrix, tensor
from ple_study.data.graphs.tree import Tree
from ple_study.data.graphs.visits import Visits, bipartite


class Graphs(NamedTuple):
    """Customer by node, node by node by co-visit, and node by node by both kinds."""

    tree: Tree
    bipartite: Float[Tensor, "customer merchant"]
    covisits: Float[Tensor, "merchant merchant"]
    fused: Float[Tensor, "node node"]


def graphs_of(tree: Tree, visits: Visits) -> Graphs:
    """All graphs of visits whose merchants are nodes of the tree.

    ``bipartite`` counts visits; ``fused`` is ``A_tree + 0.5 A_cov``.
    """
    met = covisits(visits)
    return Graphs(tree, bipartite(visits), met, fuse(tree, met, np.arange(len(tree))))


def fuse(
    tree: Tree,
    covisits: Float[Tensor, "merchant merchant"],
    node: Int64[np.ndarray, " merchant"],
    *,
    scale: float = 0.5,
    row_normalised: bool = False,
) -> Float[Tensor, "node node"]:
    """A_tree + scale * A_cov over the nodes of the tree (CSR, float64).

    node: where each merchant of ``covisits`` stands in the tree; 0, the root, for those
    that it does not know, whose co-visits are left out.
    scale: the weight of a merchant's co-visits together, where an edge of the tree
    weighs 1.

    Each row of A_cov is first divided by its sum, so that how often people shop does
    not outweigh what things are; any ``scale`` that ``covisits`` was made with cancels.
    Merchants that share a node add up there. A_cov has no loop, and is not symmetric.
    With ``row_normalised`` each row of the result is divided by its sum as well, so
    that a neighbourhood is a weighted mean.

    Raises ValueError for a matrix that is not square or has a weight that is not
    positive, for nodes of another number than merchants or outside the tree, and for a
    scale that is not zero or more and finite.
    """
    _check(tree, covisits, node, scale)
    known = np.flatnonzero(node > 0)
    place = sparse.coo_array(
        (np.ones(len(known)), (known, node[known])), (len(node), len(tree))
    ).tocsr()
    met = (place.T @ matrix(covisits) @ place).tocsr()
    met = (met - sparse.diags_array(met.diagonal())).tocsr()
    fused = (matrix(tree.adjacency) + scale * _mean(met)).tocsr()
    return tensor(_mean(fused) if row_normalised else fused)


def _mean(weights: sparse.csr_array) -> sparse.csr_array:
    """Each row over its sum; a row without an edge stays empty."""
    sums = weights.sum(axis=1)
    over = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0)
    return (sparse.diags_array(over) @ weights).tocsr()


def _check(tree: Tree, covisits: Tensor, node: np.ndarray, scale: float) -> None:
    shape = tuple(covisits.shape)
    if shape != (len(node), len(node)):
        raise ValueError(
            f"Co-visits must be between the {len(node)} merchants that have a node. "
            f"Found the shape {shape}."
        )
    weights = covisits.values()
    if not ((weights > 0) & weights.isfinite()).all():
        raise ValueError(
            f"Weights must be positive and finite. Found {float(weights.min())}."
        )
    wrong = node[(node < 0) | (node >= len(tree))]
    if len(wrong):
        raise ValueError(
            f"Merchants must stand at nodes 0..{len(tree) - 1}. Found {wrong[0]}."
        )
    if not 0 <= scale < np.inf:
        raise ValueError(f"The scale must be zero or more and finite. Found {scale}.")
