"""Bayesian personalised ranking: what a customer visited stands above what she did not.

Rendle et al. (UAI 2009), as He et al. use it to train LightGCN (SIGIR 2020, equation
15). Negatives are drawn exactly, by rank, so none is ever a visit that is known.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


class Triples(NamedTuple):
    """Customers, a merchant that each visited, and one that she did not."""

    customer: Int[Tensor, " triple"]
    visited: Int[Tensor, " triple"]
    other: Int[Tensor, " triple"]

    def nodes(self, num_customers: int) -> "Triples":
        """The same as nodes of a graph where all customers stand before merchants."""
        visited, other = num_customers + self.visited, num_customers + self.other
        return Triples(self.customer, visited, other)


class Visited:
    """Who visited what, ready to draw triples from.

    weights: CSR; each entry is a visit, whatever its weight. Raises ValueError where no
    customer has both a merchant that she visited and one that she did not.
    """

    def __init__(self, weights: Float[Tensor, "customer merchant"]) -> None:
        self.start = weights.crow_indices().long()
        self.merchant = weights.col_indices().long()
        self.degree, self.num_merchants = self.start.diff(), weights.shape[1]
        some = (self.degree > 0) & (self.degree < self.num_merchants)
        self.customers = some.nonzero()[:, 0]
        if not len(self.customers):
            raise ValueError(
                "Ranking needs a customer who visited some merchants and not all. "
                f"Found {len(self.degree)} customers, {self.num_merchants} merchants "
                f"and {len(self.merchant)} visits."
            )
        owner = torch.arange(len(self.degree)).repeat_interleave(self.degree)
        place = torch.arange(len(self.merchant)) - self.start[owner]
        # How many merchants that she did not visit stand before each that she did.
        self.before = owner * (self.num_merchants + 1) + self.merchant - place

    def draw(self, number: int, draw: torch.Generator) -> Triples:
        """Customers evenly; of each, one of her merchants and one of the rest, evenly.

        The rest are all others, those that nobody visited among them.

        The r-th merchant that she did not visit has the number r plus how many that she
        did visit stand before it.
        """
        which = torch.randint(len(self.customers), (number,), generator=draw)
        customer = self.customers[which]
        first, degree = self.start[customer], self.degree[customer]
        visited = self.merchant[first + _below(degree, draw)]
        rank = _below(self.num_merchants - degree, draw)
        key = customer * (self.num_merchants + 1) + rank
        passed = torch.searchsorted(self.before, key, right=True) - first
        return Triples(customer, visited, rank + passed)


def _below(bound: Tensor, draw: torch.Generator) -> Tensor:
    """Whole numbers, each evenly from 0 up to its bound."""
    part = torch.rand(len(bound), generator=draw, dtype=torch.float64)
    return torch.minimum((part * bound).long(), bound - 1)


def bpr_loss(
    customer: Float[Tensor, "triple dim"],
    visited: Float[Tensor, "triple dim"],
    other: Float[Tensor, "triple dim"],
) -> Float[Tensor, ""]:
    """The mean of ``-log sigmoid(<u, i> - <u, j>)``: i visited, j not."""
    # Softplus, because the logarithm of a sigmoid that underflows is not finite.
    return F.softplus((customer * (other - visited)).sum(1)).mean()
