"""A walk on a symmetric graph, and its gradient, which is the same walk."""

import numpy as np
import pytest
import torch
from scipy import sparse

from ple_study.data.graphs.csr import tensor
from ple_study.experts.lightgcn.propagation import SymmetricGraph, layer_mean

CUSTOMERS, MERCHANTS, DIM = 5, 7, 6


def weights(seed=0, dtype=np.float64):
    """Customer 3 and merchant 0 have no edge."""
    rng = np.random.default_rng(seed)
    dense = rng.integers(0, 4, (CUSTOMERS, MERCHANTS)) * (
        rng.random((CUSTOMERS, MERCHANTS)) < 0.6
    )
    dense[3], dense[:, 0] = 0, 0
    return tensor(sparse.csr_array(dense.astype(dtype)))


def dense_adjacency(graph):
    return graph.adjacency.to_dense().double()


def graph_of(dtype=torch.float64):
    return SymmetricGraph.bipartite(weights(), dtype)


def nodes_of(graph, dtype=torch.float64, dim=DIM):
    draw = torch.Generator().manual_seed(1)
    return torch.randn(len(graph), dim, generator=draw, dtype=dtype)


def test_a_bipartite_graph_is_normalised_by_both_degrees():
    found = dense_adjacency(graph_of())
    r = weights().to_dense()
    d, e = r.sum(1), r.sum(0)
    wanted = torch.zeros(12, 12, dtype=torch.float64)
    for u in range(CUSTOMERS):
        for i in range(MERCHANTS):
            if r[u, i]:
                wanted[u, 5 + i] = wanted[5 + i, u] = r[u, i] / (d[u] * e[i]).sqrt()
    torch.testing.assert_close(found, wanted, atol=1e-15, rtol=0)
    assert graph_of().isolated.nonzero()[:, 0].tolist() == [3, 5]


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("dtype", "near"), [(torch.float32, 1e-6), (torch.float64, 1e-12)]
)
def test_the_mean_of_layers_is_the_polynomial_of_the_matrix(layers, dtype, near):
    graph = graph_of(dtype)
    nodes = nodes_of(graph, dtype)
    powers = [
        torch.linalg.matrix_power(dense_adjacency(graph), k) for k in range(layers + 1)
    ]
    wanted = torch.stack(powers).mean(0) @ nodes.double()
    found = layer_mean(graph, nodes, layers)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), wanted, atol=near, rtol=0)


@pytest.mark.parametrize(
    ("dtype", "near"), [(torch.float32, 1e-6), (torch.float64, 1e-12)]
)
def test_the_gradient_is_that_of_the_dense_product(dtype, near):
    graph = graph_of(dtype)
    nodes = nodes_of(graph, dtype).requires_grad_()
    scale = nodes_of(graph, dtype).roll(1, 0)
    (layer_mean(graph, nodes, 3) * scale).sum().backward()
    dense = nodes.detach().double().requires_grad_()
    a = dense_adjacency(graph)
    mean = (dense + a @ dense + a @ a @ dense + a @ a @ a @ dense) / 4
    (mean * scale.double()).sum().backward()
    torch.testing.assert_close(nodes.grad.double(), dense.grad, atol=near, rtol=0)


def test_first_and_second_derivatives_agree_with_differences():
    graph = graph_of()
    nodes = nodes_of(graph, dim=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: layer_mean(graph, x, 2), nodes)
    assert torch.autograd.gradgradcheck(lambda x: layer_mean(graph, x, 2) ** 2, nodes)


def test_a_node_without_an_edge_hears_nobody():
    graph, layers = graph_of(torch.float32), 3
    nodes = nodes_of(graph, torch.float32)
    found = layer_mean(graph, nodes, layers)
    alone = graph.isolated
    torch.testing.assert_close(found[alone], nodes[alone] / (layers + 1))
    assert found.isfinite().all()


def test_parts_of_a_graph_do_not_hear_each_other():
    two = sparse.block_diag([np.ones((2, 3)), np.ones((3, 2))]).tocsr()
    graph = SymmetricGraph.bipartite(tensor(sparse.csr_array(two)))
    nodes = nodes_of(graph, torch.float32)
    other = nodes.clone()
    other[:2] += 1.0  # customers of the first part
    moved = (layer_mean(graph, nodes) - layer_mean(graph, other)).abs().sum(1) > 0
    assert moved.nonzero()[:, 0].tolist() == [0, 1, 5, 6, 7]


def test_a_graph_with_a_direction_is_refused():
    one_way = tensor(sparse.csr_array(np.array([[0.0, 1.0], [0.0, 0.0]])))
    with pytest.raises(ValueError, match=r"equal its transpose.*1 apart.*both ways"):
        SymmetricGraph(one_way)
    lop_sided = tensor(sparse.csr_array(np.array([[0.0, 1.0], [1.01, 0.0]])))
    with pytest.raises(ValueError, match="transpose"):
        SymmetricGraph(lop_sided)


@pytest.mark.plain
def test_other_bad_graphs_are_refused():
    with pytest.raises(ValueError, match=r"square.*shape \(5, 7\)"):
        SymmetricGraph(weights())
    holed = sparse.csr_array(np.array([[0.0, np.nan], [np.nan, 0.0]]))
    with pytest.raises(ValueError, match="2 weights that are not finite"):
        SymmetricGraph(tensor(holed))
    with pytest.raises(ValueError, match=r"must be positive\. Found -1"):
        SymmetricGraph.bipartite(tensor(sparse.csr_array(-np.ones((2, 3)))))


def test_other_nodes_and_layers_are_refused():
    graph = graph_of()
    with pytest.raises(ValueError, match=r"the 12 of the graph.*11 nodes and 3 layers"):
        layer_mean(graph, nodes_of(graph)[:-1])
    with pytest.raises(ValueError, match="12 nodes and -1 layers"):
        layer_mean(graph, nodes_of(graph), -1)
