"""Sinkhorn's scalings of many pairs with one kernel: by products, or by logarithms.

One iteration is y = b / (K' x), x = a / (K y) with K = exp(-C / eps); a pair's plan is
x_i K_ij y_j. Zero mass in a or b stays zero, and the potentials stay finite.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

CHECK_EVERY = 10
# Pairs whose numbers stay in a processor's cache, plain and by logarithms.
AT_ONCE, AT_ONCE_BY_LOGS = 1024, 64

Cost = Float[Tensor, "row column"]


class Potentials(NamedTuple):
    """The dual optimum of each pair; f + c and g - c are the same one."""

    f: Float[Tensor, "*pair row"]
    g: Float[Tensor, "*pair column"]


class Kernel(NamedTuple):
    """K = exp(-C / eps), or with ``logs`` its logarithm.

    With ``logs`` every x, y and total below is a logarithm too, and nothing under- or
    overflows.
    """

    values: Cost
    epsilon: float
    logs: bool


def kernel(cost: Cost, epsilon: float, logs: bool) -> Kernel:
    scaled = -cost / epsilon
    return Kernel(scaled if logs else scaled.exp(), epsilon, logs)


def over_rows(by: Kernel, x: Tensor) -> Tensor:
    """K' x of each pair."""
    if by.logs:
        return torch.logsumexp(x[:, :, None] + by.values, 1)
    return x @ by.values


def over_columns(by: Kernel, y: Tensor) -> Tensor:
    """K y of each pair."""
    if by.logs:
        return torch.logsumexp(y[:, None, :] + by.values, 2)
    return y @ by.values.T


def scaled(by: Kernel, a: Tensor, total: Tensor) -> Tensor:
    """a / total."""
    return a.log() - total if by.logs else a / total


def potential(by: Kernel, total: Tensor) -> Tensor:
    """The potential of the side that was scaled by ``total``."""
    return -by.epsilon * (total if by.logs else total.log())


def plans(by: Kernel, a: Tensor, b: Tensor, f: Tensor, g: Tensor) -> Tensor:
    """The sum of all pairs' plans a_i b_j exp((f_i + g_j - C_ij) / eps)."""
    f, g = f / by.epsilon, g / by.epsilon
    if by.logs:
        exponent = f[..., :, None] + g[..., None, :] + by.values
        each = a[..., :, None] * b[..., None, :] * exponent.exp()
        return each.reshape(-1, *by.values.shape).sum(0)
    sides = a * f.exp(), b * g.exp()
    x, y = (side.reshape(-1, side.shape[-1]) for side in sides)
    return by.values * (x.T @ y)


def fixed(by: Kernel, a: Tensor, b: Tensor, iterations: int) -> Potentials:
    """That many iterations of every pair."""
    x = a.log() if by.logs else a
    for _ in range(iterations):
        columns = over_rows(by, x)
        rows = over_columns(by, scaled(by, b, columns))
        x = scaled(by, a, rows)
    return Potentials(potential(by, rows), potential(by, columns))


def stopped(
    by: Kernel, a: Tensor, b: Tensor, iterations: int, tolerance: float
) -> Potentials:
    """Each pair until it is within the tolerance, some pairs at a time on a CPU."""
    at_once = AT_ONCE_BY_LOGS if by.logs else AT_ONCE
    size = at_once if a.is_cpu else max(1, len(a))
    starts = range(0, max(1, len(a)), size)
    sides = [(a[start : start + size], b[start : start + size]) for start in starts]
    parts = [_until(by, *side, iterations, tolerance) for side in sides]
    return Potentials(*(torch.cat(side) for side in zip(*parts, strict=True)))


def _until(
    by: Kernel, a: Tensor, b: Tensor, iterations: int, tolerance: float
) -> Potentials:
    """A pair that is within the tolerance leaves the product."""
    f, g = torch.empty_like(a), torch.empty_like(b)
    left, x = torch.arange(len(a), device=a.device), a.log() if by.logs else a
    for done in range(1, iterations + 1):
        columns = over_rows(by, x)
        rows = over_columns(by, scaled(by, b, columns))
        last = done == iterations
        if last or done % CHECK_EVERY == 0:
            f[left], g[left] = potential(by, rows), potential(by, columns)
            # The plan before rows are scaled; after, columns are off by no more.
            mass = (x + rows).exp() if by.logs else x * rows
            going = (mass - a).abs().sum(1) > tolerance
            if last or not going.any():
                break
            if not going.all():
                a, b, rows, left = (part[going] for part in (a, b, rows, left))
        x = scaled(by, a, rows)
    return Potentials(f, g)
