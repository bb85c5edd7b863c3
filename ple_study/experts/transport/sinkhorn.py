"""Entropic optimal transport between histograms, many pairs at once.

Cuturi (2013), "Sinkhorn distances"; Feydy et al. (2019), "Interpolating between
optimal transport and MMD using Sinkhorn divergences" for the dual, the debiasing and
the gradient; Peyre and Cuturi (2019), "Computational optimal transport", chapter 4.

All pairs share one ground cost C [row, column]. Of histograms a and b, with P ranging
over the plans that have them as marginals::

    OT(a, b) = min_P <P, C> + eps KL(P | a b')
             = max_{f, g} <f, a> + <g, b> - eps (sum_ij P_ij - 1),
    P_ij = a_i b_j exp((f_i + g_j - C_ij) / eps).

That is <P, C> - eps H(P) + eps (H(a) + H(b)), so that the plan is the one of the
entropy H, and f and g are finite also where a histogram has no mass.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ple_study.experts.transport.scalings import (
    Cost,
    Kernel,
    Potentials,
    fixed,
    kernel,
    plans,
    stopped,
)

SUMS = 1e-4  # how far from one a histogram of float32 may sum

Rows = Float[Tensor, "*#pair row"]
Columns = Float[Tensor, "*#pair column"]


@dataclass(frozen=True, kw_only=True)
class Sinkhorn:
    """When to stop, and how much entropy.

    A pair stops by itself once its marginals are within ``tolerance`` of a and b, in
    the sum of absolute differences, looked at every 10 iterations; all stop after
    ``iterations``. While torch.compile or torch.export trace, a loop cannot depend on
    the data, and every pair takes all ``iterations``.

    ``spread`` is a bound on max C - min C that holds whatever C has learned; without
    it C is looked at (and logarithms are taken while tracing).
    """

    epsilon: float = 0.1
    iterations: int = 1000
    tolerance: float = 1e-6
    spread: float | None = None

    def __post_init__(self) -> None:
        good = 0 < self.epsilon < math.inf and self.iterations >= 1
        if not good or not self.tolerance >= 0:
            raise ValueError(
                "Sinkhorn needs epsilon above 0, iterations of 1 or more and a "
                f"tolerance of 0 or more. Found {self}."
            )


def by_logs(spread: float, epsilon: float, dtype: torch.dtype) -> bool:
    """Whether (max C - min C) / eps asks for sums of exponentials by their logarithms.

    Plain products hold exp(-C / eps), and scalings as large as its inverse: both, and
    their product, are normal numbers as long as the ratio is at most half of
    log(max): 44 in float32, 354 in float64. Logarithms cost several times as much.
    """
    return spread / epsilon > math.log(torch.finfo(dtype).max) / 2


def potentials(a: Rows, b: Columns, cost: Cost, how: Sinkhorn) -> Potentials:
    """Sinkhorn's iterations, without a gradient. ``a`` and ``b`` broadcast as pairs.

    Rows of the plan have their marginal exactly, columns within the tolerance. Raises
    ValueError for a histogram with a negative number or whose sum is not one.
    """
    with torch.no_grad():
        shapes = a.shape[:-1], b.shape[:-1]
        pairs = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]
        rows, columns = (x.expand(*pairs, x.shape[-1]) for x in (a, b))
        sides = rows.reshape(-1, a.shape[-1]), columns.reshape(-1, b.shape[-1])
        low, by = cost.min(), _kernel(cost, how)
        if torch.compiler.is_compiling():
            found = fixed(by, *sides, how.iterations)
        else:
            check_histograms(a)
            check_histograms(b)
            found = stopped(by, *sides, how.iterations, how.tolerance)
        f, g = (side.view(*pairs, side.shape[-1]) for side in found)
        return Potentials(f + low, g)


def plan(
    a: Rows, b: Columns, cost: Cost, found: Potentials, epsilon: float
) -> Float[Tensor, "*pair row column"]:
    """P_ij = a_i b_j exp((f_i + g_j - C_ij) / eps), of each pair."""
    exponent = found.f[..., :, None] + found.g[..., None, :] - cost
    mass = a[..., :, None] * b[..., None, :]
    spread = mass * (exponent / epsilon).exp()
    return spread.masked_fill(mass == 0, 0.0)  # where a small eps makes it 0 inf


def entropic_cost(
    a: Rows, b: Columns, cost: Cost, how: Sinkhorn
) -> Float[Tensor, "*pair"]:
    """OT(a, b) of each pair, with its gradient in a, b and C.

    By the envelope theorem that is f, g and P at the optimum, so that nothing is
    unrolled; f and g are centred, as a histogram can only move with its sum kept. It is
    as exact as the marginals are; a second derivative is refused.
    """
    found = potentials(a, b, cost, how)
    value: Tensor = _Value.apply(a, b, cost, *found, how)  # type: ignore[no-untyped-call]
    return value


def divergence(
    a: Rows, b: Columns, cost: Cost, how: Sinkhorn
) -> Float[Tensor, "*pair"]:
    """S(a, b) = OT(a, b) - (OT(a, a) + OT(b, b)) / 2: zero, up to tolerance, at a = b.

    Not negative where exp(-C / eps) is positive definite, as of a squared distance.
    """
    # Clones, as torch.compile does not trace a function given one tensor twice.
    own = [entropic_cost(x, x.clone(), cost, how) for x in (a, b)]
    return entropic_cost(a, b, cost, how) - (own[0] + own[1]) / 2


def check_histograms(
    found: Float[Tensor, "*pair bin"], what: str = "A histogram"
) -> None:
    """Raises ValueError unless all numbers are 0 or more and every row sums to one."""
    off = (found.sum(-1) - 1).abs()
    good = (found >= 0).all(-1) & (off <= SUMS)
    if not good.all():
        row = found[~good][0]
        raise ValueError(
            f"{what} has no negative number and sums to one. Found a sum of "
            f"{float(row.sum()):.6g} and a least number of {float(row.min()):.6g} in "
            f"{int((~good).sum())} of {good.numel()}."
        )


def _kernel(cost: Cost, how: Sinkhorn) -> Kernel:
    spread = how.spread
    if spread is None:
        looked = not torch.compiler.is_compiling()
        spread = float(cost.max() - cost.min()) if looked else math.inf
    logs = by_logs(spread, how.epsilon, cost.dtype)
    return kernel(cost - cost.min(), how.epsilon, logs)


class _Value(torch.autograd.Function):
    """<f, a> + <g, b>, whose gradients are f, g and the plan."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        a, b, _, f, g, ctx.how = given
        ctx.save_for_backward(*given[:5])
        value: Tensor = (f * a).sum(-1) + (g * b).sum(-1)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, b, cost, f, g = ctx.saved_tensors
        over = grad[..., None]
        by_a, by_b = (over * (x - x.mean(-1, keepdim=True)) for x in (f, g))
        by_cost = None
        if ctx.needs_input_grad[2]:
            by = _kernel(cost, ctx.how)
            by_cost = plans(by, over * a, b, f - cost.min(), g)
        by_a, by_b = by_a.sum_to_size(a.shape), by_b.sum_to_size(b.shape)
        return by_a, by_b, by_cost, None, None, None
