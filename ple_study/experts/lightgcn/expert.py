"""Who buys where others buy: embeddings of a bipartite graph, and the expert on them.

He et al., LightGCN (SIGIR 2020). The graph is trained offline, ``LightGCN``; each
customer's embedding travels in her batch, and ``LightGCNExpert`` refines it online.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ple_study.experts.base import ExpertSpec
from ple_study.experts.lightgcn.bpr import Triples, Visited, bpr_loss
from ple_study.experts.lightgcn.embeddings import FittedLightGCN, embedded
from ple_study.experts.lightgcn.propagation import SymmetricGraph, layer_mean
from ple_study.experts.vectors import VectorExpert, vector_width
from ple_study.schema import Schema

START = 0.1  # deviation of the first embeddings, the authors'


class Epoch(NamedTuple):
    """After a pass: the nodes, customers first, and the mean loss of its steps."""

    nodes: Float[Tensor, "node dim"]
    loss: float


@dataclass(frozen=True, kw_only=True)
class LightGCN:
    """Offline: how the graph is trained, by Adam on triples drawn afresh each epoch.

    ``decay`` d adds ``d / 2 |e|^2`` of the layer-0 embeddings that a triple names, a
    mean over the batch. The defaults are those of the authors' code.
    """

    dim: int = 64
    layers: int = 3
    epochs: int = 100
    batch_size: int = 2048
    rate: float = 1e-3
    decay: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        least = min(self.dim, self.epochs, self.batch_size)
        learns = 0 < self.rate < torch.inf and 0 <= self.decay < torch.inf
        if least < 1 or self.layers < 0 or not learns:
            raise ValueError(
                "dim, epochs and batch_size must be 1 or more, layers and decay 0 or "
                f"more, rate above 0, all finite. Found {self}."
            )

    def fit(self, weights: Float[Tensor, "customer merchant"]) -> FittedLightGCN:
        """Train on how much each customer bought where (CSR); the paper's are ones.

        Raises ValueError for a weight that is not positive, and where no customer has
        both a merchant that she visited and one that she did not.
        """
        passes = list(islice(self.passes(weights), self.epochs))
        losses = tuple(epoch.loss for epoch in passes)
        return embedded(weights, passes[-1].nodes, self.layers, losses)

    def passes(self, weights: Float[Tensor, "customer merchant"]) -> Iterator[Epoch]:
        """One epoch after the other, without end: as many triples as there are visits.

        Their nodes are the table in training: copy what is to be kept.
        """
        draw = torch.Generator().manual_seed(self.seed)
        graph, visits = SymmetricGraph.bipartite(weights), Visited(weights)
        start = START * torch.randn(len(graph), self.dim, generator=draw)
        optimiser = torch.optim.Adam([nodes := start.requires_grad_()], lr=self.rate)
        whole, step = len(visits.merchant), self.batch_size
        sizes = [min(step, whole - first) for first in range(0, whole, step)]
        while True:
            losses = []
            for size in sizes:
                triples = visits.draw(size, draw).nodes(weights.shape[0])
                loss = _loss(graph, nodes, triples, self)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                losses.append(float(loss.detach()))
            yield Epoch(nodes.detach(), sum(losses) / len(losses))


def _loss(
    graph: SymmetricGraph, nodes: Tensor, triples: Triples, settings: LightGCN
) -> Tensor:
    named = torch.cat(triples)
    mean = layer_mean(graph, nodes, settings.layers).index_select(0, named)
    lengths = nodes.index_select(0, named).square().sum() / len(triples.customer)
    return bpr_loss(*mean.chunk(3)) + settings.decay / 2 * lengths


class LightGCNExpert(VectorExpert):
    """Refines a customer's place in the graph: ``e + W2 drop(gelu(W1 norm(e)))``.

    ``norm`` lets graphs of any scale be read alike; what it takes away, the length of
    the embedding, stays in ``e``. Then the ending of every expert.
    """

    def __init__(
        self,
        name: str,
        width: int,
        hidden: int = 128,
        dim: int = 64,
        dropout: float = 0.1,
    ) -> None:
        refine = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
        )
        super().__init__(name, width, dim, refine)


@dataclass(frozen=True, kw_only=True)
class LightGCNSpec(ExpertSpec):
    """Which vector holds the embeddings, and the sizes of the network that reads them.

    Building raises ValueError where the schema has no vector of that name.
    """

    vector: str = "graph"
    hidden: int = 128
    dim: int = 64
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if min(self.hidden, self.dim) < 1 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"hidden and dim must be 1 or more and dropout in [0, 1). Found {self}."
            )

    def build(self, schema: Schema) -> LightGCNExpert:
        width = vector_width(schema, self.vector)
        return LightGCNExpert(self.vector, width, self.hidden, self.dim, self.dropout)
