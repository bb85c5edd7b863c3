"""The selective scan as products of matrices, a chunk of steps at a time.

Dao and Gu (2024), "Transformers are SSMs", section 6.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Inputs = Float[Tensor, "batch chunk head time dim"]
Decays = Float[Tensor, "batch chunk head time"]
States = Float[Tensor, "batch chunk time state"]


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


def scan_by_products(
    inputs: Inputs, log_decay: Decays, strength: Decays, write: States, read: States
) -> Inputs:
    """y = (C B^T * exp(S)) x within a chunk, where S are segment sums.

    Between chunks the state at a chunk's end is handed on, itself by segment sums over
    chunks. Needs T * chunk numbers a head, where a scan that keeps its states needs
    T * state * dim.
    """
    x, b, c = strength[..., None] * inputs, write, read
    fade = segment_sums(log_decay).exp_()  # in place: the largest tensor here
    within = ((c @ b.mT)[:, :, None] * fade) @ x
    ends = b.mT[:, :, None] @ (x * fade[..., -1, :, None])
    before = _handed_on(ends, log_decay.sum(-1))
    since = log_decay.cumsum(-1).exp()[..., None]
    return within + (c[:, :, None] * since) @ before


def _handed_on(
    ends: Float[Tensor, "batch chunk head state dim"],
    log_decay: Float[Tensor, "batch chunk head"],
) -> Float[Tensor, "batch chunk head state dim"]:
    """The state before each chunk, of what each chunk adds and how it fades."""
    fade = segment_sums(log_decay.mT).exp()[:, :, :-1]  # by the end of chunk i of j's
    before = torch.einsum("bhij,bjhnd->bihnd", fade, ends)
    return F.pad(before, (0, 0) * 3 + (1, 0))
