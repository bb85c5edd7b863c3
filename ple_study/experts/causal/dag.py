"""How far effects are from forming a DAG, and how one graph differs from another.

Everywhere, entry [i, j] of a matrix of effects says what i does to j: x = x W + e, with
a customer a row of x. The acyclicity values are zero for a DAG and positive elsewhere;
they see the squares of the effects, so that cycles with signs do not cancel. All are
computed in float64: float32 sees no cycle that an edge of 0.001 closes.
"""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

Effects = Float[Tensor, "variable variable"]


class _Known(Function):
    """``value``, whose derivative with respect to ``at`` is ``slope``."""

    @staticmethod
    def forward(ctx: Any, at: Tensor, value: Tensor, slope: Tensor) -> Tensor:  # noqa: ARG004
        ctx.save_for_backward(slope)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return grad * slope, None, None


def _known(at: Tensor, value: Tensor, slope: Tensor) -> Tensor:
    found: Tensor = _Known.apply(at, value, slope)  # type: ignore[no-untyped-call]
    return found


def exponential(weights: Effects) -> Float[Tensor, ""]:
    """tr exp(W o W) - d, the number of weighted closed walks of every length.

    Zheng et al. (2018), "DAGs with NO TEARS", equation 8. The gradient is their own,
    exp(W o W)^T o 2W, and not the one through the exponential's algorithm.
    """
    squares = weights.double().square()
    walks = torch.matrix_exp(squares.detach())
    return _known(squares, walks.trace() - len(weights), walks.mT)


def polynomial(weights: Effects) -> Float[Tensor, ""]:
    """tr (I + W o W / d)^d - d: closed walks of at most d steps, which are enough.

    Yu et al. (2019), "DAG-GNN", equation 14, with alpha = 1 / d.
    """
    size = len(weights)
    one = torch.eye(size, dtype=torch.float64, device=weights.device)
    walks = torch.linalg.matrix_power(one + weights.double().square() / size, size)
    return walks.trace() - size


def truncated(weights: Effects, terms: int = 10) -> Float[Tensor, ""]:
    """The sum over k = 1 .. ``terms`` of tr (W o W)^k / k!: no longer cycle is seen."""
    squares = weights.double().square()
    power, total = squares, squares.trace()
    for k in range(2, terms + 1):
        power = power @ squares
        total = total + power.trace() / math.factorial(k)
    return total


class LogDeterminant(NamedTuple):
    """The value of ``log_determinant``, and its slope in the squares, (sI - A)^-T.

    ``inside`` is false where A has a spectral radius of s or more. There the value says
    nothing, and its sign does not tell.
    """

    value: Float[Tensor, ""]
    slope: Effects
    inside: bool


def log_determinant_of(squares: Effects, s: float) -> LogDeterminant:
    """-log det(sI - A) + d log s for A = ``squares``, by one factorisation.

    A without negative entries has a spectral radius below s if and only if sI - A has
    an inverse without negative entries (Berman and Plemmons, 1994, chapter 6, N38).
    """
    size = len(squares)
    one = torch.eye(size, dtype=squares.dtype, device=squares.device)
    factors, pivots, _ = torch.linalg.lu_factor_ex(s * one - squares)
    inverse = torch.linalg.lu_solve(factors, pivots, one)
    value = size * math.log(s) - factors.diagonal().abs().log().sum()
    # Rounding leaves entries that are zero a little below.
    inside = bool((inverse >= -1e-12 * inverse.abs().max()).all())
    return LogDeterminant(value, inverse.mT, inside)


def log_determinant(weights: Effects, s: float = 1.0) -> Float[Tensor, ""]:
    """-log det(sI - W o W) + d log s, in the domain where it is an acyclicity value.

    Bello et al. (2022), "DAGMA", equation 7. Raises ValueError where the spectral
    radius of W o W is not below s.
    """
    squares = weights.double().square()
    value, slope, inside = log_determinant_of(squares.detach(), s)
    if not inside:
        radius = torch.linalg.eigvals(squares.detach()).abs().max()
        raise ValueError(
            f"The log-determinant needs a spectral radius of W o W below s = {s}. "
            f"Found {float(radius):.6g}."
        )
    return _known(squares, value, slope)


def is_acyclic(graph: Bool[Tensor, "variable variable"]) -> bool:
    """Whether no walk along the edges comes back."""
    while len(graph):
        caused = graph.any(0)
        if caused.all():
            return False
        graph = graph[caused][:, caused]  # without those that nothing causes
    return True


def prune(weights: Effects, threshold: float) -> Effects:
    """The effects of at least ``threshold``, or of as much more as leaves a DAG."""
    sizes = weights.abs()
    above = sizes[sizes > threshold].sort().values
    marks = torch.cat([sizes.new_tensor([threshold]), above])
    low, high = 0, len(marks)  # what a higher threshold leaves is a DAG as well
    while low < high:
        middle = (low + high) // 2
        # An edge at a mark above the threshold is the weakest that is still there.
        if is_acyclic(sizes >= marks[middle]):
            high = middle
        else:
            low = middle + 1
    least = marks[low] if low < len(marks) else sizes.new_tensor(math.inf)
    return weights.where(sizes >= least, 0.0)


class Difference(NamedTuple):
    """How the edges of one DAG stand to the edges of another, the truth."""

    right: int
    reversed: int
    missing: int
    extra: int

    @property
    def distance(self) -> int:
        """The structural Hamming distance: a reversed edge counts once."""
        return self.reversed + self.missing + self.extra


def compare(
    found: Bool[Tensor, "variable variable"], truth: Bool[Tensor, "variable variable"]
) -> Difference:
    """Of two DAGs over the same variables."""
    turned = found & truth.mT & ~truth
    return Difference(
        right=int((found & truth).sum()),
        reversed=int(turned.sum()),
        missing=int((truth & ~found & ~found.mT).sum()),
        extra=int((found & ~truth & ~truth.mT).sum()),
    )


def varsortability(
    rows: Float[Tensor, "sample variable"], graph: Bool[Tensor, "variable variable"]
) -> float:
    """The share of cause-effect pairs in which the effect varies more than the cause.

    A pair counts once for every length of a directed path between its two; a tie is a
    half. Near one, sorting by variance already finds the order, and a search on data in
    their own units may do no more. Reisach et al. (2021), "Beware of the simulated
    DAG!", equation 1.
    """
    variance = rows.double().var(0)
    grows = (variance - variance[:, None]).sign() / 2 + 0.5
    edges = graph.double()
    paths, pairs, sorted_pairs = edges, 0.0, 0.0
    for _ in range(len(graph) - 1):
        pairs += float(paths.sum())
        sorted_pairs += float((paths * grows).sum())
        paths = (paths @ edges > 0).double()
    return sorted_pairs / pairs if pairs else math.nan
