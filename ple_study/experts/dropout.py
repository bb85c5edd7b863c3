"""Dropout for a CPU: four draws from one random number."""

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = 2**16


def dropout(x: Tensor, p: float) -> Tensor:
    """Each number is zero with probability p, and divided by 1 - p otherwise.

    On a CPU ``F.dropout`` draws 64 random bits a number; sixteen of them do. p is then
    a whole number of 65,536ths, by which the rest is divided too. The draws come from
    torch's own generator, but are not those of ``F.dropout``.
    """
    cut = round(p * LEVELS)
    if x.device.type != "cpu" or torch.compiler.is_compiling() or cut == LEVELS:
        return F.dropout(x, p)
    size = x.numel()
    drawn = x.new_empty(-(-size // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = drawn.view(torch.int16)[:size].view(x.shape) >= cut - LEVELS // 2
    return x * kept.to(x.dtype).mul_(LEVELS / (LEVELS - cut))
