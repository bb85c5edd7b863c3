"""The selective scan: a linear memory that decides at every step what to keep.

Every customer's state is written with B_t, read with C_t and fades in between:
h_t = exp(a_t) h_{t-1} + d_t B_t x_t and y_t = C_t h_t, with a_t <= 0 and the strength
d_t. A step with a_t = 0 and d_t = 0 is an exact no-op, so padding changes nothing.
Gu and Dao (2023), "Mamba", for a decay a channel and state; Dao and Gu (2024),
"Transformers are SSMs", section 6, for one decay a head and the form in chunks.
"""

import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ple_study.experts.temporal.chunks import scan_by_products
from ple_study.experts.temporal.recurrence import recurrence
from ple_study.experts.temporal.slices import scan_by_slices

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
    inputs: Inputs,
    log_decay: Decays,
    write: States,
    read: States,
    strength: Decays | None = None,
) -> Inputs:
    """y_t = C_t h_t, one step after the other: the definition, and the slow way."""
    batch, _, head, dim = inputs.shape
    inputs = inputs if strength is None else strength[..., None] * inputs
    state, answers = inputs.new_zeros(batch, head, write.shape[2], dim), []
    steps = (part.unbind(1) for part in (inputs, log_decay, write, read))
    for x, a, b, c in zip(*steps, strict=True):
        state = scan_step(state, x, a, b)
        answers.append(torch.einsum("bn,bhnd->bhd", c, state))
    return torch.stack(answers, dim=1)


def chunked_scan(
    inputs: Inputs,
    log_decay: Decays,
    write: States,
    read: States,
    strength: Decays | None = None,
    *,
    chunk: int = CHUNK,
) -> Inputs:
    """What ``recurrent_scan`` answers, as products of matrices."""
    time = inputs.shape[1]
    strength = torch.ones_like(log_decay) if strength is None else strength
    x, a, d, b, c = (
        _chunks(part, math.ceil(time / chunk))
        for part in (inputs, log_decay, strength, write, read)
    )
    x, a, d = (part.transpose(2, 3) for part in (x, a, d))  # batch chunk head time
    compiled = torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu")
    sliced = inputs.device.type == "cpu" and not compiled
    answer = (scan_by_slices if sliced else scan_by_products)(x, a, d, b, c)
    answer = answer.transpose(2, 3).flatten(1, 2)
    # A slice of all would cost a gradient of zeros.
    return answer if answer.shape[1] == time else answer[:, -time:]


def _chunks(part: Tensor, count: int) -> Tensor:
    """[batch, time, ...] to [batch, chunk, time, ...], no-ops before the first step."""
    length = math.ceil(part.shape[1] / count)
    front = count * length - part.shape[1]
    if front:
        part = F.pad(part, (0, 0) * (part.ndim - 2) + (front, 0))
    return part.reshape(part.shape[0], count, length, *part.shape[2:])


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
