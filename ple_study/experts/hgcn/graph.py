"""A graph laid into hyperbolic space, where a tree has room: all of it offline.

Chami et al., Hyperbolic Graph Convolutional Neural Networks (NeurIPS 2019). What a
customer's visits come to in it, and the expert on that, are in ``hierarchy``.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ple_study.experts.hgcn.hyperbolic import exp0, squared_distance
from ple_study.experts.hgcn.links import Links, with_itself
from ple_study.names import one_of

Space = Literal["hyperbolic", "euclidean"]
START = 0.1  # deviation of the first features
RADIUS, HEAT = 2.0, 1.0  # r and t of the Fermi-Dirac decoder, the authors'


class HGCN(nn.Module):
    """Layers ``h' = exp0(relu(A (W log0(h) + b)))`` in a ball of learned curvature -c.

    The last has no relu, or only one corner of the ball would be used.

    ``c = softplus(.) > 0``. All aggregation is in the tangent space at the centre, and
    there log0 undoes exp0 exactly; so between layers the tangents are kept and no point
    comes near the rim. What is hyperbolic is the distance by which links are judged;
    ``space="euclidean"`` is its limit c -> 0, an ordinary graph convolution.
    """

    def __init__(
        self,
        dims: Sequence[int],
        curvature: float = 1.0,
        space: Space = "hyperbolic",
        draw: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        one_of("The space", space, get_args(Space))
        if len(dims) < 2 or min(dims) < 1 or not 0 < curvature < torch.inf:
            raise ValueError(
                "An HGCN needs two widths or more, each 1 or more, and a curvature "
                f"above 0. Found {tuple(dims)} and {curvature}."
            )
        self.space = space
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(dims))
        for part in self.layers.parameters():
            _begin(part, draw)
        start = curvature + math.log(-math.expm1(-curvature))  # softplus undone
        self.raw = nn.Parameter(torch.tensor(start), space == "hyperbolic")

    @property
    def c(self) -> Float[Tensor, ""]:
        return F.softplus(self.raw)

    def forward(
        self, features: Float[Tensor, "node width"], mean: Float[Tensor, "node node"]
    ) -> Float[Tensor, "node dim"]:
        """Tangents at the centre. mean: the weights A, each row summing to one."""
        *inner, last = self.layers
        for layer in inner:
            features = F.relu(mean @ layer(features))
        return mean @ last(features)

    def link_logits(
        self, tangents: Float[Tensor, "node dim"], pairs: Int[Tensor, "2 pair"]
    ) -> Float[Tensor, " pair"]:
        """Fermi-Dirac: ``P(link) = 1 / (exp((d^2 - r) / t) + 1)``, r = 2 and t = 1."""
        one, other = (tangents.index_select(0, nodes) for nodes in pairs)
        if self.space == "euclidean":
            squared = 4 * (one - other).square().sum(1)
        else:
            squared = squared_distance(one, other, self.c)
        return (RADIUS - squared) / HEAT


@torch.no_grad()
def _begin(part: nn.Parameter, draw: torch.Generator | None) -> None:
    """Glorot's start for relu, and biases of zero: the authors'."""
    if part.ndim == 2:
        nn.init.xavier_uniform_(part, gain=2**0.5, generator=draw)
    else:
        part.zero_()


def link_loss(
    model: HGCN,
    tangents: Float[Tensor, "node dim"],
    links: Links,
    draw: torch.Generator,
) -> Float[Tensor, ""]:
    """Cross entropy of the edges, by weight, plus that of as many non-edges."""
    missed = F.softplus(-model.link_logits(tangents, links.pairs)) * links.weights
    found = F.softplus(model.link_logits(tangents, links.apart(draw)))
    return missed.mean() + found.mean()


class Step(NamedTuple):
    """Before a step: where every node is, and the loss there."""

    tangents: Float[Tensor, "node dim"]
    loss: float


def steps(
    model: HGCN,
    features: Float[Tensor, "node width"],
    graph: Float[Tensor, "node node"],
    *,
    rate: float,
    draw: torch.Generator,
) -> Iterator[Step]:
    """Adam on the links of the whole graph, step after step without end.

    Features that require a gradient are trained too. Raises ValueError as ``Links``
    does, and for features that are not finite or of other nodes than the graph's.
    """
    if len(features) != graph.shape[0] or not features.isfinite().all():
        raise ValueError(
            f"Features must be finite, a row for each of {graph.shape[0]} nodes. Found "
            f"{len(features)} rows, {int((~features.isfinite()).sum())} not finite."
        )
    links, mean = Links(graph), with_itself(graph).to(features.dtype)
    parts = [*model.parameters(), features]
    optimiser = torch.optim.Adam([p for p in parts if p.requires_grad], lr=rate)
    while True:
        tangents = model(features, mean)
        loss = link_loss(model, tangents, links, draw)
        yield Step(tangents.detach(), float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


class FittedHGCN(NamedTuple):
    """Where each node of a trained graph lies, and how the loss went.

    points: in the ball of curvature -c. tangents: the same from its centre; they tell
    apart also what lies beyond the ball's rim.
    """

    points: Float[Tensor, "node dim"]
    tangents: Float[Tensor, "node dim"]
    c: Float[Tensor, ""]
    losses: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class UnifiedHGCN:
    """Merchants, their hierarchy and their co-visits, laid into one ball.

    A node starts as ``dim`` numbers that are learned with the layers; all are trained
    on Fermi-Dirac links of both kinds of edge, each by its weight.
    """

    dim: int = 8
    layers: int = 2
    epochs: int = 400
    rate: float = 1e-2
    curvature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        least = min(self.dim, self.layers, self.epochs)
        sizes = self.rate, self.curvature
        if least < 1 or not all(0 < size < torch.inf for size in sizes):
            raise ValueError(
                "dim, layers and epochs must be 1 or more, rate and curvature above 0 "
                f"and finite. Found {self}."
            )

    def fit(self, graph: Float[Tensor, "node node"]) -> FittedHGCN:
        """Train on ``fuse(tree, covisits, ...)``: A_tree + 0.5 A_cov (CSR).

        A node without an edge and a graph in parts are allowed: what no edge joins is
        pushed apart. Raises ValueError as ``Links`` does.
        """
        draw = torch.Generator().manual_seed(self.seed)
        dims = [self.dim] * (self.layers + 1)
        model = HGCN(dims, self.curvature, draw=draw)
        first = START * torch.randn(graph.shape[0], self.dim, generator=draw)
        features = first.requires_grad_()
        train = steps(model, features, graph, rate=self.rate, draw=draw)
        # One more, to see where the last step led.
        passes = list(islice(train, self.epochs + 1))
        tangents, c = passes[-1].tangents, model.c.detach()
        losses = tuple(step.loss for step in passes)
        return FittedHGCN(exp0(tangents, c), tangents, c, losses)
