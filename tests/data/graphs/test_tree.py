"""The hierarchy of merchants against networkx and pandas, its laws and its errors."""

import time
from collections.abc import Mapping

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch

from ple_study.data.graphs.tree import Tree, from_columns, from_links

LEVELS = ["department", "category", "kind"]


def _levels(seed: int = 0, rows: int = 61) -> pd.DataFrame:
    """Three levels of 3, 4 and 5 names; some rows end before the last one."""
    rng = np.random.default_rng(seed)
    sizes = zip(LEVELS, (3, 4, 5), strict=True)
    values = {
        name: [f"{name[0]}{i}" for i in rng.integers(0, n, rows)] for name, n in sizes
    }
    frame = pd.DataFrame(values).astype(object)
    frame.loc[rng.random(rows) < 0.2, "kind"] = None
    frame.loc[frame["kind"].isna() & (rng.random(rows) < 0.5), "category"] = np.nan
    return frame


def _graph(tree: Tree) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(tree)))
    graph.add_edges_from(tree.edges.T.tolist())
    return graph


@pytest.mark.parametrize("seed", range(3))
def test_it_is_a_tree_as_networkx_sees_it(seed: int) -> None:
    tree = from_columns(_levels(seed))
    graph = _graph(tree)
    assert nx.is_arborescence(graph)
    steps = nx.single_source_shortest_path_length(graph, 0)
    assert tree.depth.tolist() == [steps[node] for node in range(len(tree))]
    for node in range(1, len(tree)):
        assert list(graph.predecessors(node)) == [int(tree.parent[node])]
    assert int(tree.parent[0]) == -1


def test_there_is_one_node_a_path() -> None:
    levels = _levels()
    tree = from_columns(levels)
    for depth in (1, 2, 3):
        wanted = levels[LEVELS[:depth]].dropna().drop_duplicates()
        found = [path for path in tree.paths if len(path) == depth]
        assert sorted(found) == sorted(wanted.itertuples(index=False, name=None))
    assert len(set(tree.paths)) == len(tree)


def test_every_path_is_its_parents_path_and_a_name() -> None:
    tree = from_columns(_levels())
    for parent, child in tree.edges.T.tolist():
        assert parent < child
        assert tree.paths[child][:-1] == tree.paths[parent]


def test_one_name_below_two_parents_is_two_nodes() -> None:
    """And a name below itself is no cycle: nodes are named by path."""
    tree = from_columns(pd.DataFrame({"a": ["misc", "food"], "b": ["misc", "misc"]}))
    wanted = ((), ("food",), ("misc",), ("food", "misc"), ("misc", "misc"))
    assert tree.paths == wanted
    assert tree.parent.tolist() == [-1, 0, 0, 1, 2]
    assert tree.depth.tolist() == [0, 1, 1, 2, 2]


def test_any_depth() -> None:
    for depth in (1, 2, 9):
        levels = pd.DataFrame([[f"l{i}" for i in range(depth)]])
        tree = from_columns(levels)
        assert tree.parent.tolist() == list(range(-1, depth))


def test_order_and_repetition_of_rows_are_irrelevant() -> None:
    levels = _levels()
    mixed = pd.concat([levels, levels[::3]]).sample(frac=1, random_state=1)
    assert from_columns(mixed) == from_columns(levels)


def test_one_more_merchant_moves_nobody_else() -> None:
    levels = _levels()
    before = from_columns(levels)
    after = from_columns(pd.concat([levels, pd.DataFrame({"department": ["zoo"]})]))
    assert set(after.paths) - set(before.paths) == {("zoo",)}
    for path, node in before.index.items():
        above = before.paths[max(int(before.parent[node]), 0)]
        new = int(after.parent[after.index[path]])
        assert after.paths[max(new, 0)] == above


def test_nodes_are_those_of_the_rows_and_zero_for_the_unseen() -> None:
    levels = _levels()
    tree = from_columns(levels)
    found = tree.nodes(levels)
    for node, row in zip(found, levels.itertuples(index=False), strict=True):
        assert tree.paths[node] == tuple(x for x in row if not pd.isna(x))
    new = pd.DataFrame([["d0", "moon", None], ["x", "c0", "k0"]], columns=LEVELS)
    assert tree.nodes(new).tolist() == [0, 0]


def test_merchants_are_leaves_below_their_rows() -> None:
    levels = _levels()
    merchant = pd.Series(range(len(levels)))
    tree = from_columns(levels, merchant)
    graph = _graph(tree)
    found = tree.nodes(levels, merchant)
    assert len(set(found)) == len(levels)
    leaves = {node for node in graph if graph.out_degree(node) == 0}
    assert set(found) == leaves
    above = tree.parent[torch.from_numpy(found)]
    np.testing.assert_array_equal(above, tree.nodes(levels))
    assert tree.nodes(levels[:2], pd.Series([0, 999])).tolist() == [found[0], 0]


def test_adjacency_counts_the_neighbours() -> None:
    tree = from_columns(_levels())
    found = tree.adjacency.to_dense()
    wanted = nx.to_numpy_array(_graph(tree).to_undirected(), range(len(tree)))
    np.testing.assert_array_equal(found, wanted)
    assert found.sum() == 2 * (len(tree) - 1)


def test_links_make_the_tree_of_their_columns() -> None:
    names = "food fruit apple food fruit pear food bread - toys - -".split()
    levels = pd.DataFrame(np.reshape(names, (4, 3))).replace("-", None)
    child = pd.Series("pear apple fruit bread toys food pear".split())
    parent = pd.Series(["fruit", "fruit", "food", "food", None, np.nan, "fruit"])
    wanted = from_columns(levels)
    assert from_links(child, parent) == wanted
    found = from_links(child[:4], parent[:4])  # food is nobody's child
    assert set(found.paths) == set(wanted.paths) - {("toys",)}


def test_a_cycle_is_named() -> None:
    child = pd.Series(["tea", "drink", "hot", "bread"])
    parent = pd.Series(["hot", "tea", "drink", None])
    with pytest.raises(ValueError, match="Links must lead to a root") as error:
        from_links(child, parent)
    for name in ("tea", "drink", "hot"):
        assert name in str(error.value)
    assert "bread" not in str(error.value)
    with pytest.raises(ValueError, match="Found tea -> tea"):
        from_links(pd.Series(["tea"]), pd.Series(["tea"]))


def test_two_parents_are_named() -> None:
    child, parent = pd.Series(["tea", "tea"]), pd.Series(["food", "toys"])
    with pytest.raises(ValueError, match="Found 'tea' below food and toys"):
        from_links(child, parent)
    with pytest.raises(ValueError, match="Found 'tea' below food and the root"):
        from_links(child, pd.Series(["food", None]))
    levels = pd.DataFrame({"a": ["food", "food"], "b": ["hot", "cold"]})
    with pytest.raises(
        ValueError, match="Found 'tea' below food / hot and food / cold"
    ):
        from_columns(levels, child)


def test_a_hole_in_a_path_is_named() -> None:
    levels = pd.DataFrame({"a": ["food", "food"], "b": ["x", None], "c": ["y", "tea"]})
    with pytest.raises(ValueError, match="may be missing only where") as error:
        from_columns(levels)
    assert "'tea'] in row 1." in str(error.value)


def test_a_merchant_or_a_child_needs_a_name() -> None:
    with pytest.raises(ValueError, match=r"A name is needed\. Found none in row 2"):
        from_columns(_levels(rows=3), pd.Series(["x", "y", None]))
    with pytest.raises(ValueError, match=r"A name is needed\. Found none in row 0"):
        from_links(pd.Series([None, "x"]), pd.Series(["y", "y"]))


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one row and one column. .* \(0, 3\)"):
        from_columns(_levels()[:0])
    with pytest.raises(ValueError, match=r"at least one link\. Found none"):
        from_links(pd.Series([]), pd.Series([]))


def test_the_products(raw: Mapping[str, pd.DataFrame]) -> None:
    """Every real product below its department, category and type, in seconds."""
    products = raw["products"]
    names = ["department", "product_category", "product_type"]
    levels = products[names].fillna("not known")
    start = time.process_time()
    tree = from_columns(levels, products["product_id"])
    found = tree.nodes(levels, products["product_id"])
    assert time.process_time() - start <= 20
    inner = sum(len(levels[names[:n]].drop_duplicates()) for n in (1, 2, 3))
    assert len(tree) == 1 + inner + len(products)
    assert (tree.depth[torch.from_numpy(found)] == 4).all()
    assert len(set(found)) == len(products)
