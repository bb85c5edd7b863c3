"""The closed-form cell against ncps 1.0.1, the exponential step against an ODE solver.

ncps squeezes the time gaps of a batch and then reads a customer's gap as a unit's, so
its cell is driven here step by step, with gaps of shape ``[batch, 1]``.
"""

import pytest
import torch
from scipy.integrate import solve_ivp
from torch import nn

from ple_study.experts.temporal.liquid import ClosedFormCell, LiquidCell, drive

HINT = "the peer is not installed: pip install ncps==1.0.1"
peer = pytest.importorskip("ncps.torch", reason=HINT, exc_type=ImportError)

BATCH, TIME, CHANNELS, DIM, WIDE = 5, 9, 6, 7, 8


def given() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, TIME, CHANNELS, generator=draw).double()
    gaps = 30 * torch.rand(BATCH, TIME, generator=draw).double()
    return x, gaps, torch.ones(BATCH, TIME, dtype=torch.bool)


def ours(other: nn.Module) -> ClosedFormCell:
    cell = ClosedFormCell(CHANNELS, DIM, backbone=WIDE).double()
    first, heads = other.backbone[0], (other.ff1, other.ff2, other.time_a, other.time_b)
    weights = {
        "read.weight": first.weight[:, :CHANNELS],
        "read.bias": first.bias,
        "recall.weight": first.weight[:, CHANNELS:],
        "heads.weight": torch.cat([head.weight for head in heads]),
        "heads.bias": torch.cat([head.bias for head in heads]),
    }
    cell.load_state_dict(weights)
    return cell


def test_a_closed_form_cell_with_ncps_weights() -> None:
    other = peer.CfCCell(CHANNELS, DIM, backbone_units=WIDE).double()
    cell, (x, gaps, everything) = ours(other), given()
    x = x.requires_grad_()
    state, states = torch.zeros(BATCH, DIM).double(), []
    for step in range(TIME):
        state, _ = other(x[:, step], state, gaps[:, step, None])
        states.append(state)
    wanted = torch.stack(states, 1)
    found = drive(cell, x, gaps, everything)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)
    grads = [torch.autograd.grad(y.square().sum(), x)[0] for y in (found, wanted)]
    torch.testing.assert_close(*grads, atol=1e-12, rtol=1e-12)


def test_the_gaps_of_a_batch_are_what_ncps_gets_wrong() -> None:
    """Its sequence module refuses gaps that differ by customer; our cell takes them."""
    x, gaps, _ = given()
    other = peer.CfC(CHANNELS, DIM).double()
    with pytest.raises(RuntimeError):
        other(x, timespans=gaps)


def test_an_exponential_step_is_the_solution_of_its_equation() -> None:
    cell, (x, gaps, _) = LiquidCell(CHANNELS, DIM).double(), given()
    state = torch.randn(BATCH, DIM).double()
    read = cell.read(x[:, 0])
    target, tau = (part.detach() for part in cell.aim(read, state))
    moved = cell.move(read, state, gaps[:, :1])
    for row in range(BATCH):
        aim, pace = target[row].numpy(), tau[row].numpy()
        solved = solve_ivp(
            lambda _, h, aim=aim, pace=pace: (aim - h) / pace,
            (0, gaps[row, 0].item()),
            state[row].numpy(),
            rtol=1e-10,
            atol=1e-12,
        )
        wanted = torch.from_numpy(solved.y[:, -1])
        torch.testing.assert_close(moved[row], wanted, atol=1e-8, rtol=0)
