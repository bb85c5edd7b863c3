"""Blocks side by side, each times its own weight: what every task reads of them."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def recolour(
    blocks: Float[Tensor, "batch dim"],
    weights: Float[Tensor, "task expert batch"],
    dims: Sequence[int],
) -> tuple[Float[Tensor, "batch dim"], ...]:
    """For task k, column d of block i: ``weights[k, i] * blocks[:, d]``.

    ``dims`` are the widths of the blocks, which stand side by side.
    """
    width = math.gcd(*dims)  # blocks are cut into pieces of one width
    counts = [dim // width for dim in dims]
    piece = torch.tensor([i for i, count in enumerate(counts) for _ in range(count)])
    pieces = blocks.view(blocks.shape[0], len(piece), width)
    each = weights.index_select(1, piece.to(weights.device)).to(blocks.dtype)
    each = each.transpose(1, 2).contiguous()[..., None]
    if blocks.is_cuda or torch.compiler.is_compiling():
        return (each * pieces).flatten(2).unbind()
    found: tuple[Tensor, ...] = _Scaled.apply(pieces, each)  # type: ignore[no-untyped-call]
    return tuple(x.flatten(1) for x in found)


class _Scaled(torch.autograd.Function):
    """each[k, b, c] * pieces[b, c, d] by task, for a CPU.

    The tensor of all tasks is so large that its memory is asked of the system anew in
    every step, which takes longer than to fill it; that of one task is at hand.
    """

    @staticmethod
    def forward(
        ctx: Any,
        pieces: Float[Tensor, "batch piece width"],
        each: Float[Tensor, "task batch piece 1"],
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(pieces, each)
        return tuple([weight * pieces for weight in each.unbind()])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        pieces, each = ctx.saved_tensors
        to_pieces = torch.zeros_like(pieces)
        for weight, grad in zip(each, grads, strict=True):
            to_pieces = to_pieces.addcmul(weight, grad)
        to_each = [torch.einsum("bcd,bcd->bc", grad, pieces) for grad in grads]
        return to_pieces, torch.stack(to_each)[..., None]
