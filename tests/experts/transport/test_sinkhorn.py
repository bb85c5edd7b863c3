"""Sinkhorn against its own laws: marginals, gradients, the debiased divergence."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ple_study.experts.transport.sinkhorn import (
    Sinkhorn,
    by_logs,
    check_histograms,
    divergence,
    entropic_cost,
    plan,
    potentials,
)
from tests.sizes import BATCH, DIMS

ROWS, COLUMNS, PAIRS = *DIMS[:2], 3
EXACT = Sinkhorn(epsilon=1.0, iterations=1000, tolerance=1e-13)
LOGS = replace(EXACT, spread=1e9)
INSIDE_DYNAMO = pytest.mark.filterwarnings(  # raised by torch.compile of any Function
    "ignore:.*should not be instantiated:DeprecationWarning"
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def histograms(*shape: int, seed: int = 0) -> Tensor:
    return normal(*shape, seed=seed).softmax(-1)


def problem() -> tuple[Tensor, Tensor, Tensor]:
    a, b = histograms(BATCH, 1, ROWS), histograms(1, PAIRS, COLUMNS, seed=1)
    return a, b, normal(ROWS, COLUMNS, seed=2).abs()


def square(bins: int = ROWS) -> Tensor:
    points = normal(bins, 2, seed=3)
    cost = (points[:, None] - points).square().sum(-1)
    return cost / cost.mean()


@pytest.mark.parametrize("how", [EXACT, LOGS], ids=["products", "logs"])
def test_plans_have_the_marginals_and_the_value_is_their_cost(how: Sinkhorn) -> None:
    a, b, cost = problem()
    found = potentials(a, b, cost, how)
    plans = plan(a, b, cost, found, how.epsilon)
    assert plans.shape == (BATCH, PAIRS, ROWS, COLUMNS)
    wanted = a.expand(-1, PAIRS, -1), b.expand(BATCH, -1, -1)
    torch.testing.assert_close(plans.sum(3), wanted[0], atol=1e-14, rtol=0)
    torch.testing.assert_close(plans.sum(2), wanted[1], atol=1e-12, rtol=0)
    apart = torch.special.xlogy(plans, plans / (a[..., None] * b[..., None, :]))
    primal = (plans * cost + how.epsilon * apart).sum((2, 3))
    dual = entropic_cost(a, b, cost, how)
    torch.testing.assert_close(dual, primal, atol=1e-12, rtol=0)


def test_products_and_logarithms_agree() -> None:
    a, b, cost = problem()
    pairs = zip(
        potentials(a, b, cost, EXACT), potentials(a, b, cost, LOGS), strict=True
    )
    for one, other in pairs:
        centred = [x - x.mean(-1, keepdim=True) for x in (one, other)]
        torch.testing.assert_close(*centred, atol=1e-11, rtol=0)


@pytest.mark.parametrize("how", [EXACT, LOGS], ids=["products", "logs"])
def test_the_gradient_is_that_of_finite_differences(how: Sinkhorn) -> None:
    """In both marginals, by their logits so that sums stay one, and in the cost."""
    given = normal(2, 1, ROWS), normal(1, PAIRS, COLUMNS, seed=1), problem()[2]
    weights = normal(2, PAIRS, seed=4)

    def value(a: Tensor, b: Tensor, cost: Tensor) -> Tensor:
        return entropic_cost(a.softmax(-1), b.softmax(-1), cost, how) * weights

    leaves = [x.clone().requires_grad_() for x in given]
    assert torch.autograd.gradcheck(value, leaves, atol=1e-7, rtol=1e-6)


def test_the_gradient_of_the_divergence_is_that_of_finite_differences() -> None:
    given = normal(2, ROWS), normal(ROWS, seed=1), square()

    def value(a: Tensor, b: Tensor, cost: Tensor) -> Tensor:
        return divergence(a.softmax(-1), b.softmax(-1), cost, EXACT)

    leaves = [x.clone().requires_grad_() for x in given]
    assert torch.autograd.gradcheck(value, leaves, atol=1e-7, rtol=1e-6)


def test_gradients_are_centred_and_a_second_one_is_refused() -> None:
    a, b, cost = (x.requires_grad_() for x in problem())
    value = entropic_cost(a, b, cost, EXACT).square().sum()
    grads = torch.autograd.grad(value, (a, b, cost), create_graph=True)
    for found, given in zip(grads[:2], (a, b), strict=True):
        assert found.shape == given.shape
        zeros = torch.zeros(given.shape[:-1], dtype=torch.float64)
        torch.testing.assert_close(found.sum(-1), zeros, atol=1e-12, rtol=0)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grads[2].sum().backward()


def test_the_divergence_is_zero_at_itself_symmetric_and_positive() -> None:
    a, b, cost = histograms(BATCH, ROWS), histograms(BATCH, ROWS, seed=1), square()
    zeros = torch.zeros(BATCH, dtype=torch.float64)
    torch.testing.assert_close(divergence(a, a, cost, EXACT), zeros, atol=1e-13, rtol=0)
    one, other = divergence(a, b, cost, EXACT), divergence(b, a, cost, EXACT)
    torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
    assert (one > 1e-3).all()
    assert (entropic_cost(a, a, cost, EXACT) > 1e-3).all()  # the bias it takes away


def test_rows_and_columns_change_places() -> None:
    a, b, cost = problem()
    one, other = entropic_cost(a, b, cost, EXACT), entropic_cost(b, a, cost.T, EXACT)
    torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_a_shift_of_the_cost_shifts_the_value() -> None:
    a, b, cost = problem()
    moved = entropic_cost(a, b, cost - 7.0, EXACT)
    there = entropic_cost(a, b, cost, EXACT)
    torch.testing.assert_close(moved, there - 7.0, atol=1e-11, rtol=0)


@pytest.mark.parametrize("how", [EXACT, LOGS], ids=["products", "logs"])
def test_bins_without_mass_change_nothing(how: Sinkhorn) -> None:
    a, b, cost = histograms(ROWS), histograms(COLUMNS, seed=1), problem()[2]
    wide = torch.cat([cost, normal(1, COLUMNS, seed=5).abs()]).requires_grad_()
    more = torch.cat([a, a.new_zeros(1)]).requires_grad_()
    value = entropic_cost(more, b, wide, how)
    wanted = entropic_cost(a, b, cost, how)
    torch.testing.assert_close(value, wanted, atol=1e-12, rtol=0)
    value.backward()
    assert more.grad is not None
    assert more.grad.isfinite().all()
    assert wide.grad is not None
    assert wide.grad[-1].tolist() == [0.0] * COLUMNS


def test_a_plan_of_little_blur_leaves_empty_bins_empty() -> None:
    """In single precision its exponentials overflow there."""
    place, mass = torch.arange(24.0), torch.zeros(24)
    mass[[2, 3, 6, 12, 13, 19]] = torch.tensor([3.0, 1, 2, 4, 1, 1]) / 12
    other = mass.flip(0).roll(3)
    cost = (place[:, None] - place).abs()
    how = Sinkhorn(epsilon=3e-4, iterations=3000, tolerance=1e-4)
    cost = cost / cost.mean()
    found = plan(mass, other, cost, potentials(mass, other, cost, how), how.epsilon)
    assert found.isfinite().all()
    assert not found[mass == 0].any()
    assert not found[:, other == 0].any()
    torch.testing.assert_close(found.sum(1), mass, atol=1e-3, rtol=0)


def test_a_pair_stops_by_itself_whoever_is_beside_it() -> None:
    """Histograms that take few iterations, beside some that take many."""
    a = torch.cat([histograms(BATCH, ROWS), (9 * normal(4, ROWS, seed=6)).softmax(-1)])
    b, cost = histograms(ROWS, seed=1), 2 * square()
    how = Sinkhorn(epsilon=0.05, tolerance=1e-4)
    together = potentials(a, b, cost, how)
    for row in range(len(a)):
        alone = potentials(a[row : row + 1], b, cost, how)
        for one, other in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], other[row], atol=1e-12, rtol=1e-12)
    off = (plan(a, b, cost, together, how.epsilon).sum(1) - b).abs().sum(1)
    assert (off <= how.tolerance).all()
    few = potentials(a, b, cost, Sinkhorn(epsilon=0.05, iterations=10))
    off = (plan(a, b, cost, few, how.epsilon).sum(1) - b).abs().sum(1)
    assert off.max() > 10 * how.tolerance  # ten iterations were not enough for all


def test_many_pairs_are_solved_in_parts_as_one() -> None:
    a, b, cost = histograms(1100, ROWS), histograms(COLUMNS, seed=1), problem()[2]
    for spread in (None, 1e9):
        how = Sinkhorn(epsilon=0.5, spread=spread)
        whole = entropic_cost(a, b, cost, how)
        last = entropic_cost(a[1000:], b, cost, how)
        torch.testing.assert_close(whole[1000:], last, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logarithms_are_taken_where_products_would_not_hold(dtype: torch.dtype) -> None:
    bound = math.log(torch.finfo(dtype).max) / 2
    assert not by_logs(bound * 0.1, 0.1 * 1.001, dtype)
    assert by_logs(bound * 0.1, 0.1 * 0.999, dtype)
    a, b = (histograms(4, ROWS, seed=s).to(dtype) for s in (0, 1))
    cost = square().to(dtype)
    for ratio in (0.99, 10.0):  # just where products are taken, far beyond
        epsilon = float(cost.max()) / (ratio * bound)
        how = Sinkhorn(epsilon=epsilon, iterations=300)
        value = entropic_cost(a, b, cost, how)
        least = entropic_cost(a.double(), b.double(), cost.double(), how)
        torch.testing.assert_close(value.double(), least, atol=1e-5, rtol=1e-5)


@INSIDE_DYNAMO
@pytest.mark.plain
def test_traced_it_takes_all_iterations_and_answers_the_same() -> None:
    how = Sinkhorn(epsilon=1.0, iterations=3, tolerance=0.0, spread=3.0)
    a, b, cost = (x.requires_grad_() for x in problem())
    compiled = torch.compile(entropic_cost, fullgraph=True, backend="aot_eager")
    found, wanted = compiled(a, b, cost, how), entropic_cost(a, b, cost, how)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)
    grads = [torch.autograd.grad(x.sum(), (a, b, cost)) for x in (found, wanted)]
    torch.testing.assert_close(*grads, atol=1e-12, rtol=0)
    unbounded = Sinkhorn(epsilon=1.0, iterations=3, tolerance=0.0)
    found = compiled(a, b, cost, unbounded)  # by logarithms
    torch.testing.assert_close(found, wanted, atol=1e-11, rtol=0)


def test_a_histogram_that_does_not_sum_to_one_is_refused() -> None:
    a, b, cost = problem()
    with pytest.raises(ValueError, match=r"sums to one\. Found a sum of 1\.1.* 5 of 5"):
        potentials(1.1 * a, b, cost, EXACT)
    with pytest.raises(ValueError, match=r"least number of -0\.5 in 1 of 1"):
        check_histograms(torch.tensor([-0.5, 1.5]))
    with pytest.raises(ValueError, match=r"A month has no negative.*nan"):
        check_histograms(torch.tensor([torch.nan, 1.0]), "A month")


@pytest.mark.parametrize(
    "bad", [{"epsilon": 0.0}, {"iterations": 0}, {"tolerance": math.nan}]
)
def test_settings_that_cannot_be_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"epsilon above 0.*Found.*{next(iter(bad))}"):
        Sinkhorn(**bad)
