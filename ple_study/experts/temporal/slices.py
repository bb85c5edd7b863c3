"""The scan's products on a CPU, a few customers at a time, with their gradient.

Autograd keeps every factor of a product and passes over it once more for each use.
Here a product adds to what it would be added to, a step's inputs are read by products
alone, and a slice of customers stays in the cache from one to the next.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from ple_study.experts.temporal.chunks import (
    Decays,
    Inputs,
    States,
    scan_by_products,
)

SLICE = 400_000  # numbers of the inputs in a slice: they and their products fit

Chunks = Float[Tensor, "batch chunk head state dim"]


class _Kept(NamedTuple):
    """Of a slice, for its gradient; but for the states, a row is a chunk of a head."""

    fade: Float[Tensor, "row time time"]  # from step j to step i
    since: Float[Tensor, "row time 1"]  # from before the chunk to step i
    mixed: Float[Tensor, "row time time"]  # C B^T * strength * fade
    before: Chunks  # the states before each chunk


def scan_by_slices(
    inputs: Inputs, log_decay: Decays, strength: Decays, write: States, read: States
) -> Inputs:
    """What ``scan_by_products`` answers, in little more than half of its time.

    Neither ``torch.func`` nor forward mode goes through it; both do through products.
    """
    parts = inputs, log_decay, strength, write, read
    found: Tensor = _SlicedScan.apply(*parts)  # type: ignore[no-untyped-call]
    return found


class _SlicedScan(Function):
    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        answer, saved = parts[0].new_empty(parts[0].shape), list(parts)
        sums = _sums(parts[1])
        for some in _slices(answer):
            kept = _forward([part[some] for part in parts], sums, answer[some])
            if any(ctx.needs_input_grad):
                saved += kept
        ctx.save_for_backward(*saved)
        return answer

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        parts, saved = ctx.saved_tensors[:5], ctx.saved_tensors[5:]
        if torch.is_grad_enabled():  # the answer will be differentiated in its turn
            return _differentiable(parts, grad)
        found, sums = [part.new_empty(part.shape) for part in parts], _sums(parts[1])
        for some in _slices(grad):
            kept, saved = (
                _Kept(*saved[: len(_Kept._fields)]),
                saved[len(_Kept._fields) :],
            )
            given = [part[some] for part in parts]
            _backward(given, sums, grad[some], kept, [part[some] for part in found])
        return tuple(found)


def _differentiable(parts: Sequence[Tensor], grad: Tensor) -> tuple[Tensor | None, ...]:
    """The same gradients, from torch's own operations."""
    asked = [part for part in parts if part.requires_grad]
    answer = scan_by_products(*parts)
    slopes = iter(torch.autograd.grad(answer, asked, grad, create_graph=True))
    return tuple(next(slopes) if part.requires_grad else None for part in parts)


class _Sums(NamedTuple):
    """Matrices of zeros and ones, by which logs of decays are added up."""

    within: Float[Tensor, "time pair"]  # of the steps after j, up to i; pair (i, j)
    since: Float[Tensor, "time time"]  # of the steps up to i
    ahead: Float[Tensor, " pair"]  # 0, and -inf where i < j


def _sums(decay: Decays) -> _Sums:
    time = decay.shape[-1]
    since = decay.new_ones(time, time).triu()
    after = since.T.tril(-1)  # [step, j]
    within = (since[:, :, None] * after[:, None]).flatten(1)
    ahead = decay.new_full((time, time), -torch.inf).triu(1).flatten()
    return _Sums(within, since, ahead)


def _forward(parts: Sequence[Tensor], sums: _Sums, answer: Tensor) -> _Kept:
    """Fills ``answer``."""
    x, a, d, b, c = parts
    batch, count, heads, time, dim = x.shape
    x, logs = _rows(x), _rows(a) / math.log(2)
    logs = logs.clamp(min=torch.finfo(a.dtype).min)  # 0 times infinity is no number
    fade = torch.addmm(sums.ahead, logs, sums.within).exp2_().view(-1, time, time)
    since = (logs @ sums.since).exp2_()[..., None]  # exp2 takes a third of exp's time
    write, read = _rows(d[..., None] * b[:, :, None]), _of_heads(c, heads)
    mixed = (read @ write.mT).mul_(fade)
    ends = (write.mul_(fade[:, -1, :, None]).mT @ x).view(batch, count, heads, -1, dim)
    before = _handed_on(ends, _whole(since, ends), range(count))
    y = answer.view(-1, time, dim)
    torch.bmm(mixed, x, out=y)
    torch.baddbmm(y, read * since, before.flatten(0, 2), out=y)
    return _Kept(fade, since, mixed, before)


def _backward(
    parts: Sequence[Tensor],
    sums: _Sums,
    grad_y: Tensor,
    kept: _Kept,
    found: Sequence[Tensor],
) -> None:
    """Fills ``found``, the gradients of ``parts``."""
    x, _, d, b, c = parts
    grad_x, grad_a, grad_d, grad_b, grad_c = found
    batch, count, heads, time, dim = x.shape
    shape = batch, count, heads, time, b.shape[-1]
    x, grad_y, grad_x = _rows(x), _rows(grad_y), grad_x.view(-1, time, dim)
    whole, leaves = _whole(kept.since, kept.before), kept.fade[:, -1, :, None]
    write, read = _rows(d[..., None] * b[:, :, None]), _of_heads(c, heads)
    leave, faded = write * leaves, read * kept.since

    grad_mixed, grad_read = grad_y @ x.mT, grad_y @ kept.before.flatten(0, 2).mT
    grad_before = (faded.mT @ grad_y).view(kept.before.shape)
    after = _handed_on(grad_before, whole, range(count)[::-1])  # of a chunk's end
    ends = after.flatten(0, 2)
    grad_leave = x @ ends.mT
    torch.bmm(kept.mixed.mT, grad_y, out=grad_x)
    torch.baddbmm(grad_x, leave, ends, out=grad_x)

    # What fades is multiplied by exp of a sum of logs: the gradient of that sum.
    grad_within, grad_since = grad_mixed * kept.mixed, (grad_read * faded).sum(-1)
    grad_within[:, -1] += (grad_leave * leave).sum(-1)
    grad_since[:, -1] += ((after * kept.before).sum((-2, -1), True) * whole).flatten()
    logs = grad_a.view(-1, time)
    torch.mm(grad_within.flatten(1), sums.within.T, out=logs)
    torch.addmm(logs, grad_since, sums.since.T, out=logs)

    grad_product = grad_mixed.mul_(kept.fade)
    grad_write = (grad_product.mT @ read).addcmul_(grad_leave, leaves)
    grad_write = grad_write.view(shape)
    torch.sum(grad_write * b[:, :, None], -1, out=grad_d)
    _over_heads(grad_write.mul_(d[..., None]), grad_b)
    grad_read.mul_(kept.since)
    torch.baddbmm(grad_read, grad_product, write, out=grad_read)
    _over_heads(grad_read.view(shape), grad_c)


def _handed_on(added: Chunks, whole: Tensor, order: Sequence[int]) -> Chunks:
    """What chunks along ``order`` receive of those before; each fades by ``whole``."""
    found = torch.empty_like(added)
    adds, fades, states = (part.unbind(1) for part in (added, whole, found))
    states[order[0]].zero_()
    for now, then in pairwise(order):
        torch.addcmul(adds[now], fades[now], states[now], out=states[then])
    return found


def _whole(since: Tensor, chunks: Chunks) -> Tensor:
    """How much of a state is left at a chunk's end."""
    return since[:, -1].view(*chunks.shape[:3], 1, 1)


def _rows(part: Tensor) -> Tensor:
    """A row for each chunk of each head."""
    return part.reshape(-1, *part.shape[3:])


def _of_heads(states: States, heads: int) -> Tensor:
    """The same for all heads."""
    return _rows(states[:, :, None].expand(-1, -1, heads, -1, -1))


def _over_heads(parts: Tensor, found: Tensor) -> None:
    if parts.shape[2] == 1:
        found.copy_(parts[:, :, 0])
    else:
        torch.sum(parts, 2, out=found)


def _slices(inputs: Tensor) -> Iterator[slice]:
    size = max(1, SLICE // max(1, math.prod(inputs.shape[1:])))
    return (slice(k, k + size) for k in range(0, len(inputs), size))
