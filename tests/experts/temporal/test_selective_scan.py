"""The chunked scan answers what the recurrence answers, whatever the steps."""

import math

import pytest
import torch
from torch import Tensor

from ple_study.experts.temporal.chunks import segment_sums
from ple_study.experts.temporal.selective_scan import (
    channel_scan,
    chunked_scan,
    recurrent_scan,
    scan_step,
)
from tests.sizes import BATCH

HEADS, WIDTH, STATE = 3, 6, 7


def steps(time: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    draw = torch.Generator().manual_seed(time)

    def normal(*shape: int) -> Tensor:
        return torch.randn(BATCH, time, *shape, generator=draw, dtype=torch.float64)

    parts = normal(HEADS, WIDTH), -normal(HEADS).exp(), normal(STATE), normal(STATE)
    parts += (normal(HEADS),)  # strengths
    return [part.to(dtype).requires_grad_() for part in parts]


@pytest.mark.parametrize(("time", "chunk"), [(1, 4), (4, 4), (11, 4), (37, 36), (9, 1)])
def test_chunks_answer_what_the_recurrence_does(time: int, chunk: int) -> None:
    parts = steps(time)
    found, wanted = chunked_scan(*parts, chunk=chunk), recurrent_scan(*parts)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)
    weight = torch.randn(found.shape, dtype=torch.float64)
    grads = [torch.autograd.grad((weight * y).sum(), parts) for y in (found, wanted)]
    torch.testing.assert_close(*grads, atol=1e-12, rtol=1e-12)


def test_the_recurrence_by_hand() -> None:
    one, half = torch.ones(1, 3, 1, 1), torch.full((1, 3, 1), 0.5)
    decay = torch.tensor([0.0, math.log(0.5), math.log(0.25)]).view(1, 3, 1)
    write = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1)
    read = torch.tensor([1.0, 1.0, 10.0]).view(1, 3, 1)
    # h: 1, 0.5 + 2 = 2.5, 0.625 + 3 = 3.625
    for scan in (recurrent_scan, chunked_scan):
        found = scan(one, decay, write, read).flatten()
        torch.testing.assert_close(found, torch.tensor([1.0, 2.5, 36.25]))
        weaker = scan(one, decay, write, read, half).flatten()
        torch.testing.assert_close(weaker, found / 2)
    state = scan_step(
        torch.full((1, 1, 1, 1), 2.5), one[:, 0], decay[:, 2], write[:, 2]
    )
    assert state.item() == pytest.approx(3.625)


def test_segment_sums_are_sums_of_their_own_steps() -> None:
    a = -torch.rand(2, 6, dtype=torch.float64)
    found = segment_sums(a)
    for i in range(6):
        for j in range(6):
            wanted = a[:, j + 1 : i + 1].sum(1) if i >= j else -math.inf + a[:, 0]
            torch.testing.assert_close(found[:, i, j], wanted)


def test_small_steps_do_not_drown_behind_large_ones() -> None:
    a = torch.tensor([-1.0, -1e8, -0.001, -0.002])
    assert segment_sums(a)[3, 1].item() == pytest.approx(-0.003, rel=1e-6)


@pytest.mark.parametrize("size", [1e3, 1e30])
def test_large_steps_stay_finite(size: float) -> None:
    parts = steps(40, torch.float32)
    with torch.no_grad():
        parts[1][:, ::3] *= size
    found, wanted = chunked_scan(*parts, chunk=20), recurrent_scan(*parts)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    found.sum().backward()
    assert all(part.grad.isfinite().all() for part in parts)


def test_an_infinite_decay_forgets_everything() -> None:
    parts = steps(9)
    with torch.no_grad():
        parts[1][:, 4] = -torch.inf
    found, wanted = chunked_scan(*parts, chunk=4), recurrent_scan(*parts)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)
    slope = torch.autograd.grad(found.sum(), parts[1])[0]
    assert slope.isfinite().all()
    assert (slope[:, 4] == 0).all()


def test_a_step_without_decay_and_input_is_no_step() -> None:
    with torch.no_grad():
        parts = steps(9)
        wider = [torch.cat([p[:, :4], p[:, 2:5], p[:, 4:]], 1) for p in parts]
        for part in (wider[1], wider[4]):  # decays and strengths
            part[:, 4:7] = 0
        found = chunked_scan(*wider, chunk=5)
        wanted = chunked_scan(*parts, chunk=5)
    kept = found[:, [0, 1, 2, 3, 7, 8, 9, 10, 11]]
    torch.testing.assert_close(kept, wanted, atol=1e-12, rtol=1e-12)


def test_no_step_sees_a_later_one() -> None:
    with torch.no_grad():
        parts = steps(13)
        later = [
            p + 5 * (torch.arange(13) >= 8).view(13, *[1] * (p.ndim - 2)) for p in parts
        ]
        later[1] = later[1].clamp(max=0)
        found, wanted = chunked_scan(*later, chunk=4), chunked_scan(*parts, chunk=4)
    torch.testing.assert_close(found[:, :8], wanted[:, :8], atol=1e-12, rtol=1e-12)
    assert (found[:, 8:] != wanted[:, 8:]).any(0).all()


def test_a_decay_a_channel_by_its_formula() -> None:
    draw = torch.Generator().manual_seed(1)
    time, channels = 8, WIDTH
    x, delta = torch.rand(2, BATCH, time, channels, generator=draw).double()
    b, c = torch.randn(2, BATCH, time, STATE, generator=draw).double()
    a = -torch.rand(channels, STATE, generator=draw).double()
    h, wanted = torch.zeros(BATCH, channels, STATE).double(), torch.zeros_like(x)
    for t in range(time):
        for d in range(channels):
            for n in range(STATE):
                fade = (delta[:, t, d] * a[d, n]).exp()
                h[:, d, n] = (
                    fade * h[:, d, n] + delta[:, t, d] * b[:, t, n] * x[:, t, d]
                )
                wanted[:, t, d] += c[:, t, n] * h[:, d, n]
    found = channel_scan(x, delta, a, b, c)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


def test_both_scans_are_one_where_a_head_has_one_decay() -> None:
    x, _, b, c, _ = steps(10)
    delta, a = torch.rand(BATCH, 10, HEADS).double(), -torch.rand(HEADS).double()
    per_channel = channel_scan(
        x.flatten(2),
        delta.repeat_interleave(WIDTH, 2),
        a.repeat_interleave(WIDTH)[:, None].expand(-1, STATE),
        b,
        c,
    )
    per_head = chunked_scan(x, delta * a, b, c, delta)
    torch.testing.assert_close(per_channel, per_head.flatten(2), atol=1e-12, rtol=1e-12)
