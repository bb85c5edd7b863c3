"""Dropout from sixteen bits a number: its law, not its draws."""

import pytest
import torch
from torch.nn import functional as F

from ple_study.experts.dropout import LEVELS, dropout

RATES = (0.001, 0.2, 0.5, 0.9, 0.999)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("p", RATES)
def test_so_many_are_zero_and_the_rest_divided(p: float) -> None:
    size = 400_001  # no whole number of draws
    found = dropout(torch.ones(size), p)
    share = round(p * LEVELS) / LEVELS
    assert set(found.unique().tolist()) == {0.0, torch.tensor(1 / (1 - share)).item()}
    spread = (p * (1 - p) / size) ** 0.5
    assert abs((found == 0).double().mean().item() - share) < 4 * spread
    assert abs(found.double().mean().item() - 1) < 4 * spread / (1 - share)
    assert abs(share - p) <= 0.5 / LEVELS


def test_draws_are_independent_within_a_number_and_from_call_to_call() -> None:
    one, other = (dropout(torch.ones(100_000, 4), 0.5) > 0 for _ in range(2))
    columns = torch.cat([one, other, one.roll(1, 0)], dim=1).double()
    apart = columns.T.corrcoef() - torch.eye(12)
    assert apart.abs().max() < 0.015


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4,), (5, 7), (2, 3, 5), (0, 6)])
def test_any_number_of_numbers(shape: tuple[int, ...]) -> None:
    x = torch.ones(shape)
    found = torch.stack([dropout(x, 0.5) for _ in range(60)])
    assert found.shape[1:] == shape
    assert set(found.unique().tolist()) == ({0.0, 2.0} if x.numel() else set())
    if x.numel():
        assert (found.amax(0) > found.amin(0)).all()


def test_p_0_and_p_1_and_what_rounds_to_them() -> None:
    x = torch.randn(7, 5)
    for p in (0.0, 1e-9):
        assert torch.equal(dropout(x, p), x)
    for p in (1.0, 1 - 1e-9):
        assert not dropout(x, p).any()


def test_the_seed_decides() -> None:
    x = torch.ones(9, 7)
    one = dropout(x, 0.5)
    torch.manual_seed(0)
    assert torch.equal(dropout(x, 0.5), one)
    assert not torch.equal(dropout(x, 0.5), one)
    state = torch.get_rng_state()
    one = dropout(x, 0.5)
    torch.set_rng_state(state)
    assert torch.equal(dropout(x, 0.5), one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gradient_is_dropped_and_divided_alike(dtype: torch.dtype) -> None:
    x = torch.rand(11, 7, dtype=dtype) + 1
    x.requires_grad_()
    found = dropout(x, 0.2)
    assert found.dtype == dtype
    given = torch.randn(11, 7, dtype=dtype)
    (grad,) = torch.autograd.grad(found, x, given)
    torch.testing.assert_close(grad, given * found / x)
    assert ((grad == 0) == (found == 0)).all()


def test_what_is_not_contiguous_is_read_in_its_own_order() -> None:
    x = torch.arange(1.0, 36.0).view(5, 7)
    for view in (x.T, x[:, ::2], x[1:4, 2:], x[:, :1].expand(-1, 4)):
        found = dropout(view, 0.5)
        assert found.shape == view.shape
        assert ((found == 0) | (found == 2 * view)).all()
        assert 0 < (found == 0).double().mean() < 1
    assert torch.equal(x.flatten(), torch.arange(1.0, 36.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    found = dropout(torch.ones(10_000, dtype=dtype), 0.5)
    assert found.dtype == dtype
    assert set(found.unique().tolist()) == {0.0, 2.0}


def test_it_draws_where_its_input_is() -> None:
    x = torch.ones(9, 7)
    with torch.device("meta"):
        assert set(dropout(x, 0.5).unique().tolist()) == {0.0, 2.0}
    assert dropout(x.to("meta"), 0.5).shape == x.shape


@pytest.mark.plain
def test_compiled_it_is_torchs_own() -> None:
    x = torch.ones(200, 70)
    compiled = torch.compile(dropout, fullgraph=True, backend="aot_eager")
    found = compiled(x, 0.2)
    torch.manual_seed(0)
    assert torch.equal(found, F.dropout(x, 0.2))
