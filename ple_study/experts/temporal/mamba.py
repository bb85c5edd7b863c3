"""A Mamba block: a short convolution and a selective scan, gated, with a way around.

Gu and Dao (2023), "Mamba", figure 3; Dao and Gu (2024), "Transformers are SSMs". What
a step reads and how long it stays depends on the step itself.
"""

import math
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from ple_study.experts.temporal.selective_scan import channel_scan, chunked_scan
from ple_study.names import one_of

Scan = Literal["ssd", "mamba1"]
Series = Float[Tensor, "batch time dim"]
Mask = Bool[Tensor, "batch time"]

EXPAND, KERNEL, HEAD = 2, 4, 64  # the authors'
STEPS = (1e-3, 1e-1)  # the first step sizes, log-uniform between these


def last(series: Series, mask: Mask) -> Float[Tensor, "batch dim"]:
    """The last true step of each customer; of one without any, the first step."""
    place = torch.arange(mask.shape[1], device=mask.device) * mask
    index = place.amax(1)[:, None, None].expand(-1, 1, series.shape[2])
    return series.gather(1, index).squeeze(1)


def first_step_sizes(count: int) -> Float[Tensor, " count"]:
    """b with softplus(b) log-uniform in ``STEPS``."""
    low, high = map(math.log, STEPS)
    size = torch.empty(count).uniform_(low, high).exp()
    return size + (-torch.expm1(-size)).log()


class HeadScan(nn.Module):
    """One decay a head (Mamba-2): delta = softplus(W x + b), a = -delta exp(A_log).

    B and C are linear in x and shared by all heads; D x goes around the state.
    """

    def __init__(self, dim: int, state: int) -> None:
        super().__init__()
        if dim > HEAD and dim % HEAD:
            raise ValueError(
                f"A scan wider than {HEAD} has heads of {HEAD}. Found width {dim}."
            )
        self.heads = max(1, dim // HEAD)
        self.parts = (self.heads, state, state)
        self.project = nn.Linear(dim, sum(self.parts), bias=False)
        self.bias = nn.Parameter(first_step_sizes(self.heads))
        self.log_rate = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log())
        self.skip = nn.Parameter(torch.ones(self.heads))

    def forward(self, x: Series, mask: Mask) -> Series:
        raw, write, read = self.project(x).split(self.parts, dim=2)
        delta = F.softplus(raw + self.bias) * mask[..., None]
        heads = x.view(*x.shape[:2], self.heads, x.shape[2] // self.heads)
        decay = -delta * self.log_rate.exp()
        y = chunked_scan(heads, decay, write, read, delta)
        return (y + self.skip[:, None] * heads).flatten(2)


class ChannelScan(nn.Module):
    """A decay a channel and state (Mamba-1): A = -exp(A_log), A_log = log(1..state).

    delta = softplus(W_up W_down x + b), through a narrow layer of dim / 32.
    """

    def __init__(self, dim: int, state: int) -> None:
        super().__init__()
        rank = math.ceil(dim / 32)
        self.parts = (rank, state, state)
        self.project = nn.Linear(dim, sum(self.parts), bias=False)
        self.step = nn.Linear(rank, dim)
        nn.init.uniform_(self.step.weight, -(rank**-0.5), rank**-0.5)
        self.step.bias = nn.Parameter(first_step_sizes(dim))
        rates = torch.arange(1.0, state + 1).expand(dim, -1)
        self.log_rate = nn.Parameter(rates.log())
        self.skip = nn.Parameter(torch.ones(dim))

    def forward(self, x: Series, mask: Mask) -> Series:
        narrow, write, read = self.project(x).split(self.parts, dim=2)
        delta = F.softplus(self.step(narrow)) * mask[..., None]
        y = channel_scan(x, delta, -self.log_rate.exp(), write, read)
        return y + self.skip * x


class MambaBlock(nn.Module):
    """x + W (scan(silu(conv(u))) * silu(z)), where (u, z) = W_in norm(x).

    Causal: no step sees a later one. Steps where ``mask`` is false enter neither the
    convolution nor the state, so padding on either side changes no true step.
    """

    def __init__(self, dim: int, state: int = 16, scan: Scan = "ssd") -> None:
        super().__init__()
        one_of("Scan", scan, get_args(Scan))
        inner = EXPAND * dim
        self.norm = nn.LayerNorm(dim)
        self.enter = nn.Linear(dim, 2 * inner, bias=False)
        self.conv = nn.Conv1d(inner, inner, KERNEL, groups=inner)
        kind = {"ssd": HeadScan, "mamba1": ChannelScan}[scan]
        self.scan = kind(inner, state)
        self.leave = nn.Linear(inner, dim, bias=False)

    def forward(self, series: Series, mask: Mask) -> Series:
        return series + self.mix(self.norm(series), mask)

    def mix(self, series: Series, mask: Mask) -> Series:
        """The block without its norm and its way around."""
        u, z = self.enter(series).chunk(2, dim=2)
        before = F.pad((u * mask[..., None]).mT, (KERNEL - 1, 0))
        u = F.silu(self.conv(before).mT)
        return self.leave(self.scan(u, mask) * F.silu(z))
