"""Normalisation against networkx and dense algebra, and its laws."""

import networkx as nx
import numpy as np
import pytest
import torch
from scipy import sparse

from ple_study.data.graphs.csr import matrix, normalised, square, tensor
from ple_study.data.graphs.visits import bipartite
from tests.data.graphs.purchases import CUSTOMERS, KEYS, random_events, seen

NODES = CUSTOMERS + len(KEYS) + 1


def _weights() -> torch.Tensor:
    return bipartite(seen(random_events()), "amount")


def test_square_holds_both_halves() -> None:
    weights = _weights().to_dense()
    found = square(_weights()).to_dense()
    wanted = np.zeros((NODES, NODES))
    wanted[:CUSTOMERS, CUSTOMERS:] = weights
    wanted[CUSTOMERS:, :CUSTOMERS] = weights.T
    np.testing.assert_array_equal(found, wanted)


def test_normalised_is_what_networkx_says() -> None:
    adjacency = square(_weights())
    graph = nx.from_scipy_sparse_array(matrix(adjacency))
    laplacian = nx.normalized_laplacian_matrix(graph).toarray()
    np.fill_diagonal(laplacian, 0)
    np.testing.assert_allclose(normalised(adjacency).to_dense(), -laplacian, atol=1e-14)


def test_normalised_is_what_dense_algebra_says() -> None:
    dense = square(_weights()).to_dense().numpy()
    degree = dense.sum(1)
    root = np.diag([0 if d == 0 else d**-0.5 for d in degree])
    found = normalised(square(_weights())).to_dense()
    np.testing.assert_allclose(found, root @ dense @ root, atol=1e-14)


def test_the_roots_of_the_degrees_stay_as_they_are() -> None:
    adjacency = square(_weights())
    root = adjacency.to_dense().sum(1).sqrt()
    torch.testing.assert_close(normalised(adjacency) @ root, root)
    values = torch.linalg.eigvalsh(normalised(adjacency).to_dense())
    assert values.abs().max() == pytest.approx(1)


def test_normalising_the_bipartite_half_is_enough() -> None:
    whole = normalised(square(_weights())).to_dense()
    half = normalised(_weights()).to_dense()
    torch.testing.assert_close(half, whole[:CUSTOMERS, CUSTOMERS:])


def test_a_symmetric_graph_stays_symmetric_to_the_last_bit() -> None:
    found = normalised(square(_weights())).to_dense()
    assert torch.equal(found, found.T)


def test_nodes_without_an_edge_keep_their_place() -> None:
    found = normalised(square(_weights())).to_dense()
    assert found.isfinite().all()
    alone = [CUSTOMERS - 1, CUSTOMERS, NODES - 1]  # the last, the unknown, the zoo
    assert found[alone].eq(0).all()
    assert found.sum(1).eq(0).sum() == len(alone)


def test_tensor_and_matrix_are_inverse() -> None:
    weights = _weights()
    again = tensor(matrix(weights))
    assert again.layout == torch.sparse_csr
    assert torch.equal(again.to_dense(), weights.to_dense())
    assert torch.equal(again.col_indices(), weights.col_indices())


def test_tensor_sums_duplicates_and_drops_zeros() -> None:
    parts = np.array([1.0, 2.0, 0.0, 4.0]), [2, 2, 1, 0], [0, 3, 4]
    found = tensor(sparse.csr_array(parts, (2, 3)))
    assert found.values().tolist() == [3.0, 4.0]
    assert found.to_dense().tolist() == [[0.0, 0.0, 3.0], [4.0, 0.0, 0.0]]


def test_the_dtype_is_kept() -> None:
    assert normalised(_weights().float()).dtype == torch.float32


def test_a_weight_that_is_not_positive_is_refused() -> None:
    wrong = tensor(sparse.csr_array(np.array([[1.0, -2.5]])))
    with pytest.raises(ValueError, match=r"must be positive\. Found -2\.5\."):
        normalised(wrong)
