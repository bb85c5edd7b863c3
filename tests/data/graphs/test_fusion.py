"""The hierarchy and the co-visits as one graph, against dense loops, and bad input."""

import numpy as np
import pandas as pd
import pytest
import torch

from ple_study.data.graphs.covisits import covisits
from ple_study.data.graphs.csr import matrix, tensor
from ple_study.data.graphs.fusion import fuse
from ple_study.data.graphs.tree import Tree, from_columns
from tests.data.graphs.purchases import KEYS, random_events, seen

KINDS = ["food", "fun", "gift", "car", "fun", "fun", "food"]  # of the shops but the zoo
TREE = from_columns(pd.DataFrame({"kind": KINDS}), pd.Series(KEYS[:-1]))
# Of each merchant; the unknown one and the zoo have no place.
NODE = np.array(
    [0, *(TREE.index[k, shop] for k, shop in zip(KINDS, KEYS, strict=False)), 0]
)


def _covisits(scale: float = 0.5) -> torch.Tensor:
    return covisits(seen(random_events()), scale=scale)


def _slow(tree: Tree, met: torch.Tensor, node: np.ndarray, scale: float) -> np.ndarray:
    between = np.zeros((len(tree), len(tree)))
    for a, one in enumerate(node):
        for b, other in enumerate(node):
            if one > 0 and other > 0 and one != other:
                between[one, other] += met[a, b]
    for row in between:
        row /= row.sum() or 1.0
    edges = np.zeros_like(between)
    for child, parent in enumerate(tree.parent.tolist()):
        if parent >= 0:
            edges[child, parent] = edges[parent, child] = 1
    return edges + scale * between


@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0])
def test_it_is_the_sum_of_both(scale: float) -> None:
    met = _covisits()
    found = fuse(TREE, met, NODE, scale=scale)
    assert found.layout == torch.sparse_csr
    wanted = _slow(TREE, met.to_dense(), NODE, scale)
    np.testing.assert_allclose(found.to_dense(), wanted, rtol=1e-12, atol=1e-15)
    over = fuse(TREE, met, NODE, scale=scale, row_normalised=True).to_dense()
    wanted /= wanted.sum(1, keepdims=True)
    np.testing.assert_allclose(over, wanted, rtol=1e-12, atol=1e-15)


def test_the_scale_of_the_co_visits_enters_once() -> None:
    """A merchant's co-visits weigh ``scale`` together, however they were scaled."""
    one, other = (fuse(TREE, _covisits(scale), NODE) for scale in (0.5, 8.0))
    torch.testing.assert_close(one.to_dense(), other.to_dense())
    extra = (matrix(one) - matrix(TREE.adjacency)).sum(axis=1)
    met = np.isin(np.arange(len(TREE)), NODE[NODE > 0])
    np.testing.assert_allclose(extra, 0.5 * met, atol=1e-12)


def test_merchants_of_one_node_add_up_and_do_not_meet_themselves() -> None:
    kinds = from_columns(pd.DataFrame({"kind": KINDS}))
    node = np.array([0, *(kinds.index[(kind,)] for kind in KINDS), 0])
    met = _covisits()
    found = fuse(kinds, met, node).to_dense()
    wanted = _slow(kinds, met.to_dense(), node, 0.5)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert not found.diagonal().any()


def test_a_merchant_without_a_place_is_left_out() -> None:
    garage = TREE.index["car", "garage"]
    node = np.where(garage == NODE, 0, NODE)
    met = _covisits()
    assert met.to_dense()[node == 0].any()
    found = fuse(TREE, met, node).to_dense()
    wanted = _slow(TREE, met.to_dense(), node, 0.5)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert torch.equal(found[0], TREE.adjacency.to_dense()[0])


def test_without_co_visits_the_tree_is_left() -> None:
    nothing = tensor(0 * matrix(_covisits()))
    found = fuse(TREE, nothing, NODE)
    assert torch.equal(found.to_dense(), TREE.adjacency.to_dense())
    nowhere = fuse(TREE, _covisits(), np.zeros_like(NODE))
    assert torch.equal(nowhere.to_dense(), TREE.adjacency.to_dense())


def _negative() -> torch.Tensor:
    return tensor(-matrix(_covisits()))


BAD = {
    "weights": (_negative, NODE, 0.5, "must be positive and finite. Found -"),
    "outside": (_covisits, NODE + len(TREE) - 1, 0.5, r"at nodes 0\.\.11. Found 1"),
    "below": (_covisits, NODE - 1, 0.5, r"at nodes 0\.\.11. Found -1"),
    "scale": (_covisits, NODE, -0.1, "zero or more and finite. Found -0.1"),
    "infinite": (_covisits, NODE, float("inf"), "zero or more and finite. Found inf"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name: str) -> None:
    make, node, scale, message = BAD[name]
    assert len(TREE) == 12
    with pytest.raises(ValueError, match=message):
        fuse(TREE, make(), node, scale=scale)


@pytest.mark.plain
def test_each_merchant_needs_a_node() -> None:
    with pytest.raises(ValueError, match=r"between the 8 merchants .*\(9, 9\)"):
        fuse(TREE, _covisits(), NODE[:-1])
