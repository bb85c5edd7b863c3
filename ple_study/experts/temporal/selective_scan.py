"""The selective scan: a linear memory that decides at every step what to keep.

Every customer's state is written with B_t, read with C_t and fades in between:
h_t = exp(a_t) h_{t-1} + B_t x_t and y_t = C_t h_t, with a_t <= 0. A step with a_t = 0
and x_t = 0 is an exact no-op, so padding costs nothing and changes nothing. Gu and Dao
(2023), "Mamba", for a decay a channel and state; Dao and Gu (2024), "Transformers are
SSMs", section 6, for one decay a head and the form in chunks.
"""

import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ple_study.experts.temporal.recurrence import recurrence

CHUNK = 20  # steps, at most; of 12, 18, 20, 30 and 36 the fastest on a CPU

Inputs = Float[Tensor, "batch time head dim"]
Decays = Float[Tensor, "batch time head"]
States = Float[Tensor, "batch time state"]


def scan_step(
    state: Float[Tensor, "batch head state dim"],
    inputs: Float[Tensor, "batch head dim"],
    log_decay: Float[Tensor, "batch head"],
    write: Float[Tensor, "batch state"],
) -> Float[Tensor, "batch head state dim"]:
    """The state after one more step: exp(a) h + B x."""
    return log_decay.exp()[..., None, None] * state + torch.einsum(
        "bn,bhd->bhnd", write, inputs
    )


def recurrent_scan(
    inputs: Inputs, log_decay: Decays, write: States, read: States
) -> Inputs:
    """y_t = C_t h_t, one step after the other: the definition, and the slow way."""
    batch, _, head, dim = inputs.shape
    state, answers = inputs.new_zeros(batch, head, write.shape[2], dim), []
    steps = (part.unbind(1) for part in (inputs, log_decay, write, read))
    for x, a, b, c in zip(*steps, strict=True):
        state = scan_step(state, x, a, b)
        answers.append(torch.einsum("bn,bhnd->bhd", c, state))
    return torch.stack(answers, dim=1)


def segment_sums(
    steps: Float[Tensor, "*axes time"],
) -> Float[Tensor, "*axes time time"]:
    """S_ij = sum_{j<k<=i} a_k: the log of what fades from step j to i; -inf for i < j.

    Each is a sum of its own steps. As a difference of two running sums it would drown
    in their rounding where steps are large, and the exponential of what lies above the
    diagonal would overflow; so both are masked, before the sum and before exp.
    """
    time = steps.shape[-1]
    after = torch.ones(time, time, dtype=torch.bool, device=steps.device).tril(-1)
    each = steps[..., :, None].expand(*steps.shape, time)
    sums = each.masked_fill(~after, 0.0).cumsum(-2)
    return sums.masked_fill_(after.mT, -torch.inf)


def chunked_scan(
    inputs: Inputs,
    log_decay: Decays,
    write: States,
    read: States,
    chunk: int = CHUNK,
) -> Inputs:
    """What ``recurrent_scan`` answers, as products of matrices.

    Within a chunk, y = (C B^T * exp(S)) x with the segment sums S; between chunks the
    state at a chunk's end is handed on, itself by segment sums over chunks. Needs
    T * chunk numbers a head, where a scan that keeps its states needs T * state * dim.
    """
    batch, time = inputs.shape[:2]
    count = math.ceil(time / chunk)
    length = math.ceil(time / count)
    front = count * length - time  # no-ops before the first step
    x, a, b, c = (
        F.pad(part, (0, 0) * (part.ndim - 2) + (front, 0)).reshape(
            batch, count, length, *part.shape[2:]
        )
        for part in (inputs, log_decay, write, read)
    )
    x, a = x.transpose(2, 3), a.transpose(2, 3)  # batch chunk head step
    fade = segment_sums(a).exp_()  # in place: the largest tensor here
    within = ((c @ b.mT)[:, :, None] * fade) @ x
    ends = b.mT[:, :, None] @ (x * fade[..., -1, :, None])
    before = _handed_on(ends, a.sum(-1))
    since = a.cumsum(-1).exp()[..., None]
    answer = within + (c[:, :, None] * since) @ before
    return answer.transpose(2, 3).flatten(1, 2)[:, front:]


def _handed_on(
    ends: Float[Tensor, "batch chunk head state dim"],
    log_decay: Float[Tensor, "batch chunk head"],
) -> Float[Tensor, "batch chunk head state dim"]:
    """The state before each chunk, of what each chunk adds and how it fades."""
    fade = segment_sums(log_decay.mT).exp()[:, :, :-1]  # by the end of chunk i of j's
    before = torch.einsum("bhij,bjhnd->bihnd", fade, ends)
    return F.pad(before, (0, 0) * 3 + (1, 0))


def channel_scan(
    inputs: Float[Tensor, "batch time channel"],
    delta: Float[Tensor, "batch time channel"],
    log_decay: Float[Tensor, "channel state"],
    write: States,
    read: States,
) -> Float[Tensor, "batch time channel"]:
    """Mamba-1: h_t = exp(delta_t A) h_{t-1} + delta_t B_t x_t, a decay a channel.

    ``log_decay`` is A, below zero. A loop over time; a scan of logarithmic depth takes
    eight times as long on a CPU.
    """
    state = inputs.new_zeros(*inputs.shape[::2], write.shape[2])
    step = partial(_channel_step, log_decay)
    return recurrence(step, state, delta * inputs, delta, write, read)


def _channel_step(
    log_decay: Tensor,
    state: Tensor,
    x: Tensor,
    delta: Tensor,
    write: Tensor,
    read: Tensor,
) -> tuple[Tensor, Tensor]:
    fade = (delta[..., None] * log_decay).exp()
    state = fade * state + x[..., None] * write[:, None]
    return state, (state @ read[..., None]).squeeze(-1)
