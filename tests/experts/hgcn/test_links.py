"""Edges, and pairs that are none."""

import numpy as np
import pytest
import torch
from scipy import sparse

from ple_study.data.graphs.csr import tensor
from ple_study.experts.hgcn.links import Links, with_itself


def graph(dense):
    return tensor(sparse.csr_array(np.asarray(dense, dtype=np.float64)))


PATH = [[0, 2, 0, 0], [2, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]  # 3 is alone


def test_a_mean_of_a_node_and_its_neighbours():
    found = with_itself(graph(PATH)).to_dense()
    wanted = torch.tensor([[1, 2, 0, 0], [2, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
    wanted = wanted.double() / wanted.sum(1, keepdim=True)
    torch.testing.assert_close(found, wanted)


def test_edges_weigh_one_in_the_mean_and_no_pair_drawn_is_one():
    links = Links(graph(PATH))
    assert links.pairs.T.tolist() == [[0, 1], [1, 0], [1, 2], [2, 1]]
    torch.testing.assert_close(links.weights, torch.tensor([4.0, 4, 2, 2]) / 3)
    draw = torch.Generator().manual_seed(0)
    apart = torch.cat([links.apart(draw) for _ in range(100)], 1)
    found = {tuple(pair) for pair in apart.T.tolist()}
    free = {(i, j) for i in range(4) for j in range(4) if i != j and not PATH[i][j]}
    assert found == free


@pytest.mark.plain
@pytest.mark.parametrize(
    ("dense", "found"),
    [
        (np.ones((2, 3)), r"shape \(2, 3\)"),
        (np.zeros((3, 3)), r"shape \(3, 3\) and weights \[\]"),
        ([[0, np.nan], [1, 0]], r"\[nan, 1\.0\]"),
        ([[0, -1], [1, 0]], r"\[-1\.0, 1\.0\]"),
    ],
)
def test_other_graphs_are_refused(dense, found):
    with pytest.raises(ValueError, match=rf"square.*positive and finite.*{found}"):
        Links(graph(dense))


def test_a_graph_of_all_edges_has_no_pair_to_draw():
    with pytest.raises(ValueError, match="not all"):
        Links(graph(1 - np.eye(3)))
