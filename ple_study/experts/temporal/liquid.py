"""Liquid cells: states that move in real time towards what a step says.

dh/dt = (f(x, h) - h) / tau(x, h), so that a gap of a month moves a state further than
one of a day. Hasani et al. (2021), "Liquid time-constant networks"; Hasani et al.
(2022), "Closed-form continuous-time neural networks", equation 10.
"""

import math
from functools import partial
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from ple_study.experts.temporal.recurrence import recurrence
from ple_study.names import one_of

Solver = Literal["exponential", "euler"]
Steps = Float[Tensor, "batch time"]
Mask = Bool[Tensor, "batch time"]
Series = Float[Tensor, "batch time channel"]
State = Float[Tensor, "batch dim"]

FLOOR = 0.1  # no time constant is shorter, in days
FIRST = (1.0, 64.0)  # the first time constants, log-uniform between these
LONGEST = 36_525.0  # days; a longer gap is as good as endless


def days_between(log_days: Steps, mask: Mask) -> Steps:
    """Days before each step, of log(1 + days): zero on padding, in [0, a century].

    Before a customer's first step nothing is known, so it counts as one day at least.
    """
    days = log_days.clamp(0.0, math.log1p(LONGEST)).expm1()
    first = mask & (mask.cumsum(1) == 1)
    days = torch.where(first, days.clamp(min=1.0), days)
    return torch.where(mask, days, 0.0)


class LiquidCell(nn.Module):
    """h' = f + (h - f) exp(-gap / tau), exact while f and tau stand still.

    f = tanh(W [x; h]) and tau = (softplus(MLP [x; h]) + 0.1) / scale. For every gap h'
    lies between h and f, and a gap of zero is an exact no-op. ``solver="euler"`` is the
    explicit step h + gap (f - h) / tau, which overshoots from gap = tau on and grows
    without bound from 2 tau on.
    """

    def __init__(self, dim_in: int, dim: int, solver: Solver = "exponential") -> None:
        super().__init__()
        one_of("Solver of a liquid cell", solver, get_args(Solver))
        self.dim, self.solver = dim, solver
        self.read = nn.Linear(dim_in, 2 * dim)
        self.recall = nn.Linear(dim, 2 * dim, bias=False)
        self.pace = nn.Linear(dim, dim)
        low, high = map(math.log, FIRST)
        first = torch.empty(dim).uniform_(low, high).exp() - FLOOR
        self.pace.bias = nn.Parameter(first + (-torch.expm1(-first)).log())
        self.log_scale = nn.Parameter(torch.zeros(()))

    def aim(
        self, read: Float[Tensor, "*axes twice"], state: Float[Tensor, "*axes dim"]
    ) -> tuple[Float[Tensor, "*axes dim"], Float[Tensor, "*axes dim"]]:
        """Where the state is drawn to, f, and how slowly, tau in days."""
        target, hidden = (read + self.recall(state)).chunk(2, dim=-1)
        tau = F.softplus(self.pace(F.silu(hidden))) + FLOOR
        return target.tanh(), tau * (-self.log_scale).exp()

    def move(self, read: Tensor, state: State, gap: Float[Tensor, "batch 1"]) -> State:
        """The state one gap later."""
        target, tau = self.aim(read, state)
        way = gap / tau
        if self.solver == "euler":
            return state + way * (target - state)
        # 1 - exp(-way), exact for a short way and zero for none.
        return torch.lerp(state, target.to(state), -torch.expm1(-way).to(state))

    def time_constants(
        self, inputs: Series, states: Float[Tensor, "batch time dim"]
    ) -> Float[Tensor, "batch time dim"]:
        """tau at each step, in days, of what ``drive`` read and answered."""
        before = F.pad(states[:, :-1], (0, 0, 1, 0))
        return self.aim(self.read(inputs), before)[1]


class ClosedFormCell(nn.Module):
    """h' = (1 - s) f + s g with s = sigmoid(a gap + b): CfC, no solver at all.

    f, g = tanh(.), a and b are linear in a layer that reads x and h. Between -1 and 1
    for every gap; a gap of zero still takes a step.
    """

    def __init__(self, dim_in: int, dim: int, backbone: int = 128) -> None:
        super().__init__()
        self.dim = dim
        self.read = nn.Linear(dim_in, backbone)
        self.recall = nn.Linear(dim, backbone, bias=False)
        self.heads = nn.Linear(backbone, 4 * dim)
        for layer in (self.read, self.recall, self.heads):
            nn.init.xavier_uniform_(layer.weight)

    def move(self, read: Tensor, state: State, gap: Float[Tensor, "batch 1"]) -> State:
        """The state one gap later."""
        hidden = 1.7159 * torch.tanh(0.666 * (read + self.recall(state)))
        f, g, a, b = self.heads(hidden).to(state).chunk(4, dim=-1)
        return torch.lerp(f.tanh(), g.tanh(), torch.sigmoid(a * gap + b))


def drive(
    cell: LiquidCell | ClosedFormCell, inputs: Series, gaps: Steps, mask: Mask
) -> Float[Tensor, "batch time dim"]:
    """The states of a cell along a series, from zero; padding leaves them as they are.

    ``gaps`` are the days before each step, each customer's own. Causal.
    """
    state = inputs.new_zeros(inputs.shape[0], cell.dim)  # export would fix len()
    parts = cell.read(inputs), gaps[..., None], mask[..., None]
    return recurrence(partial(_moved, cell), state, *parts)


def _moved(
    cell: LiquidCell | ClosedFormCell,
    state: State,
    read: Tensor,
    gap: Tensor,
    real: Tensor,
) -> tuple[State, State]:
    state = torch.where(real, cell.move(read, state, gap), state)
    return state, state
