"""LightGCN against PyG with its own weights, and against powers of a scipy matrix."""

import numpy as np
import pytest
import torch
from scipy import sparse

from ple_study.data.graphs.csr import tensor
from ple_study.experts.lightgcn.propagation import (
    SymmetricGraph,
    layer_mean,
    neighbours,
)

peer = pytest.importorskip(
    "torch_geometric.nn",
    reason="the peer is not installed: pip install torch-geometric==2.8.1",
    exc_type=ImportError,
)

CUSTOMERS, MERCHANTS, DIM = 60, 40, 7
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
each = pytest.mark.parametrize("dtype", TOLERANCE)


def bipartite():
    rng = np.random.default_rng(0)
    dense = (rng.random((CUSTOMERS, MERCHANTS)) < 0.1).astype(np.float64)
    dense[3], dense[:, 4] = 0, 0
    return sparse.csr_array(dense)


def edge_index():
    customer, merchant = bipartite().nonzero()
    one = torch.from_numpy(np.stack([customer, merchant + CUSTOMERS])).long()
    return torch.cat([one, one.flip(0)], 1)


def nodes(dtype):
    draw = torch.Generator().manual_seed(0)
    shape = CUSTOMERS + MERCHANTS, DIM
    return torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype)


@each
def test_embeddings_are_those_of_pyg_with_the_same_weights(dtype):
    theirs = peer.LightGCN(CUSTOMERS + MERCHANTS, DIM, num_layers=3).to(dtype)
    weight = theirs.embedding.weight
    wanted = theirs.get_embedding(edge_index())
    graph = SymmetricGraph.bipartite(tensor(bipartite()), dtype)
    ours = weight.detach().clone().requires_grad_()
    found = layer_mean(graph, ours, 3)
    near = {"atol": TOLERANCE[dtype], "rtol": 0}
    torch.testing.assert_close(found, wanted, **near)
    scale = nodes(dtype)
    (found * scale).sum().backward()
    (wanted * scale).sum().backward()
    torch.testing.assert_close(ours.grad, weight.grad, **near)


@each
def test_one_layer_is_pygs(dtype):
    graph = SymmetricGraph.bipartite(tensor(bipartite()), dtype)
    wanted = peer.LGConv()(nodes(dtype), edge_index())
    found = neighbours(graph, nodes(dtype))
    torch.testing.assert_close(found, wanted, atol=TOLERANCE[dtype], rtol=0)


@each
@pytest.mark.parametrize("layers", [0, 1, 4])
def test_the_mean_is_that_of_scipys_powers(dtype, layers):
    r = bipartite()
    whole = sparse.block_array([[None, r], [r.T, None]]).tocsr()
    degree = whole.sum(axis=1)
    scale = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    once = sparse.diags_array(scale) @ whole @ sparse.diags_array(scale)
    power, total = sparse.eye_array(len(degree)).tocsr(), 0.0
    for _ in range(layers + 1):
        total = total + power @ nodes(torch.float64).numpy()
        power = power @ once
    graph = SymmetricGraph.bipartite(tensor(r), dtype)
    found = layer_mean(graph, nodes(dtype), layers).double()
    wanted = torch.from_numpy(total / (layers + 1))
    torch.testing.assert_close(found, wanted, atol=TOLERANCE[dtype], rtol=0)
