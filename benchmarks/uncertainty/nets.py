"""Small networks of several seeds side by side, and what they are trained on."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_study.experts.mlp import ParallelLinear
from ple_study.objective.evidence import evidence_losses
from ple_study.schema import TaskSpec
from ple_study.tasks.evidential import EvidentialHeads, EvidentialSpec

SEEDS, MEMBERS, PASSES, DROP = 5, 3, 20, 0.1
BATCH, LR = 32, 3e-3
Loss = Callable[[Any, Tensor, int], Tensor]


class Lanes(nn.Module):
    """A network a lane, side by side; evidence for tasks, or else numbers."""

    def __init__(
        self, dims: tuple[int, ...], heads: list[TaskSpec] | tuple[int, int], drop=0.0
    ) -> None:
        super().__init__()
        lanes = len(heads) if isinstance(heads, list) else heads[0]
        self.layers = nn.ModuleList(
            ParallelLinear(lanes, *pair) for pair in pairwise(dims)
        )
        self.drop = drop
        self.head: nn.Module
        if isinstance(heads, list):
            self.head = EvidentialHeads(heads, dims[-1])
        else:
            self.head = ParallelLinear(lanes, dims[-1], heads[1])

    def forward(self, x: Tensor) -> Any:
        for layer in self.layers:
            x = F.relu(cast(ParallelLinear, layer).together(x))
            x = F.dropout(x, self.drop, self.training)
        if isinstance(self.head, EvidentialHeads):
            return self.head(x.unbind())
        return cast(ParallelLinear, self.head).together(x)


def train(
    net: Lanes,
    x: Tensor,
    y: Tensor,
    loss: Loss,
    steps: int,
    batch: int = BATCH,
    watch: Callable[[Lanes], None] | None = None,
) -> Lanes:
    """Adam with a cosine; each lane draws rows of its own; their losses are summed."""
    lanes, rows = y.shape
    optimiser = torch.optim.Adam(net.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    own = torch.arange(lanes)[:, None]
    for step in range(steps):
        at = step * batch % rows
        if at < batch:
            order = torch.rand(lanes, rows).argsort(1)
        part = order[:, at : at + batch]
        optimiser.zero_grad()
        loss(net(x[own, part]), y[own, part], step * batch // rows).backward()
        optimiser.step()
        schedule.step()
        if watch and (step + 1) % 100 == 0:
            watch(net)
    return net.eval()


def evidential_loss(tasks: list[TaskSpec], spec: EvidentialSpec) -> Loss:
    def loss(evidence: Any, y: Tensor, epoch: int) -> Tensor:
        labels = dict(zip([t.name for t in tasks], y, strict=True))
        found = evidence_losses(tasks, evidence, labels, spec=spec, epoch=epoch)
        return found.values.sum()

    return loss


def gaussian(said: Tensor, y: Tensor, _: int) -> Tensor:
    """-log density, the variance a softplus; mean over rows, sum over lanes."""
    mean, variance = said[..., 0], F.softplus(said[..., 1]) + 1e-6
    return (
        F.gaussian_nll_loss(mean, y, variance, full=True, reduction="none")
        .mean(1)
        .sum()
    )
