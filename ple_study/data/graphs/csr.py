"""Sparse matrices of graphs: to and from scipy, both halves of a graph, normalisation.

All are compressed sparse rows (CSR), ``torch.sparse_csr``, columns in order.
"""

import warnings

import numpy as np
import torch
from jaxtyping import Float
from scipy import sparse
from torch import Tensor


def square(
    weights: Float[Tensor, "customer merchant"],
) -> Float[Tensor, "node node"]:
    """The adjacency A = [[0, R], [R', 0]] of R: customers first, then merchants."""
    block = matrix(weights)
    return tensor(sparse.block_array([[None, block], [block.T, None]]).tocsr())


def normalised(weights: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
    """The symmetric normalisation D^-1/2 A D^-1/2 of LightGCN (CSR, as ``weights``).

    a_ij / sqrt(d_i d_j) with the sums d_i of row i and d_j of column j: of a symmetric
    A that is D^-1/2 A D^-1/2, and of the bipartite R its upper right block. A node
    without an edge keeps an empty row. Raises ValueError for a weight that is not
    positive.
    """
    found = weights.values()
    if not (found > 0).all():
        raise ValueError(f"Weights must be positive. Found {float(found.min())}.")
    (rows, columns), (num_rows, num_columns) = _places(weights), weights.shape
    of_row = torch.bincount(rows, found, num_rows)[rows]
    of_column = torch.bincount(columns, found, num_columns)[columns]
    scaled = found / (of_row * of_column).sqrt()
    parts = weights.crow_indices(), columns, scaled.to(found.dtype)
    return _csr(parts, tuple(weights.shape))


def tensor(weights: sparse.csr_array) -> Float[Tensor, "row column"]:
    """A scipy matrix as a CSR tensor: columns in order, duplicates summed, no zeros."""
    tidy = weights.copy()
    tidy.sum_duplicates()
    tidy.eliminate_zeros()
    places = (part.astype(np.int64) for part in (tidy.indptr, tidy.indices))
    crow, column = map(torch.from_numpy, places)
    return _csr((crow, column, torch.from_numpy(tidy.data)), tidy.shape)


def matrix(weights: Float[Tensor, "row column"]) -> sparse.csr_array:
    """A CSR tensor as a scipy matrix."""
    parts = weights.values(), weights.col_indices(), weights.crow_indices()
    return sparse.csr_array(tuple(p.numpy() for p in parts), tuple(weights.shape))


def _csr(parts: tuple[Tensor, Tensor, Tensor], shape: tuple[int, ...]) -> Tensor:
    with warnings.catch_warnings():
        # Torch says once that CSR is "in beta state"; nothing here depends on more.
        warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
        return torch.sparse_csr_tensor(*parts, shape, check_invariants=True)


def _places(weights: Tensor) -> tuple[Tensor, Tensor]:
    numbers = weights.crow_indices().diff()
    return torch.arange(len(numbers)).repeat_interleave(numbers), weights.col_indices()
