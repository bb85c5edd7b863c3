"""Points of the ball: laws, limits at the centre and at the rim, refusals."""

import pytest
import torch

from ple_study.experts.hgcn.hyperbolic import (
    EDGE,
    FAR,
    distance,
    exp0,
    from_lorentz,
    log0,
    midpoint,
    squared_distance,
    to_lorentz,
)

DIM = 3
curvatures = pytest.mark.parametrize("curvature", [0.7, 1.0, 2.5])
precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def curved(value, dtype=torch.float64):
    return torch.tensor(value, dtype=dtype)


def tangents(number=40, longest=2.5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    way = torch.randn(number, DIM, generator=draw, dtype=torch.float64)
    length = torch.rand(number, 1, generator=draw, dtype=torch.float64) * longest
    return way / way.norm(dim=1, keepdim=True) * length


@curvatures
def test_log_undoes_exp_and_the_centre_is_twice_the_tangent_away(curvature):
    c, v = curved(curvature), tangents()
    there = exp0(v, c)
    assert (c.sqrt() * there.norm(dim=1) < 1).all()
    torch.testing.assert_close(log0(there, c), v, atol=1e-10, rtol=0)
    far = distance(there, torch.zeros_like(there), c)
    torch.testing.assert_close(far, 2 * v.norm(dim=1), atol=1e-10, rtol=0)
    torch.testing.assert_close(from_lorentz(to_lorentz(v, c), c), v)


def test_float32_is_float64_to_four_digits_within_2_and_a_half():
    c, v = curved(1.0), tangents()
    near = exp0(v.float(), c.float())
    torch.testing.assert_close(near.double(), exp0(v, c), atol=1e-4, rtol=0)
    torch.testing.assert_close(log0(near, c.float()).double(), v, atol=1e-4, rtol=0)


@curvatures
def test_distances_from_tangents_are_those_of_the_ball(curvature):
    c, u = curved(curvature), tangents()
    v = tangents(seed=1)
    wanted = distance(exp0(u, c), exp0(v, c), c)
    found = squared_distance(u, v, c).sqrt()
    torch.testing.assert_close(found, wanted, atol=1e-9, rtol=0)
    assert torch.equal(squared_distance(v, u, c), squared_distance(u, v, c))
    assert (squared_distance(u, u, c) == 0).all()
    third = tangents(seed=2)
    one, two, three = (
        squared_distance(*pair, c).sqrt() for pair in ((u, v), (v, third), (u, third))
    )
    assert (three <= one + two + 1e-9).all()


def test_near_the_centre_a_series_is_the_function():
    r = 0.9e-3  # where two terms of a series stand for it
    near, one = curved([r, 0.0]), curved(1.0)
    exact = {"atol": 0, "rtol": 1e-13}
    torch.testing.assert_close(exp0(near, one), near.tanh(), **exact)
    torch.testing.assert_close(log0(near, one), near.atanh(), **exact)
    across = squared_distance(near, -near / 2, one)
    torch.testing.assert_close(across, curved((3 * r) ** 2), **exact)
    there = squared_distance(near, near / 1e3, one)
    torch.testing.assert_close(there, curved((1.998 * r) ** 2), **exact)


def test_with_little_curvature_the_distance_is_that_of_flat_space():
    u, v = tangents(), tangents(seed=1)
    found = squared_distance(u, v, curved(1e-9))
    torch.testing.assert_close(found, 4 * (u - v).square().sum(1), rtol=1e-7, atol=0)


@precisions
def test_the_gradient_at_the_centre_is_the_identity(dtype):
    c = curved(1.0, dtype)
    for there, back in ((exp0, log0), (to_lorentz, from_lorentz)):
        found = torch.autograd.functional.jacobian(
            lambda v, there=there, back=back: back(there(v, c), c),
            torch.zeros(DIM, dtype=dtype),
        )
        torch.testing.assert_close(found, torch.eye(DIM, dtype=dtype))


def test_gradients_agree_with_differences_also_where_forms_meet():
    c = curved(1.3).requires_grad_()
    u, v = tangents(6, 1.6), tangents(6, 1.6, seed=1)
    u[0], v[1] = 0.0, u[1] * 1e-4  # the centre, and near it
    u[2] *= 0.999 / (c.detach().sqrt() * u[2].norm())
    u.requires_grad_(), v.requires_grad_()
    assert torch.autograd.gradcheck(exp0, (u, c))
    assert torch.autograd.gradcheck(lambda x, c: log0(0.3 * x, c), (u, c))
    assert torch.autograd.gradcheck(squared_distance, (u, v, c))


@precisions
def test_far_out_nothing_ends_and_nothing_is_nan(dtype):
    c = curved(1.0, dtype).requires_grad_()
    lengths = torch.tensor([0, 1e-20, 1e-4, 1, 6, 20, 1e6, 1e15], dtype=dtype)
    ways = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0.6, 0.8, 0]], dtype=dtype)
    all_of = (lengths[:, None, None] * ways).flatten(0, 1)
    u, v = all_of.repeat(24, 1), all_of.repeat_interleave(24, 0)
    u.requires_grad_(), v.requires_grad_()
    found = squared_distance(u, v, c)
    parts = torch.autograd.grad(found.sum(), [u, v, c])
    assert found.isfinite().all()
    assert all(part.isfinite().all() for part in parts)
    points = exp0(all_of.requires_grad_(), c)
    assert (points.norm(dim=1) < 1).all()
    assert log0(points, c).isfinite().all()
    (slope,) = torch.autograd.grad(log0(points, c).sum(), all_of)
    assert slope.isfinite().all()


def test_in_float32_the_ball_ends_at_6_and_the_lorentz_form_does_not():
    c = curved(1.0, torch.float32)
    v = torch.tensor([[7.0, 0, 0], [20, 0, 0], [0, 12, 16]])
    assert exp0(v[:2], c).norm(dim=1).tolist() == pytest.approx([EDGE, EDGE])
    torch.testing.assert_close(from_lorentz(to_lorentz(v, c), c), v)
    # Along a ray the distance is twice the difference, however far out.
    one = squared_distance(v[:1], v[1:2], c).sqrt()
    torch.testing.assert_close(one, torch.tensor([26.0]))
    assert float(squared_distance(3 * v[1:2], v[1:2], c)) < 1e-6  # FAR is the end
    assert FAR == 20


def test_the_midpoint_is_einsteins_in_kleins_coordinates():
    # experts' example: taken in Poincare's coordinates it would be (0.4, 0.4).
    one = curved(1.0)
    points = torch.tensor([[0.8, 0.0], [0.0, 0.8]], dtype=torch.float64)
    found = midpoint(points, torch.ones(1, 2, dtype=torch.float64), one)
    assert found[0].tolist() == pytest.approx([0.283, 0.283], abs=1e-3)


@curvatures
def test_a_midpoint_moves_with_the_points(curvature):
    """Of two points it is as far from either; of one, that point; weights count."""
    c = curved(curvature)
    points = exp0(tangents(2), c)
    even, one, heavy = midpoint(
        points, torch.tensor([[1.0, 1], [0, 3], [9, 1]]).double(), c
    )
    far = distance(even.expand(2, -1), points, c)
    torch.testing.assert_close(far[0], far[1], atol=1e-10, rtol=0)
    torch.testing.assert_close(far.sum(), distance(*points, c), atol=1e-10, rtol=0)
    torch.testing.assert_close(one, points[1], atol=1e-12, rtol=0)
    assert distance(heavy, points[0], c) < far[0]


def test_a_midpoint_of_nothing_is_nowhere_and_sparse_weights_are_dense_ones():
    points, c = exp0(tangents(4), curved(1.0)), curved(1.0)
    dense = torch.tensor([[1.0, 0, 2, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).double()
    found = midpoint(points, dense, c)
    assert found.isnan().all(1).tolist() == [False, True, False]
    sparse = dense.to_sparse_coo()
    torch.testing.assert_close(midpoint(points, sparse, c), found, equal_nan=True)


@pytest.mark.parametrize("bad", [1.0, 1.2, torch.nan, torch.inf])
def test_a_node_outside_the_ball_is_refused(bad):
    c = curved(4.0)
    points = torch.tensor([[0.1, 0.0], [bad / 2, 0.0]], dtype=torch.float64)
    wanted = rf"inside the ball.*Found {bad} at row 1 with c = 4"
    for door in (
        lambda: log0(points, c),
        lambda: distance(points[:1], points[1:], c),
        lambda: midpoint(points, torch.ones(1, 2).double(), c),
    ):
        with pytest.raises(ValueError, match="inside the ball"):
            door()
    with pytest.raises(ValueError, match=wanted):
        log0(points, c)
