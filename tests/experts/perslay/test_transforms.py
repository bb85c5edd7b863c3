"""The transforms of PersLay by their formulas, point by point, and their pooling."""

import math

import pytest
import torch
from torch import Tensor

from ple_study.experts.perslay.transforms import TRANSFORMS, pool
from tests.sizes import BATCH, DIMS

POINTS, FEATURES = DIMS[0], DIMS[1]


def normal(*shape: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def by_hand(name: str, p: list[float], c: list[float], size: float) -> float:
    """One point (birth, persistence) and one template function."""
    far, scale = math.dist(p, c), math.exp(size)
    if name == "gaussian":
        return math.exp(-(far**2) / (2 * scale**2))
    if name == "rational_hat":
        return 1 / (1 + far) - 1 / (1 + abs(scale - far))
    if name == "tent":
        return max(0.0, 1 - far / scale)
    if name == "line":
        return p[0] * c[0] + p[1] * c[1] + size
    death, middle = p[0] + p[1], c[0] + c[1] / 2
    return max(0.0, p[1] / 2 - scale * abs(middle - (p[0] + death) / 2))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_is_its_formula(name: str) -> None:
    points, places, sizes = (
        normal(BATCH, POINTS, 2).abs(),
        normal(FEATURES, 2, seed=1),
        normal(FEATURES, seed=2) / 3,
    )
    places[1] = points[2, 3]  # where the distance is zero
    found = TRANSFORMS[name](points, places, sizes)
    wanted = [
        [[by_hand(name, p, c, s) for c, s in zip(*both, strict=True)] for p in diagram]
        for diagram in points.tolist()
        for both in [(places.tolist(), sizes.tolist())]
    ]
    wanted = torch.tensor(wanted, dtype=torch.float64)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)
    assert found.any()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_gradients_are_right_also_where_a_point_is_a_centre(name: str) -> None:
    points = normal(2, 3, 2).abs()
    places, sizes = normal(4, 2, seed=1).requires_grad_(), normal(4, seed=2) / 3
    sizes.requires_grad_()

    def value(places: Tensor, sizes: Tensor) -> Tensor:
        return TRANSFORMS[name](points, places, sizes)

    assert torch.autograd.gradcheck(value, (places, sizes))
    with torch.no_grad():
        places[0] = points[0, 0]
    value(places, sizes).sum().backward()
    assert places.grad.isfinite().all()
    assert sizes.grad.isfinite().all()


def test_pooling_looks_at_the_points_of_the_mask_alone() -> None:
    values, mask = normal(3, POINTS, FEATURES), torch.zeros(3, POINTS).bool()
    mask[0, 1:4], mask[1, 2] = True, True
    broken = values.masked_fill(~mask[..., None], torch.nan)
    for how, wanted in (
        ("sum", values[0, 1:4].sum(0)),
        ("mean", values[0, 1:4].sum(0) / 3),
        ("max", values[0, 1:4].max(0).values),
    ):
        found = pool(broken, mask, how)
        torch.testing.assert_close(found[0], wanted, atol=1e-14, rtol=0)
        torch.testing.assert_close(found[1], values[1, 2], atol=1e-14, rtol=0)
        assert found[2].tolist() == [0.0] * FEATURES  # an empty diagram


def test_an_empty_diagram_sends_no_gradient_and_no_nan() -> None:
    mask = torch.tensor([[True, False], [False, False]])
    for how in ("sum", "mean", "max"):
        values = normal(2, 2, 3).requires_grad_()
        pool(values, mask, how).sum().backward()
        wanted = mask[..., None].expand(2, 2, 3).double()
        torch.testing.assert_close(values.grad, wanted, atol=0, rtol=0)
