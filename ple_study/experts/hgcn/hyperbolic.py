"""Hyperbolic space as a ball, from the tangent space at its centre, and as a sheet.

The Poincare ball of curvature -c has the points ``c |x|^2 < 1``; a tangent v at the
centre names the point ``exp0(v)``, ``2 |v|`` away from it. Ganea et al. (NeurIPS 2018);
Chami et al., HGCN (NeurIPS 2019). Operations are geoopt's except where its gradient at
the centre is wrong (zero) or float32 ends (a distance of 6).
"""

import warnings
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

with warnings.catch_warnings():
    # On import geoopt compiles with torch.jit.script, which warns of its own end.
    warnings.filterwarnings("ignore", r"`?torch\.jit")
    from geoopt.manifolds.lorentz import math as lorentz  # type: ignore[import-untyped]
    from geoopt.manifolds.stereographic import (  # type: ignore[import-untyped]
        math as stereographic,
    )

EDGE = 1 - 1e-5  # of the ball's radius: no point lies further out
NEAR = 1e-6  # of a square below which two terms of a series are exact
POLAR = 1.0  # sqrt(c) |v| from which a point is told by direction and radius
FAR = 20.0  # sqrt(c) |v| up to which cosh^4 is a float32


def exp0(
    tangent: Float[Tensor, "*batch dim"], c: Float[Tensor, ""]
) -> Float[Tensor, "*batch dim"]:
    """The point of the ball ``tanh(sqrt(c) |v|) v / (sqrt(c) |v|)``.

    The gradient at v = 0 is the identity. Points stop at ``EDGE`` of the radius; there
    ``squared_distance`` and the Lorentz form still tell them apart.
    """
    square = c * tangent.square().sum(-1, keepdim=True)
    ratio = _even(square, lambda r: r.tanh().clamp_max(EDGE) / r, -1 / 3, 2 / 15)
    return ratio * tangent


def log0(
    point: Float[Tensor, "*batch dim"], c: Float[Tensor, ""]
) -> Float[Tensor, "*batch dim"]:
    """The tangent ``artanh(sqrt(c) |x|) x / (sqrt(c) |x|)``: what exp0 undoes.

    Raises ValueError for a point that is not inside the ball.
    """
    check_ball(point, c)
    square = c * point.square().sum(-1, keepdim=True)
    return _even(square, lambda r: r.atanh() / r, 1 / 3, 1 / 5) * point


def _even(
    square: Tensor, function: Callable[[Tensor], Tensor], first: float, second: float
) -> Tensor:
    """An even f(r) as a function of r^2; 1 + first r^2 + second r^4 where r is small.

    Written with r itself its gradient at 0 would be 0 / 0.
    """
    small = square < NEAR
    root = torch.where(small, 1.0, square).sqrt()
    series = 1 + square * (first + second * square)
    return torch.where(small, series, function(root))


def check_ball(point: Float[Tensor, "*batch dim"], c: Float[Tensor, ""]) -> None:
    """Raises ValueError for a point on the rim, beyond it or nowhere (NaN)."""
    radius = (c.sqrt() * point.norm(dim=-1)).flatten()
    wrong = (~(radius < 1)).nonzero()[:, 0]
    if len(wrong):
        place = int(wrong[0])
        raise ValueError(
            "Points must lie inside the ball: sqrt(c) |x| < 1. Found "
            f"{float(radius[place])} at row {place} with c = {float(c)}."
        )


def distance(
    x: Float[Tensor, "*batch dim"], y: Float[Tensor, "*batch dim"], c: Float[Tensor, ""]
) -> Float[Tensor, "*batch"]:
    """``arcosh(1 + 2c |x-y|^2 / ((1 - c|x|^2)(1 - c|y|^2))) / sqrt(c)`` in the ball.

    geoopt's. Raises ValueError for a point that is not inside the ball.
    """
    check_ball(x, c)
    check_ball(y, c)
    return stereographic.dist(x, y, k=-c)


def squared_distance(
    u: Float[Tensor, "*#batch dim"],
    v: Float[Tensor, "*#batch dim"],
    c: Float[Tensor, ""],
) -> Float[Tensor, "*batch"]:
    """The squared distance of ``exp0(u)`` and ``exp0(v)``, also where the ball ends.

    ``4 asinh(sqrt(q))^2 / c`` with ``q = (-c <U, V> - 1) / 2``, the Lorentz product of
    both points, written so that nothing cancels: with
    ``r = sqrt(c) |u|`` and ``s = sqrt(c) |v|``::

        q = |cosh s sinh r u/|u| - cosh r sinh s v/|v||^2
          = sinh(r - s)^2 + sinh 2r sinh 2s |u/|u| - v/|v||^2 / 4.

    The first holds near the centre, the second elsewhere. Value and gradient are finite
    for every finite u and v, also where the two coincide; r and s count up to ``FAR``.
    """
    u, v = (c.sqrt() * tangent for tangent in (u, v))
    squares = [x.square().sum(-1, keepdim=True) for x in (u, v)]
    near = torch.minimum(*squares) < POLAR**2
    # A form must not differentiate what it is not for.
    inner = _near(*(_shortened(torch.where(near, x, 0.0)) for x in (u, v)))
    outer = _polar(*(torch.where(near, 1.0, x) for x in (u, v)))
    q = torch.where(near[..., 0], inner, outer)
    # asinh(sqrt(q))^2 is smooth at 0, where its root is not.
    return 4 * q * _even(q, lambda r: r.asinh() / r, -1 / 6, 3 / 40) ** 2 / c


def _near(u: Tensor, v: Tensor) -> Tensor:
    a, b = (x.square().sum(-1, keepdim=True) for x in (u, v))
    (sinh_a, cosh_a), (sinh_b, cosh_b) = (
        (
            _even(x, lambda r: r.sinh() / r, 1 / 6, 1 / 120),
            _even(x, torch.cosh, 1 / 2, 1 / 24),
        )
        for x in (a, b)
    )
    return (cosh_b * sinh_a * u - cosh_a * sinh_b * v).square().sum(-1)


def _polar(u: Tensor, v: Tensor) -> Tensor:
    radius, other = (x.norm(dim=-1, keepdim=True) for x in (u, v))
    apart = (u / radius - v / other).square().sum(-1)
    r, s = (x[..., 0].clamp_max(FAR) for x in (radius, other))
    return (r - s).sinh() ** 2 + (2 * r).sinh() * (2 * s).sinh() * apart / 4


def _shortened(tangent: Tensor) -> Tensor:
    """No longer than ``FAR``."""
    length = tangent.square().sum(-1, keepdim=True)
    long = length > FAR**2
    return torch.where(long, FAR * length.clamp_min(1.0).rsqrt(), 1.0) * tangent


def to_lorentz(
    tangent: Float[Tensor, "*batch dim"], c: Float[Tensor, ""]
) -> Float[Tensor, "*batch axis"]:
    """The same point on the sheet ``-x_0^2 + x_1^2 + ... = -1 / c``, geoopt's.

    A tangent of length 20 is still its own point there in float32; in the ball the
    points of all beyond 6 are one.
    """
    start = torch.zeros_like(tangent[..., :1])
    return lorentz.expmap0(torch.cat([start, 2 * tangent], -1), k=1 / c)


def from_lorentz(
    point: Float[Tensor, "*batch axis"], c: Float[Tensor, ""]
) -> Float[Tensor, "*batch dim"]:
    """The tangent at the centre: ``asinh(sqrt(c) |x|) / (2 sqrt(c) |x|) x``.

    x is the point without its first axis, which is not read: asinh of the others loses
    nothing near the centre, where geoopt's arcosh of the first has gradient zero.
    """
    x = point[..., 1:]
    square = c * x.square().sum(-1, keepdim=True)
    return _even(square, lambda r: r.asinh() / r, -1 / 6, 3 / 40) * x / 2


def midpoint(
    points: Float[Tensor, "point dim"],
    weights: Float[Tensor, "row point"],
    c: Float[Tensor, ""],
) -> Float[Tensor, "row dim"]:
    """Einstein's midpoint ``sum w g k / sum w g`` of points of the Poincare ball.

    It is defined in Klein's coordinates ``k = 2 p / (1 + c |p|^2)``, with the factor
    ``g = 1 / sqrt(1 - c |k|^2)``, and mapped back, ``p = k / (1 + sqrt(1 - c |k|^2))``.
    weights: dense or CSR. A row that sums to 0 answers NaN: there is no such point.
    Near the rim ``1 - c |k|^2`` is the square of a small number: give float64 there.

    Raises ValueError for a point that is not inside the ball.
    """
    check_ball(points, c)
    length = c * points.square().sum(1, keepdim=True)
    # g in Poincare's coordinates, without the difference; and g k.
    factor, heavy = (1 + length) / (1 - length), 2 * points / (1 - length)
    mean = (weights @ heavy) / (weights @ factor)
    rest = 1 - c * mean.square().sum(1, keepdim=True)
    return mean / (1 + rest.clamp_min(0.0).sqrt())
