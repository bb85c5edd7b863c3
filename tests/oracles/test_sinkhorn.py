"""Sinkhorn against POT: plans, values, gradients, and exact transport in the limit."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ple_study.experts.transport.sinkhorn import (
    Sinkhorn,
    entropic_cost,
    plan,
    potentials,
)
from tests.sizes import BATCH, DIMS

ot = pytest.importorskip("ot")
ROWS, COLUMNS = DIMS[1], DIMS[2]


def problem() -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    a = torch.randn(BATCH, ROWS, generator=draw, dtype=torch.float64).softmax(1)
    b = torch.randn(BATCH, COLUMNS, generator=draw, dtype=torch.float64).softmax(1)
    points = torch.randn(ROWS + COLUMNS, 2, generator=draw, dtype=torch.float64)
    cost = torch.cdist(points[:ROWS], points[ROWS:]).square()
    return a, b, cost / cost.mean()


@pytest.mark.parametrize("spread", [None, 1e9], ids=["products", "logs"])
def test_plans_are_those_of_pot(spread: float | None) -> None:
    a, b, cost = problem()
    how = Sinkhorn(epsilon=0.3, iterations=5000, tolerance=1e-14, spread=spread)
    plans = plan(a, b, cost, potentials(a, b, cost, how), how.epsilon)
    for row in range(BATCH):
        given = a[row].numpy(), b[row].numpy(), cost.numpy(), how.epsilon
        wanted = ot.bregman.sinkhorn(*given, stopThr=1e-14, numItermax=10_000)
        np.testing.assert_allclose(plans[row].numpy(), wanted, atol=1e-12)


def test_equal_iterations_give_equal_plans() -> None:
    """Far from the limit. POT scales rows first, so that ours is the transpose.

    It begins at scalings of one and we at b, which are the same where b is uniform.
    """
    a, b, cost = problem()
    b = torch.full_like(b, 1 / COLUMNS)
    for iterations in (1, 4):
        how = Sinkhorn(epsilon=0.05, iterations=iterations, tolerance=0.0)
        found = plan(b, a, cost.T, potentials(b, a, cost.T, how), how.epsilon).mT
        costs = cost.expand(BATCH, -1, -1)
        wanted = ot.solve_batch(
            costs, 0.05, a, b, max_iter=iterations, tol=0.0, method="log_sinkhorn"
        )
        torch.testing.assert_close(found, wanted.plan, atol=1e-12, rtol=0)


def test_values_and_gradients_are_those_of_pot() -> None:
    """POT's value of relative entropy, and its gradient by unrolling."""
    a, b, cost = problem()
    how = Sinkhorn(epsilon=0.3, iterations=5000, tolerance=1e-13)
    ours, theirs = (cost.clone().requires_grad_() for _ in range(2))
    value = entropic_cost(a, b, ours, how)
    solved = ot.solve_batch(
        theirs.expand(BATCH, -1, -1),
        0.3,
        a,
        b,
        max_iter=300,
        tol=0.0,
        reg_type="kl",
        grad="autodiff",
    )
    torch.testing.assert_close(value, solved.value, atol=1e-10, rtol=0)
    value.sum().backward()
    solved.value.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-8, rtol=0)


def test_the_cost_falls_to_exact_transport_as_entropy_goes() -> None:
    a, b, cost = problem()
    exact = [
        ot.emd2(x.numpy(), y.numpy(), cost.numpy()) for x, y in zip(a, b, strict=True)
    ]
    exact = torch.tensor(exact, dtype=torch.float64)
    over = []
    for epsilon in (0.3, 0.03, 0.003):
        how = Sinkhorn(epsilon=epsilon, iterations=20_000, tolerance=1e-7)
        plans = plan(a, b, cost, potentials(a, b, cost, how), epsilon)
        over.append((plans * cost).sum((1, 2)) - exact)
    assert (over[0] > over[1]).all()
    assert (over[1] > over[2]).all()
    assert (over[2].abs() < 1e-4).all()
