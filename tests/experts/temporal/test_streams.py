"""One stream: three branches on one series, and where its time gaps come from."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ple_study.batch import Events
from ple_study.experts.temporal.streams import Stream, StreamSpec, gap_channel
from ple_study.schema import Sequence
from tests.sizes import BATCH

TIME, CHANNELS = 9, 6
SPEC = StreamSpec(channels=CHANNELS, width=32, gap=2)
KINDS = pytest.mark.parametrize(
    ("scan", "liquid"),
    [
        ("ssd", "exponential"),
        ("mamba1", "exponential"),
        ("ssd", "closed_form"),
        ("ssd", "serial"),
    ],
)


def events() -> Events:
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(BATCH, TIME, CHANNELS, generator=draw, dtype=torch.float64)
    values[..., 2] = 1 + values[..., 2].abs()  # log(1 + days)
    first = torch.tensor([0, 4, 8, 2, 9])[:, None]  # the last customer has no step
    return Events(values, torch.arange(TIME).expand(BATCH, -1) >= first)


def made(**named: str) -> Stream:
    return Stream(replace(SPEC, **named)).double()


def same(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(tuple(found), tuple(wanted), atol=1e-12, rtol=1e-12)


@KINDS
def test_padding_on_either_side_changes_nothing(scan: str, liquid: str) -> None:
    stream, given = made(scan=scan, liquid=liquid), events()
    wanted = stream(given)
    assert [z.shape[1] for z in wanted] == list(stream.dims) == [32, 16, 16]
    assert all(z.isfinite().all() for z in wanted)
    for front, back in ((4, 0), (0, 20), (3, 5)):
        values = F.pad(given.values, (0, 0, front, back), value=math.nan)
        wide = Events(values, F.pad(given.mask, (front, back)))
        same(stream(wide), wanted)


@pytest.mark.parametrize("junk", [1e30, math.inf, math.nan])
def test_what_padding_holds_changes_nothing(junk: float) -> None:
    stream, given = made(), events()
    filled = torch.where(given.mask[..., None], given.values, junk)
    before, after = stream(given), stream(Events(filled, given.mask))
    assert all(map(torch.equal, before, after))
    torch.cat(after, 1).sum().backward()
    assert all(p.grad.isfinite().all() for p in stream.parameters())


def test_time_gaps_reach_the_liquid_branch() -> None:
    stream, given = made(), events()
    values = given.values.clone()
    values[..., 2] = (2 * values[..., 2].expm1()).log1p()  # every gap twice as long
    with torch.no_grad():  # so that the channel is read as a gap alone
        stream.embed.weight[:, 2] = 0
        stream.cell.read.weight[:, 2] = 0
        stream.transformer.embed.weight[:, 2::CHANNELS] = 0
    before, after = stream(given), stream(Events(values, given.mask))
    same((before.scan, before.patch), (after.scan, after.patch))
    moved = (before.liquid - after.liquid).abs().amax(1) > 1e-6
    assert moved.tolist() == given.mask.any(1).tolist()


@pytest.mark.parametrize("days", [0.0, 3652.0])
def test_gaps_of_no_time_and_of_ten_years(days: float) -> None:
    stream, given = Stream(SPEC), events()
    values = given.values.float()
    values[..., 2] = math.log1p(days)
    answers = stream(Events(values, given.mask))
    assert all(z.isfinite().all() for z in answers)
    torch.cat(answers, 1).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in stream.parameters())


def test_a_step_is_a_day_where_no_channel_says_so() -> None:
    stream, given = Stream(replace(SPEC, gap=None)), events()
    assert torch.equal(stream.gaps(given.values, given.mask), given.mask.double())
    found = made().gaps(given.values, given.mask)
    wanted = given.values[0, 1:, 2].expm1()
    torch.testing.assert_close(found[0, 1:], wanted)


def test_serial_takes_one_euler_step_of_what_the_scan_says() -> None:
    stream, given = made(liquid="serial"), events()
    answer = stream(given)
    values = given.values.clone()
    values[..., 2] += 1.0
    with torch.no_grad():
        stream.embed.weight[:, 2] = 0
    same(stream(given)[:2], stream(Events(values, given.mask))[:2])  # no gap enters
    stream = made(liquid="serial")
    torch.nn.init.zeros_(stream.liquid_norm.bias)
    from ple_study.experts.temporal.mamba import last  # what the cell is handed

    clean = torch.where(given.mask[..., None], given.values, 0.0)
    memory = last(stream.block(stream.embed(clean), given.mask), given.mask)
    target, tau = stream.cell.aim(
        stream.cell.read(memory), torch.zeros(BATCH, 16).double()
    )
    same((stream(given).liquid,), (F.layer_norm(target / tau, (16,)),))
    assert answer.liquid.shape == (BATCH, 16)


def test_dropout_only_in_training() -> None:
    stream, given = made(), events()
    stream = Stream(replace(SPEC, dropout=0.5)).double()
    one, other = stream(given), stream(given)
    assert (one.liquid != other.liquid).any()
    assert (one.patch != other.patch).any()
    stream.eval()
    assert all(map(torch.equal, stream(given), stream(given)))


def test_the_gap_channel_by_name() -> None:
    baskets = Sequence(name="baskets", steps=5, channels=("spend", "days", "since"))
    assert gap_channel(baskets, ("days", "gap")) == 1
    assert gap_channel(baskets, ("gap",)) is None
    with pytest.raises(ValueError, match=r"'baskets' holds.*\['days', 'since'\]"):
        gap_channel(baskets, ("since", "days"))


@pytest.mark.plain  # beartype knows the names too
def test_what_cannot_be_is_refused() -> None:
    for named, message in (
        ({"width": 48}, "multiple of 32. Found 48"),
        ({"width": 0}, "multiple of 32. Found 0"),
        ({"dropout": 1.0}, r"\[0, 1\). Found 1.0"),
        ({"scan": "s4"}, "Scan must be one of"),
        ({"liquid": "ltc"}, "Liquid cell must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(SPEC, **named)
