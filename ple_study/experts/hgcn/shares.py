"""How a customer's visits are shared out over the nodes of a tree, level by level."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64
from scipy import sparse

from ple_study.data.graphs.tree import Tree
from ple_study.data.graphs.visits import Visits
from ple_study.data.rows import check_rows

MEMORY, RECENT = 180.0, 30  # days: of the weights' decay, and of "lately"
MOST = 501.0  # distinct nodes whose logarithm counts as one


def above(tree: Tree, level: int) -> Int64[np.ndarray, " node"]:
    """What stands over each node at a level; a node that is not so deep is its own."""
    parent, depth = tree.parent.numpy(), tree.depth.numpy()
    found = np.arange(len(tree))
    while (deep := depth[found] > level).any():
        found = np.where(deep, parent[found], found)
    return found


@dataclass(frozen=True)
class Shares:
    """Visits to known nodes, and how long before ``today`` each of them was."""

    customer: Int64[np.ndarray, " event"]
    node: Int64[np.ndarray, " event"]
    age: Int64[np.ndarray, " event"]
    amount: Float[np.ndarray, " event"]
    shape: tuple[int, int]

    @classmethod
    def of(
        cls,
        visits: Visits,
        tree: Tree,
        node: Int64[np.ndarray, " merchant"],
        today: int,
    ) -> "Shares":
        """Raises ValueError for a visit on the day ``today`` or later, for nodes of
        another number than merchants, and for a node that the tree does not have."""
        if len(node) != visits.num_merchants:
            raise ValueError(
                f"Each of {visits.num_merchants} merchants needs a node. Found "
                f"{len(node)}."
            )
        inside = (node >= 0) & (node < len(tree))
        check_rows(inside, node, f"Nodes must lie in 0..{len(tree) - 1}.")
        before = visits.day < today
        check_rows(before, visits.day, f"Visits must lie before the day {today}.")
        at = node[visits.merchant]
        parts = (visits.customer, at, today - visits.day, visits.amount)
        customer, known, age, amount = (part[at > 0] for part in parts)
        shape = visits.num_customers, len(tree)
        return cls(customer, known, age, amount, shape)

    def lately(self) -> "Shares":
        """The visits of the last 30 days."""
        kept = self.age <= RECENT
        parts = (self.customer, self.node, self.age, self.amount)
        customer, node, age, amount = (part[kept] for part in parts)
        return Shares(customer, node, age, amount, self.shape)

    def at(self, over: Int64[np.ndarray, " node"]) -> sparse.csr_array:
        """``amount exp(-age / 180)`` summed by customer and what is over the node."""
        return self.sums(over[self.node], self.amount * np.exp(-self.age / MEMORY))

    def sums(self, column: np.ndarray, values: np.ndarray) -> sparse.csr_array:
        """Values summed by customer and column (CSR)."""
        place = self.customer, column
        return sparse.coo_array((values, place), self.shape).tocsr()


def habits(seen: Shares) -> Float[np.ndarray, "customer 4"]:
    """Of each customer: distinct nodes (``log(1 + n) / log 501``), the share of visits
    to where she had been, ``exp(-age / 180)`` of the last one, and Gini's coefficient
    of what she spent by node. Zeros for a customer without a visit."""
    times = seen.sums(seen.node, np.ones(len(seen.node)))
    distinct, events = np.diff(times.indptr), times.sum(axis=1)
    again = 1 - distinct / np.maximum(events, 1)
    last = np.full(seen.shape[0], np.inf)
    np.minimum.at(last, seen.customer, seen.age)
    spent = gini(seen.sums(seen.node, seen.amount))
    known = np.log1p(distinct) / np.log(MOST)
    parts = np.stack([known, again, np.exp(-last / MEMORY), spent], 1)
    return np.where(events[:, None] > 0, parts, 0.0)


def mean_rows(weights: sparse.csr_array) -> sparse.csr_array:
    """Each row over its sum; a row that sums to zero stays as it is."""
    sums = weights.sum(axis=1)
    over = np.divide(1.0, sums, out=np.ones_like(sums), where=sums > 0)
    return (sparse.diags_array(over) @ weights).tocsr()


def gini(amounts: sparse.csr_array) -> Float[np.ndarray, " row"]:
    """``sum_i (2 i - n - 1) x_i / (n sum x)`` over the entries of a row, in order.

    0 where all are alike, and where there is nothing; near 1 where one has all.
    """
    row = np.repeat(np.arange(amounts.shape[0]), np.diff(amounts.indptr))
    order = np.lexsort((amounts.data, row))
    place = np.arange(len(row)) - amounts.indptr[row] + 1
    number, sums = np.diff(amounts.indptr), amounts.sum(axis=1)
    terms = (2 * place - number[row] - 1) * amounts.data[order]
    total = np.bincount(row, terms, amounts.shape[0])
    over = number * sums
    return np.divide(total, over, out=np.zeros_like(sums), where=over > 0)


def entropy(weights: sparse.csr_array, choices: int) -> Float[np.ndarray, " row"]:
    """``-sum p log p / log n`` of a row's shares among n nodes: from 0 to 1."""
    shares = mean_rows(weights)
    row = np.repeat(np.arange(shares.shape[0]), np.diff(shares.indptr))
    terms = -shares.data * np.log(np.maximum(shares.data, 1e-300))
    return np.bincount(row, terms, shares.shape[0]) / np.log(max(choices, 2))
