"""Hyperbolic operations against geoopt's and against mpmath's with 50 digits."""

from itertools import pairwise

import pytest
import torch
from scipy import sparse

from ple_study.data.graphs.csr import tensor
from ple_study.experts.hgcn.graph import HGCN
from ple_study.experts.hgcn.hyperbolic import (
    distance,
    exp0,
    from_lorentz,
    log0,
    lorentz,
    midpoint,
    squared_distance,
    stereographic,
    to_lorentz,
)
from ple_study.experts.hgcn.links import with_itself

mpmath = pytest.importorskip("mpmath")
curvatures = pytest.mark.parametrize("curvature", [0.6, 1.0, 2.3])
NEAR = {"atol": 1e-10, "rtol": 0}


def curved(value):
    return torch.tensor(value, dtype=torch.float64)


def points(curvature, seed=0, number=60, dim=3):
    """Up to 0.99 of the radius, the last of them at 0.99."""
    draw = torch.Generator().manual_seed(seed)
    way = torch.randn(number, dim, generator=draw, dtype=torch.float64)
    radius = torch.rand(number, 1, generator=draw, dtype=torch.float64)
    radius[-1] = 1
    return way / way.norm(dim=1, keepdim=True) * radius * 0.99 / curvature**0.5


def exactly(x, y, curvature):
    with mpmath.workdps(50):
        x, y = (mpmath.matrix(part.tolist()) for part in (x, y))
        c = mpmath.mpf(curvature)
        apart, one, other = (mpmath.fsum(v * v for v in part) for part in (x - y, x, y))
        ratio = 1 + 2 * c * apart / ((1 - c * one) * (1 - c * other))
        return float(mpmath.acosh(ratio) / mpmath.sqrt(c))


@curvatures
def test_distances_have_ten_digits_inside_099(curvature):
    c, x = curved(curvature), points(curvature)
    y = points(curvature, seed=1)
    y[0], y[1] = x[0], x[1] + 1e-7
    wanted = [exactly(a, b, curvature) for a, b in zip(x, y, strict=True)]
    wanted = torch.tensor(wanted, dtype=torch.float64)
    torch.testing.assert_close(distance(x, y, c)[2:], wanted[2:], **NEAR)
    ours = squared_distance(log0(x, c), log0(y, c), c).sqrt()
    torch.testing.assert_close(ours, wanted, **NEAR)


@curvatures
def test_the_ball_is_geoopts(curvature):
    c, x = curved(curvature), points(curvature)
    v = stereographic.logmap0(x, k=-c)
    torch.testing.assert_close(log0(x, c), v, **NEAR)
    torch.testing.assert_close(exp0(v, c), stereographic.expmap0(v, k=-c), **NEAR)


@curvatures
def test_the_sheet_is_geoopts_and_maps_to_the_ball(curvature):
    c, x = curved(curvature), points(curvature)
    v, other = log0(x, c), log0(points(curvature, seed=1), c)
    sheet = to_lorentz(v, c)
    tangent = lorentz.logmap0(sheet, k=1 / c)[:, 1:] / 2
    torch.testing.assert_close(from_lorentz(sheet, c), tangent, atol=1e-8, rtol=0)
    # geoopt answers the ball of radius one.
    ball = lorentz.lorentz_to_poincare(sheet, k=1 / c) / c.sqrt()
    torch.testing.assert_close(ball, x, **NEAR)
    far = lorentz.dist(sheet, to_lorentz(other, c), k=1 / c)
    found = squared_distance(v, other, c).sqrt()
    torch.testing.assert_close(found, far, atol=1e-9, rtol=0)


def test_far_out_the_distance_is_mpmaths_where_geoopts_ball_has_ended():
    """Tangents 20 long in float64: there the ball's points round to the rim."""
    u = torch.tensor([20.0, 0, 0], dtype=torch.float64)
    v = torch.tensor([11.0, 12, 5], dtype=torch.float64)
    with mpmath.workdps(80):
        r, s = (mpmath.norm(mpmath.matrix(x.tolist())) for x in (u, v))
        cos = mpmath.mpf(float(u @ v)) / (r * s)
        ratio = mpmath.cosh(2 * r) * mpmath.cosh(2 * s)
        ratio -= mpmath.sinh(2 * r) * mpmath.sinh(2 * s) * cos
        wanted = float(mpmath.acosh(ratio))
    for dtype, near in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        c = torch.tensor(1.0, dtype=dtype)
        found = squared_distance(u.to(dtype), v.to(dtype), c).sqrt()
        assert float(found) == pytest.approx(wanted, rel=near)


def test_geoopts_gradient_at_the_centre_is_zero_and_ours_is_not():
    """Why exp0 and log0 are our own."""
    one, v = curved(1.0).float(), torch.zeros(3)
    theirs, ours = (
        torch.autograd.functional.jacobian(there_and_back, v)
        for there_and_back in (
            lambda v: stereographic.logmap0(stereographic.expmap0(v, k=-one), k=-one),
            lambda v: log0(exp0(v, one), one),
        )
    )
    assert not theirs.any()
    torch.testing.assert_close(ours, torch.eye(3))


@curvatures
def test_einsteins_midpoint_is_geoopts(curvature):
    c, x = curved(curvature), points(curvature)
    draw = torch.Generator().manual_seed(2)
    weights = torch.rand(4, 60, generator=draw, dtype=torch.float64)
    # geoopt's gyromidpoint weighs by 2 / (1 - c |x|^2) - 1 and halves the result: the
    # same point by another way.
    wanted = torch.stack(
        [
            stereographic.weighted_midpoint(x, k=-c, weights=w, posweight=True)
            for w in weights
        ]
    )
    torch.testing.assert_close(midpoint(x, weights, c), wanted, atol=1e-9, rtol=0)


@curvatures
def test_layers_by_way_of_the_ball_are_the_same(curvature):
    """h' = exp0(relu(A (W log0(h) + b))), point by point with geoopt."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(9, 4, generator=draw, dtype=torch.float64) / 4
    ring = sparse.eye_array(9, k=1) + sparse.eye_array(9, k=-1)
    mean = with_itself(tensor(ring.tocsr()))
    net = HGCN((4, 5, 3), curvature, draw=draw).double()
    for layer in net.layers:
        torch.nn.init.normal_(layer.bias, std=0.1, generator=draw)
    c = net.c.detach()
    h = stereographic.expmap0(x, k=-c)
    for place, layer in enumerate(net.layers):
        step = mean.to_dense() @ layer(stereographic.logmap0(h, k=-c))
        step = step.relu() if place == 0 else step
        h = stereographic.expmap0(step, k=-c)
    torch.testing.assert_close(exp0(net(x, mean), c), h, **NEAR)
    pairs = torch.tensor([list(pair) for pair in pairwise(range(9))]).T
    far = stereographic.dist(h[pairs[0]], h[pairs[1]], k=-c)
    torch.testing.assert_close(
        net.link_logits(net(x, mean), pairs), 2 - far**2, atol=1e-8, rtol=0
    )
