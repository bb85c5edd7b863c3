"""Liquid cells move in real time: not at all in none, and nowhere far in ten years."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ple_study.experts.temporal.liquid import (
    FIRST,
    FLOOR,
    ClosedFormCell,
    LiquidCell,
    days_between,
    drive,
)
from tests.sizes import BATCH, DIMS

TIME, CHANNELS, DIM = 9, DIMS[0], DIMS[1]
CELLS = pytest.mark.parametrize("kind", [LiquidCell, ClosedFormCell])
EVERY = torch.ones(BATCH, TIME, dtype=torch.bool)
DECADE = 3652.0


def inputs(seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(BATCH, TIME, CHANNELS, generator=draw, dtype=torch.float64)
    return x, 40 * torch.rand(BATCH, TIME, generator=draw, dtype=torch.float64)


def made(kind: type = LiquidCell, **named: str) -> LiquidCell | ClosedFormCell:
    return kind(CHANNELS, DIM, **named).double()


def still(**named: str) -> LiquidCell:
    """A cell whose target and time constants do not depend on its state."""
    cell = made(**named)
    torch.nn.init.zeros_(cell.recall.weight)
    return cell


def test_the_exponential_step_by_its_formula() -> None:
    cell, (x, gaps) = made(), inputs()
    with torch.no_grad():
        cell.log_scale.fill_(0.7)
    h = torch.zeros(BATCH, DIM).double()
    for t, found in enumerate(drive(cell, x, gaps, EVERY).unbind(1)):
        both = cell.read(x[:, t]) + h @ cell.recall.weight.T
        f = both[:, :DIM].tanh()
        tau = F.softplus(cell.pace(F.silu(both[:, DIM:]))) + 0.1
        wanted = f + (h - f) * torch.exp(-gaps[:, t, None] * math.exp(0.7) / tau)
        torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(
            cell.time_constants(x, drive(cell, x, gaps, EVERY))[:, t],
            tau / math.exp(0.7),
        )
        h = found


def test_a_gap_of_zero_is_an_exact_no_op() -> None:
    state, (x, _) = torch.randn(BATCH, DIM).double(), inputs()
    cell = made()
    moved = cell.move(cell.read(x[:, 0]), state, torch.zeros(BATCH, 1).double())
    assert torch.equal(moved, state)


def test_two_gaps_are_their_sum_while_the_target_stands_still() -> None:
    cell, state = still(), torch.randn(BATCH, DIM).double()
    read = cell.read(inputs()[0][:, 0])
    one, two = torch.rand(2, BATCH, 1).double()
    torch.testing.assert_close(
        cell.move(read, cell.move(read, state, one), two),
        cell.move(read, state, one + two),
        atol=1e-12,
        rtol=1e-12,
    )


@CELLS
@pytest.mark.parametrize("gap", [0.0, 1e-9, 1.0, DECADE, 36_525.0])
def test_any_gap_is_safe(kind: type, gap: float) -> None:
    cell, (x, _) = kind(CHANNELS, DIM), inputs()
    gaps = torch.full((BATCH, TIME), gap)
    states = drive(cell, 100 * x.float(), gaps, EVERY)
    assert (states.abs() <= 1).all()
    states.sum().backward()
    for name, parameter in cell.named_parameters():
        assert parameter.grad.isfinite().all(), name


def test_euler_overshoots_where_the_exponential_does_not() -> None:
    x, _ = inputs()
    gaps = torch.full((BATCH, TIME), DECADE).double()
    assert drive(still(solver="euler"), x, gaps, EVERY).abs().max() > 1e6
    cell, small = still(), torch.full((BATCH, TIME), 1e-4).double()
    exact = drive(cell, x, small, EVERY)
    cell.solver = "euler"
    torch.testing.assert_close(drive(cell, x, small, EVERY), exact, rtol=1e-2, atol=0)


@CELLS
def test_gaps_differ_by_customer(kind: type) -> None:
    cell, (x, gaps) = made(kind), inputs()
    together = drive(cell, x, gaps, EVERY)
    for row in range(BATCH):
        one = slice(row, row + 1)
        alone = drive(cell, x[one], gaps[one], EVERY[one])
        torch.testing.assert_close(alone, together[one], atol=1e-12, rtol=1e-12)
    other = gaps.clone()
    other[3] *= 2
    moved = (drive(cell, x, other, EVERY) != together).flatten(1).any(1)
    assert moved.tolist() == [False, False, False, True, False]


@CELLS
def test_padding_leaves_the_state_and_no_step_sees_a_later_one(kind: type) -> None:
    cell, (x, gaps) = made(kind), inputs()
    wanted = drive(cell, x, gaps, EVERY)
    for front, back in ((3, 0), (0, 4), (1, 2)):
        wide = F.pad(x, (0, 0, front, back), value=7.0)
        longer, mask = (
            F.pad(gaps, (front, back), value=5.0),
            F.pad(EVERY, (front, back)),
        )
        found = drive(cell, wide, longer, mask)
        torch.testing.assert_close(
            found[:, front : front + TIME], wanted, atol=1e-12, rtol=1e-12
        )
        assert torch.equal(found[:, -1], found[:, front + TIME - 1])
    later = torch.where((torch.arange(TIME) < 5)[:, None], x, inputs(1)[0])
    found = drive(cell, later, gaps, EVERY)
    torch.testing.assert_close(found[:, :5], wanted[:, :5], atol=1e-12, rtol=1e-12)
    assert (found[:, 5:] != wanted[:, 5:]).any(2).all()


def test_days_between_steps() -> None:
    days = torch.tensor([[9.0, 0.0, 3.0, 0.0], [0.0, 5.0, 2.0, 8.0], [1.0] * 4])
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 0], [0] * 4]).bool()
    found = days_between(days.log1p(), mask)
    wanted = [[0.0, 1.0, 3.0, 0.0], [1.0, 5.0, 2.0, 0.0], [0.0] * 4]
    torch.testing.assert_close(found, torch.tensor(wanted))
    wild = days_between(torch.tensor([[-3.0, -1.0, 1e30]]), mask[1:2, :3])
    torch.testing.assert_close(wild, torch.tensor([[1.0, 0.0, 36_525.0]]))


def test_the_first_time_constants_are_spread_from_a_day_to_two_months() -> None:
    cell = LiquidCell(CHANNELS, 500)
    tau = F.softplus(cell.pace.bias.double()) + FLOOR
    assert FIRST[0] - 1e-3 <= tau.min() < 2
    assert 32 < tau.max() <= FIRST[1] + 1e-3


@pytest.mark.plain  # beartype knows the names too
def test_an_unknown_solver_is_named() -> None:
    with pytest.raises(ValueError, match=r"Solver .*'eular'.*'euler'"):
        LiquidCell(CHANNELS, DIM, solver="eular")
