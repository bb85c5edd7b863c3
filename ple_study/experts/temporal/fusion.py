"""The fusion gate of a temporal expert: how much each branch is heard, by customer."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Weights = Float[Tensor, "batch branch"]


class Fused(NamedTuple):
    """What was mixed, ``[batch, dim]``, and the weights that it was mixed with."""

    mixed: Float[Tensor, "batch dim"]
    weights: Weights


def entropy_bits(weights: Weights) -> Float[Tensor, " batch"]:
    """-sum_i g_i log2 g_i: 0 where one branch is heard alone, log2 3 where all are."""
    return torch.special.entr(weights).sum(1) / math.log(2)


class FusionGate(nn.Module):
    """sum_i g_i P_i z_i with g = softmax(W_2 relu(W_1 [z_1; ...; z_n])).

    Branches z_i ``[batch, dims[i]]`` of different widths are projected to one.
    """

    def __init__(self, dims: Sequence[int], dim: int, hidden: int = 6) -> None:
        super().__init__()
        self.hidden = nn.Linear(sum(dims), hidden)
        self.score = nn.Linear(hidden, len(dims))
        self.project = nn.ModuleList(nn.Linear(width, dim) for width in dims)

    def forward(self, branches: Sequence[Float[Tensor, "batch _"]]) -> Fused:
        hidden = F.relu(self.hidden(torch.cat(list(branches), dim=1)))
        weights = self.score(hidden).softmax(1)
        pairs = zip(self.project, branches, strict=True)
        projected = torch.stack([project(z) for project, z in pairs], dim=1)
        return Fused(torch.einsum("bn,bnd->bd", weights, projected), weights)
