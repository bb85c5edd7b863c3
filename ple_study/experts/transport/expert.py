"""Optimal transport: how far a customer's histogram is from learned prototypes.

Cuturi (2013), "Sinkhorn distances"; Feydy et al. (2019) for the debiased divergence.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ple_study.batch import Batch
from ple_study.experts.base import Columns, Ending, Expert, ExpertSpec
from ple_study.experts.transport.sinkhorn import (
    Sinkhorn,
    check_histograms,
    divergence,
    entropic_cost,
)
from ple_study.names import one_of
from ple_study.schema import Schema

CostName = Literal["metric", "psd"]
HIDDEN = 128
COORDINATES = 8  # of a support point
SPREAD = 0.1  # deviation of the prototypes' logits at the start
HOW = Sinkhorn(iterations=50)


class MetricCost(nn.Module):
    """``C_ij = |p_i - p_j|^2`` over its mean, of learned support points p.

    Zero to itself, symmetric, not negative. In n points no entry exceeds n: of two of
    them d^2 apart, every third lies so that the squared distances to both sum to
    d^2 / 2 or more, so that the mean is d^2 / n or more.
    """

    def __init__(self, support: int) -> None:
        super().__init__()
        self.points = nn.Parameter(torch.randn(support, COORDINATES))
        self.spread: float | None = float(support)

    def forward(self) -> Float[Tensor, "row column"]:
        points = self.points.double()
        square = (points[:, None] - points).square().sum(-1)
        return square / square.mean().clamp_min(torch.finfo(square.dtype).tiny)


class PSDCost(nn.Module):
    """C = M' M, M = I + 0.01 N(0, 1) at the start: what the study's source learns.

    It is no ground cost: to stay costs about one and to move about nothing, so that a
    histogram is no nearer to itself than to others.
    """

    def __init__(self, support: int) -> None:
        super().__init__()
        start = torch.eye(support) + 0.01 * torch.randn(support, support)
        self.factor = nn.Parameter(start)
        self.spread: float | None = None

    def forward(self) -> Float[Tensor, "row column"]:
        return self.factor.double().T @ self.factor.double()


class OptimalTransport(Expert):
    """Columns -> histogram -> distances to prototypes -> [batch, dim].

    mu = softmax(MLP(x)) over ``support`` bins; without ``support`` the columns are the
    histogram. Prototypes nu_k = softmax(l_k) and the ground cost are learned. Distances
    are Sinkhorn divergences S(mu, nu_k) of the metric cost, and of ``psd``, as in the
    source, OT(mu, nu_k) with its entropic bias. They are computed in float64 and read
    in units of epsilon, in which they are differences of a log-likelihood.

    A pair stops once its marginals are right; while torch.compile or torch.export
    trace, all iterations are taken. Raises ValueError, not in a traced graph, for a
    histogram of columns that does not sum to one.
    """

    def __init__(
        self,
        columns: Columns,
        support: int | None = 32,
        prototypes: int = 16,
        cost: CostName = "metric",
        how: Sinkhorn = HOW,
        dim: int = 64,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.dim, self.columns = dim, columns
        bins = columns.dim if support is None else support
        encoder = [*_hidden(columns.dim, dropout), nn.Linear(HIDDEN, bins)]
        self.encoder = nn.Sequential(*(encoder if support is not None else ()))
        self.prototypes = nn.Parameter(SPREAD * torch.randn(prototypes, bins))
        self.cost = (MetricCost if cost == "metric" else PSDCost)(bins)
        self.how = replace(how, spread=self.cost.spread)
        self.head = nn.Sequential(*_hidden(prototypes, dropout), Ending(HIDDEN, dim))

    def histograms(self, batch: Batch) -> Float[Tensor, "batch bin"]:
        """mu of each customer."""
        columns = self.columns(batch)
        if len(self.encoder):
            return self.encoder(columns).double().softmax(1)
        if not torch.compiler.is_compiling():
            check_histograms(columns, "A histogram of columns")
        given = columns.double()
        return given / given.sum(1, keepdim=True)

    def distances(self, batch: Batch) -> Float[Tensor, "batch prototype"]:
        """Of each customer to each prototype."""
        between = divergence if isinstance(self.cost, MetricCost) else entropic_cost
        customers, prototypes = self.histograms(batch), self.prototypes.double()
        pair = customers[:, None], prototypes.softmax(1)[None]
        return between(*pair, self.cost(), self.how)

    def forward(self, batch: Batch) -> Float[Tensor, "batch {self.dim}"]:
        read = self.distances(batch) / self.how.epsilon
        answer: Tensor = self.head(read.to(batch.numeric.dtype))
        return answer


def _hidden(dim_in: int, dropout: float) -> list[nn.Module]:
    linear, norm = nn.Linear(dim_in, HIDDEN), nn.LayerNorm(HIDDEN)
    return [linear, norm, nn.SiLU(), nn.Dropout(dropout)]


@dataclass(frozen=True, kw_only=True)
class OptimalTransportSpec(ExpertSpec):
    """Which columns are carried where, and at what cost.

    groups: the columns that are read, by their groups; all of them without.
    support: bins of the histogram that an MLP makes of them; ``columns`` where they are
    the histogram: all of kind ``probability``, summing to one.
    epsilon: how much entropy; iterations: of Sinkhorn, at most. Less entropy asks for
    more of them: at an epsilon of 0.02 fifty are too few.

    Raises ValueError for bad settings, and in ``build`` for a group that no column is
    of and for a histogram of other columns than probabilities.
    """

    dim: int = 64
    groups: tuple[str, ...] = ()
    support: int | Literal["columns"] = 32
    prototypes: int = 16
    epsilon: float = 0.1
    iterations: int = 50
    cost: CostName = "metric"
    dropout: float = 0.2

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(self.groups))
        one_of("Cost", self.cost, get_args(CostName))
        Sinkhorn(epsilon=self.epsilon, iterations=self.iterations)
        bins = 2 if self.support == "columns" else self.support
        if isinstance(bins, str) or bins < 2 or min(self.dim, self.prototypes) < 1:
            raise ValueError(
                "Transport needs dim and prototypes >= 1, and a support of 2 bins or "
                f"more or of 'columns'. Found {self}."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"Dropout must lie in [0, 1). Found {self.dropout}.")

    def build(self, schema: Schema) -> OptimalTransport:
        columns = Columns.build(schema, self.groups)
        if self.support == "columns":
            _check_kinds(schema, columns)
        return OptimalTransport(
            columns,
            None if isinstance(self.support, str) else self.support,
            self.prototypes,
            self.cost,
            Sinkhorn(epsilon=self.epsilon, iterations=self.iterations),
            self.dim,
            self.dropout,
        )


def _check_kinds(schema: Schema, columns: Columns) -> None:
    places = columns.get_buffer("places").tolist()
    read = [schema.numeric[place] for place in places]
    other = [feature.name for feature in read if feature.kind != "probability"]
    if other or len(read) < 2:
        raise ValueError(
            "A histogram of columns has two columns or more, all of kind 'probability'."
            f" Found {len(read)} columns, of another kind {other[:5]}."
        )
