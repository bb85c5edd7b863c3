"""Kernels and scalings by hand, as products and by logarithms."""

import pytest
import torch

from ple_study.experts.transport.scalings import (
    fixed,
    kernel,
    over_columns,
    over_rows,
    plans,
    potential,
    scaled,
    stopped,
)

COST = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.5, 0.0]], dtype=torch.float64)
A = torch.tensor([[0.25, 0.75], [1.0, 0.0]], dtype=torch.float64)
B = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.4, 0.0]], dtype=torch.float64)
both = pytest.mark.parametrize("logs", [False, True], ids=["products", "logs"])


@both
def test_one_iteration_by_hand(logs: bool) -> None:
    by, values = kernel(COST, 0.5, logs), torch.exp(-COST / 0.5)
    found = fixed(by, A, B, 1)
    columns = torch.stack([a @ values for a in A])
    rows = torch.stack([values @ (b / c) for b, c in zip(B, columns, strict=True)])
    torch.testing.assert_close(found.f, -0.5 * rows.log(), atol=1e-12, rtol=0)
    torch.testing.assert_close(found.g, -0.5 * columns.log(), atol=1e-12, rtol=0)
    x = A.log() if logs else A
    steps = over_rows(by, x), over_columns(by, scaled(by, B, over_rows(by, x)))
    torch.testing.assert_close(potential(by, steps[0]), found.g)
    torch.testing.assert_close(potential(by, steps[1]), found.f)


@both
def test_without_a_tolerance_nobody_stops_before_the_end(logs: bool) -> None:
    by = kernel(COST, 0.5, logs)
    for iterations in (3, 10, 23):
        found = stopped(by, A, B, iterations, 0.0)
        torch.testing.assert_close(found, fixed(by, A, B, iterations))
    nobody = stopped(by, A[:0], B[:0], 3, 0.0)
    assert (nobody.f.shape, nobody.g.shape) == ((0, 2), (0, 3))


@both
def test_plans_add_up_over_pairs(logs: bool) -> None:
    by = kernel(COST, 0.5, logs)
    f, g = fixed(by, A, B, 40)
    found = plans(by, A, B, f, g)
    torch.testing.assert_close(found.sum(1), A.sum(0), atol=1e-12, rtol=0)
    torch.testing.assert_close(found.sum(0), B.sum(0), atol=1e-6, rtol=0)
