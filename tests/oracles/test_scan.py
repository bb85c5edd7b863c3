"""The scans against the recurrence in float64 and the Mamba block of mambapy 1.2.0."""

import pytest
import torch
from torch import Tensor, nn

from ple_study.experts.temporal.mamba import MambaBlock
from ple_study.experts.temporal.selective_scan import chunked_scan, recurrent_scan

HINT = "the peer is not installed: pip install mambapy==1.2.0"
peer = pytest.importorskip("mambapy.mamba", reason=HINT, exc_type=ImportError)

BATCH, DIM, STATE = 5, 8, 7


def close(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Within ``tolerance`` of the largest number that is wanted."""
    largest = wanted.abs().max().clamp(min=1.0)
    assert (found - wanted).abs().max() <= tolerance * largest


def parts(time: int, dtype: torch.dtype) -> list[Tensor]:
    """Inputs, decays, B, C and strengths of two heads, as a trained block has them."""
    draw = torch.Generator().manual_seed(0)
    shapes = (2, 6), (2,), (STATE,), (STATE,), (2,)
    made = [torch.randn(BATCH, time, *s, generator=draw).double() for s in shapes]
    made[1] = -made[1].exp() * 0.3
    return [part.to(dtype).requires_grad_() for part in made]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_chunks_against_the_recurrence_in_float64(dtype: torch.dtype) -> None:
    tolerance = {torch.float64: 1e-10, torch.float32: 1e-5}[dtype]
    mine, exact = parts(180, dtype), parts(180, torch.float64)
    found, wanted = chunked_scan(*mine), recurrent_scan(*exact)
    close(found.double(), wanted, tolerance)
    weight = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    (weight * found).sum().backward()
    (weight * wanted).sum().backward()
    for one, other in zip(mine, exact, strict=True):
        close(one.grad.double(), other.grad, tolerance)


def theirs(in_parallel: bool) -> nn.Module:
    config = peer.MambaConfig(DIM, 1, d_state=STATE, pscan=in_parallel)
    return peer.MambaBlock(config)


def ours(other: nn.Module) -> MambaBlock:
    """A block with the weights of theirs; the norm is not a part of theirs."""
    names = {
        "enter.weight": "in_proj.weight",
        "conv.weight": "conv1d.weight",
        "conv.bias": "conv1d.bias",
        "scan.project.weight": "x_proj.weight",
        "scan.step.weight": "dt_proj.weight",
        "scan.step.bias": "dt_proj.bias",
        "scan.log_rate": "A_log",
        "scan.skip": "D",
        "leave.weight": "out_proj.weight",
    }
    block = MambaBlock(DIM, STATE, scan="mamba1").to(other.A_log.dtype)
    weights = other.state_dict()
    assert set(names.values()) == set(weights)
    carried = {mine: weights[name] for mine, name in names.items()}
    missing, unexpected = block.load_state_dict(carried, strict=False)
    assert (missing, unexpected) == (["norm.weight", "norm.bias"], [])
    return block


@pytest.mark.parametrize("in_parallel", [True, False])
def test_a_block_with_mambapys_weights(in_parallel: bool) -> None:
    # It casts A and D to float32, so weights that float32 holds leave no difference.
    other = theirs(in_parallel)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    block, x = ours(other), torch.randn(BATCH, 19, DIM)
    everything = torch.ones(BATCH, 19, dtype=torch.bool)
    close(block.mix(x, everything), other(x), 1e-6)


def test_the_scan_with_mambapys_reference_in_float64() -> None:
    other = theirs(False).double()
    block, draw = ours(other), torch.Generator().manual_seed(2)
    u = torch.randn(BATCH, 19, 2 * DIM, generator=draw).double().requires_grad_()
    everything = torch.ones(BATCH, 19, dtype=torch.bool)
    with torch.no_grad():  # rates and skips that float32 holds
        for mine, theirs_ in ((block.scan.log_rate, other.A_log),):
            theirs_.copy_(torch.zeros_like(theirs_))
            mine.copy_(torch.zeros_like(mine))
    found, wanted = block.scan(u, everything), other.ssm(u, None)
    close(found, wanted, 1e-12)
    grads = [torch.autograd.grad(y.square().sum(), u)[0] for y in (found, wanted)]
    close(*grads, 1e-12)


def test_one_token_after_the_other() -> None:
    """mambapy's own step by step answers what our block does at once."""
    other = theirs(True)
    block, x = ours(other), torch.randn(BATCH, 9, DIM)
    cache = (None, torch.zeros(BATCH, 2 * DIM, 3))
    answers = []
    for step in x.unbind(1):
        answer, cache = other.step(step, cache)
        answers.append(answer)
    everything = torch.ones(BATCH, 9, dtype=torch.bool)
    close(block.mix(x, everything), torch.stack(answers, 1), 1e-6)
