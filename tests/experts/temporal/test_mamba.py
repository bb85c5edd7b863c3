"""A Mamba block is causal, deaf to padding, and starts with the authors' step sizes."""

import pytest
import torch
from torch.nn import functional as F

from ple_study.experts.temporal.mamba import (
    ChannelScan,
    HeadScan,
    MambaBlock,
    first_step_sizes,
    last,
)
from tests.sizes import BATCH, DIMS

TIME, DIM = 11, DIMS[0]
SCANS = pytest.mark.parametrize("scan", ["ssd", "mamba1"])


def series(seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, TIME, DIM, generator=draw, dtype=torch.float64)


def block(scan: str) -> MambaBlock:
    return MambaBlock(DIM, state=7, scan=scan).double()


@SCANS
def test_no_step_sees_a_later_one(scan: str) -> None:
    made, x, everything = block(scan), series(), torch.ones(BATCH, TIME).bool()
    later = torch.where((torch.arange(TIME) < 6)[:, None], x, series(1))
    found, wanted = made(later, everything), made(x, everything)
    torch.testing.assert_close(found[:, :6], wanted[:, :6], atol=1e-12, rtol=1e-12)
    assert (found[:, 6:] != wanted[:, 6:]).all()


@SCANS
def test_padding_on_either_side_changes_no_true_step(scan: str) -> None:
    made, x, everything = block(scan), series(), torch.ones(BATCH, TIME).bool()
    wanted = made(x, everything)
    for front, back in ((3, 0), (0, 5), (2, 4)):
        mask = F.pad(everything, (front, back))
        junk = torch.randn(BATCH, front + TIME + back, DIM).double()
        wide = torch.where(mask[..., None], F.pad(x, (0, 0, front, back)), junk)
        found = made(wide, mask)[:, front : front + TIME]
        torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


@SCANS
def test_the_state_reaches_beyond_the_convolution(scan: str) -> None:
    made, x, everything = block(scan), series(), torch.ones(BATCH, TIME).bool()
    other = x.clone()
    other[:, 0] += torch.randn(DIM)  # ten steps back; the convolution sees three
    assert (made(x, everything)[:, -1] != made(other, everything)[:, -1]).any(1).all()


def test_the_last_true_step_of_each() -> None:
    x = torch.arange(12.0).view(4, 3, 1)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 0], [0, 0, 0]]).bool()
    assert last(x, mask).flatten().tolist() == [2.0, 4.0, 7.0, 9.0]


def test_the_first_step_sizes() -> None:
    sizes = F.softplus(first_step_sizes(4000).double())
    assert 0.999e-3 < sizes.min() < 2e-3
    assert 0.09 < sizes.max() < 0.1001
    middle = sizes.log10().mean().item()  # uniform in its logarithm
    assert middle == pytest.approx(-2.0, abs=0.05)


def test_what_maps_to_the_steps_starts_as_the_authors() -> None:
    torch.manual_seed(0)
    weight = ChannelScan(96, 4).step.weight
    end = 3**-0.5  # of 96 / 32 numbers
    assert -end <= weight.min() < -0.9 * end
    assert 0.9 * end < weight.max() <= end


def test_decays_are_below_zero_and_start_as_the_authors() -> None:
    rates = ChannelScan(6, 4).log_rate.exp()
    torch.testing.assert_close(rates, torch.arange(1.0, 5).expand(6, 4))
    wide = HeadScan(192, 4)
    assert wide.heads == 3
    assert ((wide.log_rate.exp() >= 1) & (wide.log_rate.exp() <= 16)).all()


@pytest.mark.plain  # beartype knows the names too
def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Scan must be one of.*'ssm'"):
        MambaBlock(DIM, scan="ssm")
    with pytest.raises(ValueError, match=r"heads of 64\. Found width 100"):
        HeadScan(100, 4)
