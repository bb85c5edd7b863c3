"""A customer's place in the hierarchy of merchants: 47 numbers, and the expert on them.

The numbers are made offline from visits, the tree and its places in two balls: eight
learned dimensions (``UnifiedHGCN``) and the plane of drawings (``data.graphs.disk``).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy import sparse
from torch import Tensor, nn

from ple_study.data.graphs import disk
from ple_study.data.graphs.csr import tensor
from ple_study.data.graphs.tree import Tree
from ple_study.data.graphs.visits import Visits
from ple_study.experts.base import ExpertSpec
from ple_study.experts.hgcn.graph import FittedHGCN
from ple_study.experts.hgcn.hyperbolic import log0, midpoint, squared_distance
from ple_study.experts.hgcn.shares import Shares, above, entropy, habits, mean_rows
from ple_study.experts.vectors import VectorExpert, vector_width
from ple_study.schema import Schema

ONE = torch.tensor(1.0, dtype=torch.float64)  # the curvature of the plane


class Places(NamedTuple):
    """Where every node of a tree lies: in the learned ball of curvature -c, and in the
    plane, x and y in the disk of curvature -1."""

    learned: Float[Tensor, "node dim"]
    c: Float[Tensor, ""]
    plane: Float[Tensor, "node 2"]

    @classmethod
    def of(cls, fitted: FittedHGCN, tree: Tree) -> "Places":
        """As learned, and as drawn."""
        drawn = disk.places(tree.parent.numpy())
        plane = torch.from_numpy(np.stack([drawn.real, drawn.imag], 1))
        return cls(fitted.points, fitted.c, plane)


def number_names(dim: int = 8) -> tuple[str, ...]:
    """What each number of ``hierarchy`` is: 47 of them where ``dim`` is 8.

    The source has 20 coordinates made beforehand and 27 that sum up a customer's
    merchants. Ours are the coordinates (its taxonomies are not public; here they are
    one tree, level by level), what is lately, the tangent means, recency and entropies.
    """

    def plane(where: str) -> list[str]:
        return [f"{where} {axis}" for axis in ("x", "y", "radius", "angle / pi")]

    def ball(where: str) -> list[str]:
        return [f"{where} {axis}" for axis in range(dim)]

    return (
        *ball("level 1, learned"),
        *ball("own level, learned"),
        *plane("level 1 lately"),
        *plane("level 1"),
        *plane("level 2"),
        *ball("own level, tangent mean"),
        *("distinct, log", "revisits", "recency", "Gini of spend"),
        *("depth at level 1", "depth at level 2", "coherence"),
        *("spread at level 1", "spread at level 2"),
        *("entropy at level 1", "entropy at level 2"),
    )


def hierarchy(
    visits: Visits,
    tree: Tree,
    node: Int64[np.ndarray, " merchant"],
    places: Places,
    today: int,
) -> Float[Tensor, "customer number"]:
    """Where each customer is in the tree; ``number_names`` says number by number.

    node: where each merchant of the visits stands in the tree; 0, the root, where it is
    not known. A visit weighs ``amount exp(-(today - day) / 180)``; where a customer is
    in a ball is Einstein's midpoint of where she went. NaN throughout for a customer
    whose visits to known merchants weigh nothing, or who has none.

    Raises ValueError for a visit on the day ``today`` or later, for other places than
    the tree has nodes, and for a place that is not inside its ball.
    """
    _check(places, len(tree))
    seen = Shares.of(visits, tree, node, today)
    plane, learned, c = (part.double() for part in (places.plane, *places[:2]))
    over = [above(tree, level) for level in (1, 2)]
    first, second, own = (seen.at(nodes) for nodes in (*over, np.arange(len(tree))))
    top, below = (midpoint(plane, tensor(part), ONE) for part in (first, second))
    lately = midpoint(plane, tensor(seen.lately().at(over[0])), ONE)
    # Who was nowhere lately is where she always is.
    lately = torch.where(lately.isnan(), top, lately)
    numbers = [
        *(midpoint(learned, tensor(part), c) for part in (first, own)),
        *(_polar(middle) for middle in (lately, top, below)),
        tensor(mean_rows(own)) @ log0(learned, c),
        torch.from_numpy(habits(seen)),
        _depths(top, below),
        *(_spread(*pair, plane) for pair in ((first, top), (second, below))),
        *(
            _entropy(part, nodes)
            for part, nodes in zip((first, second), over, strict=True)
        ),
    ]
    nowhere = torch.from_numpy(own.sum(axis=1) <= 0)
    return torch.cat(numbers, 1).masked_fill(nowhere[:, None], torch.nan).float()


def _check(places: Places, nodes: int) -> None:
    found = len(places.learned), len(places.plane)
    if found != (nodes, nodes):
        raise ValueError(
            f"Each of {nodes} nodes needs a place in either ball. Found {found}."
        )


def _polar(middle: Tensor) -> Tensor:
    """x, y, the distance from the centre as the ball's radius, and angle over pi."""
    angle = torch.atan2(middle[:, 1], middle[:, 0]) / torch.pi
    return torch.cat([middle, middle.norm(dim=1, keepdim=True), angle[:, None]], 1)


def _depths(top: Tensor, below: Tensor) -> Tensor:
    """Hyperbolic distances from the root, and (1 + cos) / 2 of the angle between."""
    centre = torch.zeros_like(top)
    depth = [_distance(middle, centre) for middle in (top, below)]
    cosine = torch.cosine_similarity(top, below, dim=1)
    return torch.stack([*depth, (1 + cosine) / 2], 1)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    here, there = (log0(place.nan_to_num(0.0), ONE) for place in (one, other))
    return squared_distance(here, there, ONE).sqrt()


def _spread(weights: sparse.csr_array, middle: Tensor, plane: Tensor) -> Tensor:
    """The mean distance of where a customer went from her midpoint."""
    shares = mean_rows(weights).tocoo()
    row, at = (torch.from_numpy(part).long() for part in shares.coords)
    far = _distance(plane[at], middle[row]) * torch.from_numpy(shares.data)
    return torch.bincount(row, far, len(middle))[:, None]


def _entropy(weights: sparse.csr_array, over: np.ndarray) -> Tensor:
    return torch.from_numpy(entropy(weights, len(np.unique(over[1:]))))[:, None]


class HGCNExpert(VectorExpert):
    """Refines a customer's place in the hierarchy: ``x + W2 gelu(W1 x)``, then ends.

    Nothing hyperbolic is left to do online: the numbers are coordinates already.
    """

    def __init__(
        self, name: str, width: int, hidden: int = 128, dim: int = 128
    ) -> None:
        layers = nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
        super().__init__(name, width, dim, nn.Sequential(*layers))


@dataclass(frozen=True, kw_only=True)
class HGCNSpec(ExpertSpec):
    """Which vector holds the numbers, and the sizes of the network that reads them.

    Building raises ValueError where the schema has no vector of that name.
    """

    vector: str = "hierarchy"
    hidden: int = 128
    dim: int = 128

    def __post_init__(self) -> None:
        if min(self.hidden, self.dim) < 1:
            raise ValueError(f"hidden and dim must be 1 or more. Found {self}.")

    def build(self, schema: Schema) -> HGCNExpert:
        width = vector_width(schema, self.vector)
        return HGCNExpert(self.vector, width, self.hidden, self.dim)
