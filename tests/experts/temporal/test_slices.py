"""The scan by slices answers what the products do, and so do its gradients."""

import pytest
import torch
from torch import Tensor

from ple_study.experts.temporal import slices
from ple_study.experts.temporal.chunks import scan_by_products
from ple_study.experts.temporal.selective_scan import chunked_scan
from ple_study.experts.temporal.slices import scan_by_slices
from tests.sizes import BATCH

HEADS, TIME, DIM, STATE = 3, 4, 6, 7
SIZES = pytest.mark.parametrize("customers", [1, 2, BATCH])
FEW = pytest.mark.parametrize(("chunks", "heads"), [(1, HEADS), (3, 1), (3, HEADS)])


def parts(chunks: int, heads: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Inputs, decays, strengths, B and C, the first with heads before time."""
    draw = torch.Generator().manual_seed(0)
    rows, series = (BATCH, chunks, heads, TIME), (BATCH, chunks, TIME, STATE)
    shapes = (*rows, DIM), rows, rows, series, series
    made = [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]
    made[1] = -made[1].exp()
    return [part.to(dtype).requires_grad_() for part in made]


@pytest.fixture
def of(customers: int, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(slices, "SLICE", customers * 3 * HEADS * TIME * DIM)
    return customers


@FEW
@SIZES
@pytest.mark.usefixtures("of")
def test_slices_answer_what_products_do(chunks: int, heads: int) -> None:
    given = parts(chunks, heads)
    found, wanted = scan_by_slices(*given), scan_by_products(*given)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)
    weight = torch.randn(found.shape, dtype=torch.float64)
    grads = [torch.autograd.grad(y, given, weight) for y in (found, wanted)]
    torch.testing.assert_close(*grads, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("customers", [2])
@pytest.mark.usefixtures("of")
def test_gradients_by_finite_differences_and_once_more() -> None:
    given = [part[:3].detach().requires_grad_() for part in parts(2, 2)]
    assert torch.autograd.gradcheck(scan_by_slices, given)
    assert torch.autograd.gradgradcheck(scan_by_slices, given)


@pytest.mark.parametrize("frozen", range(5))
def test_what_is_frozen_gets_none(frozen: int) -> None:
    given = parts(2, HEADS)
    given[frozen].requires_grad_(False)
    asked = [part for part in given if part.requires_grad]
    ys = scan_by_slices(*given), scan_by_products(*given)
    once = [torch.autograd.grad(y.sum(), asked, create_graph=True) for y in ys]
    torch.testing.assert_close(*once, atol=1e-12, rtol=1e-12)
    size = [sum(g.square().sum() for g in grads) for grads in once]
    twice = [torch.autograd.grad(s, asked) for s in size]
    torch.testing.assert_close(*twice, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    exact = parts(3, HEADS)
    rounded = [part.to(dtype).detach().requires_grad_() for part in exact]
    found, wanted = scan_by_slices(*rounded), scan_by_slices(*exact)
    assert found.dtype == dtype
    found.sum().backward()
    wanted.sum().backward()
    grads = [[part.grad for part in given] for given in (rounded, exact)]
    for one, other in [(found, wanted), *zip(*grads, strict=True)]:
        error = (one.double() - other).norm() / other.norm()
        assert error < 8 * torch.finfo(dtype).eps


def test_without_gradients_nothing_is_kept() -> None:
    given, seen = parts(3, HEADS), []
    hooks = torch.autograd.graph.saved_tensors_hooks(seen.append, lambda _: None)
    with hooks:
        wanted = scan_by_slices(*given)
        count = len(seen)
        with torch.no_grad():
            assert torch.equal(scan_by_slices(*given), wanted)
        assert torch.equal(scan_by_slices(*(p.detach() for p in given)), wanted)
    assert len(seen) == count > 5
    with torch.inference_mode():
        assert torch.equal(scan_by_slices(*given), wanted)


def test_no_customer() -> None:
    given = [part[:0].detach().requires_grad_() for part in parts(3, HEADS)]
    found = scan_by_slices(*given)
    assert found.shape == (0, 3, HEADS, TIME, DIM)
    found.sum().backward()
    assert [p.grad.shape for p in given] == [p.shape for p in given]


def test_under_autocast_it_is_the_products() -> None:
    series = torch.randn(BATCH, 7, HEADS, DIM)
    decay, states = -torch.rand(BATCH, 7, HEADS), torch.randn(BATCH, 7, STATE)
    wanted = chunked_scan(series, decay, states, states)
    with torch.autocast("cpu", torch.bfloat16):
        found = chunked_scan(series, decay, states, states)
    assert (found - wanted).norm() < 0.02 * wanted.norm()
