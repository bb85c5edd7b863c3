"""Who bought where: the bipartite graph of customers and merchants, up to a cut-off.

He et al., LightGCN (SIGIR 2020), equations 3 and 8. A merchant is whatever a purchase
names: a shop, a brand, a category or a product. The graph of merchants that one
customer visits within days is in ``covisits``, the hierarchy of merchants in ``tree``.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Float, Float64, Int64
from scipy import sparse
from torch import Tensor

from ple_study.data.graphs.csr import tensor
from ple_study.data.rows import check_rows

Codes = npt.NDArray[np.int64]
COLUMNS = ("customer", "merchant", "day", "amount")


@dataclass(frozen=True)
class Merchants:
    """The merchants that are known: ``keys[i]`` is node ``i + 1``; node 0 is any other.

    Raises ValueError without a key, and when a key is there twice.
    """

    keys: pd.Index

    def __post_init__(self) -> None:
        if not len(self.keys) or not self.keys.is_unique:
            twice = list(self.keys[self.keys.duplicated()][:3])
            raise ValueError(
                "Merchants need at least one key, each of them once. Found "
                f"{len(self.keys)} keys, and again {twice}."
            )

    @property
    def num_nodes(self) -> int:
        """How many nodes there are, the unknown one among them."""
        return len(self.keys) + 1

    def nodes(self, values: pd.Series) -> Int64[np.ndarray, " event"]:
        """The node of each merchant; 0 where it is missing or was never seen."""
        found: Codes = self.keys.get_indexer(values).astype(np.int64) + 1
        return found


@dataclass(frozen=True)
class Visits:
    """Purchases with nodes in place of names, all of them before the cut-off day."""

    customer: Int64[np.ndarray, " event"]
    merchant: Int64[np.ndarray, " event"]
    day: Int64[np.ndarray, " event"]
    amount: Float64[np.ndarray, " event"]
    num_customers: int
    num_merchants: int

    def __len__(self) -> int:
        return len(self.customer)


def known_merchants(values: pd.Series) -> Merchants:
    """The merchants of ``values`` in order of their keys.

    A missing value is none of them, nor is a negative code, which says "not known".
    """
    keys = pd.Index(values.dropna().unique())
    if pd.api.types.is_numeric_dtype(keys):
        keys = keys[keys >= 0]
    return Merchants(keys.sort_values())


def visits(
    events: pd.DataFrame,
    merchants: Merchants,
    num_customers: int,
    cutoff: int,
    unseen: Literal["error", "unknown"] = "error",
) -> Visits:
    """Check purchases and give their merchants nodes; one row an event, in any order.

    events: customer (0 to ``num_customers - 1``), merchant (a key of ``merchants``),
    day (a whole number) and amount (in units of money).
    cutoff: the first day that must not be known; labels begin there.
    unseen: what a merchant without a node is: an error where a graph is first made, or
    node 0 where a known graph meets new purchases.

    Raises ValueError for an empty table, a missing column, an event on the cut-off day
    or later, an amount that is negative or not finite, a customer outside the range,
    and, unless ``unseen`` is "unknown", a merchant that has no node.
    """
    absent = [name for name in COLUMNS if name not in events]
    if absent or not len(events):
        raise ValueError(
            f"Events need the columns {COLUMNS} and at least one row. Found "
            f"{len(events)} rows; absent are {absent}."
        )
    customer, day = (_whole(events, name) for name in ("customer", "day"))
    amount = events["amount"].to_numpy(np.float64)
    node = merchants.nodes(events["merchant"])
    inside = (customer >= 0) & (customer < num_customers)
    check_rows(inside, customer, f"Customers must lie in 0..{num_customers - 1}.")
    check_rows(day < cutoff, day, f"Events must lie before the cut-off, day {cutoff}.")
    good = np.isfinite(amount) & (amount >= 0)
    check_rows(good, amount, "Amounts must be finite and zero or more.")
    if unseen == "error":
        wanted = f"Merchants must be among the {len(merchants.keys)} that are known."
        check_rows(node > 0, events["merchant"].to_numpy(), wanted)
    return Visits(customer, node, day, amount, num_customers, merchants.num_nodes)


def bipartite(
    visits: Visits, weight: Literal["count", "amount"] = "count"
) -> Float[Tensor, "customer merchant"]:
    """How often, or for how much, each customer bought at each merchant (CSR, float64).

    Events of one pair are summed. A customer or a merchant without any keeps its empty
    row or column; column 0 is the unknown merchant. A pair whose amounts add up to zero
    has no edge.
    """
    values = visits.amount if weight == "amount" else np.ones(len(visits))
    # Sorted by pair and value first: a sum must not depend on the order of events.
    order = np.lexsort((values, visits.merchant, visits.customer))
    place = visits.customer[order], visits.merchant[order]
    shape = visits.num_customers, visits.num_merchants
    return tensor(sparse.coo_array((values[order], place), shape).tocsr())


def _whole(events: pd.DataFrame, name: str) -> Int64[np.ndarray, " event"]:
    if not pd.api.types.is_integer_dtype(events[name]):
        raise ValueError(
            f"Column {name!r} must hold whole numbers. Found {events[name].dtype}."
        )
    found: Codes = events[name].to_numpy(np.int64)
    return found
