"""Who bought where: against networkx and pandas, its laws and its errors."""

import time
from collections.abc import Mapping

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch

from ple_study.data.graphs.covisits import covisits
from ple_study.data.graphs.csr import normalised, square
from ple_study.data.graphs.visits import Merchants, bipartite, known_merchants, visits
from ple_study.data.journey.tables import read
from tests.data.graphs.purchases import (
    CUSTOMERS,
    CUTOFF,
    EVENTS,
    KEYS,
    random_events,
    seen,
)

MOST_SECONDS = 20  # on one core, for 1.47 million purchases


@pytest.mark.parametrize("weight", ["count", "amount"])
def test_bipartite_is_what_networkx_says(weight: str) -> None:
    events = random_events()
    graph = nx.Graph()
    graph.add_nodes_from([*range(CUSTOMERS), "unknown", *KEYS])
    for row in events.itertuples():
        more = 1 if weight == "count" else row.amount
        before = graph.get_edge_data(row.customer, row.merchant, {"weight": 0})
        graph.add_edge(row.customer, row.merchant, weight=before["weight"] + more)
    wanted = nx.bipartite.biadjacency_matrix(
        graph, range(CUSTOMERS), ["unknown", *KEYS], weight="weight"
    )
    found = bipartite(seen(events), weight)
    assert found.layout == torch.sparse_csr
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.to_dense(), wanted.toarray(), rtol=1e-14)


def test_degrees_add_up_to_the_events() -> None:
    events = random_events()
    count = bipartite(seen(events)).to_dense()
    of_customer = np.bincount(events["customer"], minlength=CUSTOMERS)
    np.testing.assert_array_equal(count.sum(1), of_customer)
    of_merchant = events["merchant"].value_counts().reindex(list(KEYS), fill_value=0)
    np.testing.assert_array_equal(count.sum(0)[1:], of_merchant)
    assert count.sum() == EVENTS
    amount = bipartite(seen(events), "amount").to_dense().sum()
    assert amount == pytest.approx(events["amount"].sum())


@pytest.mark.parametrize("weight", ["count", "amount"])
def test_the_order_of_events_is_irrelevant(weight: str) -> None:
    events = random_events()
    mixed = events.sample(frac=1, random_state=3)
    first, second = bipartite(seen(events), weight), bipartite(seen(mixed), weight)
    assert torch.equal(first.to_dense(), second.to_dense())
    assert torch.equal(first.crow_indices(), second.crow_indices())


def test_an_isolated_merchant_or_customer_changes_nothing_else() -> None:
    events = random_events()
    more = ("archive", *KEYS)
    small = normalised(bipartite(seen(events), "amount")).to_dense()
    large = normalised(bipartite(seen(events, more, CUSTOMERS + 2), "amount"))
    dense = large.to_dense()
    assert dense.shape == (CUSTOMERS + 2, len(KEYS) + 2)
    assert dense[:, 1].eq(0).all()
    assert dense[CUSTOMERS:].eq(0).all()
    kept = dense[:CUSTOMERS, [0, *range(2, len(KEYS) + 2)]]
    assert torch.equal(kept, small)


def test_amounts_that_add_up_to_nothing_make_no_edge() -> None:
    events = random_events()
    free = events["merchant"] == "cinema"
    found = bipartite(seen(events.assign(amount=events["amount"].where(~free, 0.0))))
    assert found.to_dense()[:, 2].sum() == free.sum()
    given = events.assign(amount=events["amount"].where(~free, 0.0))
    weights = bipartite(seen(given), "amount")
    assert weights.to_dense()[:, 2].eq(0).all()
    assert weights.values().gt(0).all()
    assert normalised(square(weights)).to_dense().isfinite().all()


def test_unseen_merchants_are_node_zero_where_that_is_asked_for() -> None:
    events = random_events()
    known = known_merchants(events["merchant"][events["merchant"] != "garage"])
    found = visits(events, known, CUSTOMERS, CUTOFF, unseen="unknown")
    np.testing.assert_array_equal(found.merchant == 0, events["merchant"] == "garage")
    number = (events["merchant"] == "garage").sum()
    assert bipartite(found).to_dense()[:, 0].sum() == number


def test_known_merchants_are_sorted_and_leave_out_what_is_not_known() -> None:
    words = known_merchants(pd.Series(["tavern", None, "kiosk", "tavern"]))
    assert words.keys.tolist() == ["kiosk", "tavern"]
    assert words.num_nodes == 3
    nodes = words.nodes(pd.Series(["tavern", "moon", None, "kiosk"]))
    assert nodes.tolist() == [2, 0, 0, 1]
    codes = known_merchants(pd.Series([7, -1, 3, 7]))
    assert codes.keys.tolist() == [3, 7]
    assert codes.nodes(pd.Series([-1, 7, 4])).tolist() == [0, 2, 0]


@pytest.mark.parametrize("keys", [[], ["kiosk", "zoo", "kiosk"]])
def test_merchants_are_at_least_one_and_each_once(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="at least one key, each of them once"):
        Merchants(pd.Index(keys, dtype=object))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("day", CUTOFF, r"before the cut-off, day 50\. Found 50 in row 4"),
        ("amount", -0.01, r"finite and zero or more\. Found -0\.01 in row 4"),
        ("amount", np.nan, r"finite and zero or more\. Found nan in row 4"),
        ("amount", np.inf, r"finite and zero or more\. Found inf in row 4"),
        ("merchant", "moon", r"among the 8 that are known\. Found moon in row 4"),
        ("customer", CUSTOMERS, r"lie in 0\.\.10\. Found 11 in row 4"),
        ("customer", -1, r"lie in 0\.\.10\. Found -1 in row 4"),
    ],
)
def test_a_wrong_event_is_named(column: str, value: object, message: str) -> None:
    events = random_events()
    events.loc[4, column] = value
    with pytest.raises(ValueError, match=message):
        seen(events)


def test_days_are_whole_numbers() -> None:
    events = random_events().astype({"day": np.float64})
    with pytest.raises(
        ValueError, match=r"'day' must hold whole numbers\. Found float"
    ):
        seen(events)


def test_an_empty_table_or_an_absent_column_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least one row\. Found 0 rows"):
        seen(random_events()[:0])
    with pytest.raises(ValueError, match=r"absent are \['amount'\]"):
        seen(random_events().drop(columns="amount"))


def test_the_households(raw: Mapping[str, pd.DataFrame]) -> None:
    """Brands of the real purchases: sums as pandas gives them, within the time."""
    start = time.process_time()
    names = {"household": "customer", "manufacturer": "merchant", "sales": "amount"}
    purchases = read(raw)
    events = purchases.lines.rename(columns=names)
    merchants = known_merchants(events["merchant"])
    found = visits(events, merchants, purchases.num_households, 365, "unknown")
    weights, beside = bipartite(found, "amount"), covisits(found)
    graph = normalised(square(weights))
    seconds = time.process_time() - start
    assert len(found) == len(raw["transactions"])
    assert seconds <= MOST_SECONDS, seconds
    assert graph.values().isfinite().all()
    assert beside.shape == (merchants.num_nodes, merchants.num_nodes)
    spent = raw["transactions"].groupby("household_id")["sales_value"].sum()
    total = np.bincount(
        np.repeat(np.arange(len(spent)), weights.crow_indices().diff()),
        weights.values(),
    )
    np.testing.assert_allclose(total, spent.loc[purchases.names["household"]])
    with pytest.raises(ValueError, match="before the cut-off, day 309"):
        visits(events, merchants, purchases.num_households, 309, "unknown")
