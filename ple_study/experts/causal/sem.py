"""A linear structural equation model over named columns, and what acting on it does."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ple_study.experts.causal.dag import Effects, is_acyclic
from ple_study.names import nearest, unique

Rows = Float[Tensor, "sample variable"]


class Edge(NamedTuple):
    """One more of ``cause`` is ``weight`` more of ``effect``, all else held."""

    cause: str
    effect: str
    weight: float


@dataclass(frozen=True)
class LinearSEM:
    """x = x W + e: entry [i, j] of ``weights`` is what variable i does to j.

    The means of the variables are part of e. Raises ValueError for names that are not
    one a variable and unique, and for effects that are not finite or form a cycle.
    """

    names: tuple[str, ...]
    weights: Effects

    def __post_init__(self) -> None:
        unique("Names of variables", self.names)
        if self.weights.shape != (len(self.names), len(self.names)):
            raise ValueError(
                f"{len(self.names)} variables have as many rows and columns of "
                f"effects. Found {list(self.weights.shape)}."
            )
        if not (self.weights.isfinite().all() and is_acyclic(self.weights != 0)):
            raise ValueError(
                "Effects must be finite and form no cycle. Found "
                f"{self.weights.tolist()}."
            )

    def edges(self) -> list[Edge]:
        """The strongest first."""
        found = [
            Edge(self.names[i], self.names[j], float(self.weights[i, j]))
            for i, j in self.weights.nonzero().tolist()
        ]
        return sorted(found, key=lambda edge: -abs(edge.weight))

    def total_effects(self) -> Effects:
        """(I - W)^-1: entry [i, j] is the sum over all paths from i to j.

        It is by how much the mean of j moves when i is set one higher.
        """
        return torch.linalg.inv(self._noise_of())

    def noise(self, rows: Rows) -> Rows:
        """What the effects do not tell of each row: e = x (I - W)."""
        return rows.double() @ self._noise_of()

    def do(self, rows: Rows, values: Mapping[str, float]) -> Rows:
        """These rows, had the named variables been set to these values.

        What drove a variable that is set no longer does: its column of W is deleted and
        its noise is the value. Every other variable keeps its noise and hears of the
        change along all paths: x = e (I - W)^-1, with that W and that e. Pearl (2009),
        "Causality", sections 3.2 and 7.1. Raises ValueError for an unknown name.
        """
        noise, cut = self.noise(rows), self._noise_of()
        for name, value in values.items():
            if name not in self.names:
                raise ValueError(
                    f"Unknown variable {name!r}. Variables are {list(self.names)}."
                    f"{nearest(name, self.names)}"
                )
            place = self.names.index(name)
            noise[:, place] = value
            cut[:, place] = 0.0
            cut[place, place] = 1.0
        return torch.linalg.solve(cut, noise, left=False)

    def _noise_of(self) -> Effects:
        """I - W, which takes rows to their noise."""
        one = torch.eye(len(self.names), dtype=torch.float64)
        return one.to(self.weights.device) - self.weights.double()
