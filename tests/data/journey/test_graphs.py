"""The households' graphs against pandas on the raw lines, and what they cost."""

import time

import numpy as np
import pandas as pd
import pytest
import torch

from ple_study.data.graphs.csr import matrix
from ple_study.data.graphs.tree import Tree
from ple_study.data.journey.graphs import Graphs, graphs, tree, tree_visits
from ple_study.data.journey.tables import Purchases
from ple_study.data.loader import Study

CUTOFF = 197
LEVELS = ["department", "product_category", "product_type"]


@pytest.fixture(scope="module")
def built(purchases: Purchases) -> tuple[Graphs, float]:
    start = time.process_time()
    return graphs(purchases), time.process_time() - start


@pytest.fixture(scope="module")
def found(built: tuple[Graphs, float]) -> Graphs:
    return built[0]


@pytest.fixture(scope="module")
def placed(found: Graphs, lines: pd.DataFrame) -> pd.DataFrame:
    """The lines before the cut-off with the node of their product."""
    past = lines[lines["day"] < CUTOFF].copy()
    hole = past["product_category"].isna() & past["product_type"].notna()
    past.loc[hole, "product_category"] = "not known"
    table = past[LEVELS].drop_duplicates()
    paths = [tuple(n for n in row if not pd.isna(n)) for row in table.to_numpy()]
    node = [found.tree.index[path] for path in paths]
    return past.merge(table.assign(node=node), on=LEVELS, how="left")


def test_twenty_seconds_are_enough(built: tuple[Graphs, float]) -> None:
    print(f"{built[1]:.1f} s of one core")
    assert built[1] < 20


def test_the_tree_holds_what_was_sold_before_the_cut_off(
    found: Graphs, placed: pd.DataFrame
) -> None:
    bought = {found.tree.paths[node] for node in set(placed["node"])}
    above = {path[:end] for path in bought for end in range(len(path))}
    assert bought | above == set(found.tree.paths)
    assert int(found.tree.depth.max()) == 3
    unknown = [path for path in found.tree.paths if "not known" in path]
    assert unknown


def test_a_household_meets_what_it_bought(
    found: Graphs, placed: pd.DataFrame, purchases: Purchases, study: Study
) -> None:
    weights = matrix(found.bipartite)
    assert weights.shape == (purchases.num_households, len(found.tree))
    code = pd.Index(purchases.names["household"]).get_indexer(placed["household_id"])
    wanted = np.zeros(weights.shape)
    np.add.at(wanted, (code, placed["node"]), 1)
    np.testing.assert_array_equal(weights.toarray(), wanted)
    customers = study.rows.batch.customer
    assert customers is not None
    assert int(customers.max()) < purchases.num_households
    first = customers[:2394].numpy()  # who bought in the 180 days before the cut-off
    assert (wanted[first].sum(1) > 0).all()


def test_co_visits_are_between_nodes_that_were_bought(
    found: Graphs, placed: pd.DataFrame
) -> None:
    met = found.covisits.to_dense()
    assert torch.equal(met, met.T)
    ends = set(met.sum(1).nonzero()[:, 0].tolist())
    assert ends <= set(placed["node"])
    assert len(ends) > 2_000


def test_both_kinds_of_edge_are_in_one_graph(found: Graphs) -> None:
    over = matrix(found.fused) - matrix(found.tree.adjacency)
    sums = over.sum(axis=1)
    met = np.diff(found.covisits.crow_indices()) > 0
    np.testing.assert_allclose(sums, 0.5 * met, atol=1e-12)


def test_what_a_known_tree_lacks_is_node_zero(purchases: Purchases) -> None:
    early: Tree = tree(purchases, 60)
    seen = tree_visits(purchases, early, CUTOFF)
    new = seen.merchant == 0
    listed = purchases.lines["department"].to_numpy()[: len(seen)] >= 0
    assert 0 < (new & listed).mean() < 0.05
    np.testing.assert_array_equal(new[seen.day < 60], ~listed[seen.day < 60])
    assert seen.num_merchants == len(early)
