"""Readouts that ask how steep a margin is, and no coalition."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ple_study.gates.gate import Mixture
from ple_study.interpret import coalitions
from ple_study.interpret.coalitions import Blocks, Question, Values, answer
from ple_study.interpret.margins import margins
from ple_study.model import HeterogeneousPLE

STEPS = 32  # of integrated gradients

Raw = Float[Tensor, "batch task expert"]
Factor = Float[Tensor, "batch expert"]


def grad_block(asked: Question, _: Values) -> Raw:
    """<dz/dh~_i, h~_i> = dz/dt_i where all that is read of block i is t_i h~_i, t = 1.

    It is read behind the gates, whose weights do not move: as stage 2 recolours it, and
    as stage 1 adapts it; where a task informs this one, that task's h~_i counts too.
    """
    return _by_rows(asked, 1, _loudness)


def integrated(asked: Question, _: Values) -> Raw:
    """<h_i - m_i, integral over [0, 1] of dz/dh_i at m + a (h - m) da>.

    By ``STEPS`` Gauss-Legendre nodes, exact for polynomials of degree 63. What lacks of
    full - base is ``Contributions.gap``: next to nothing where all is smooth, and what
    a ``top_k`` gate jumps on the way where there is one.
    """
    return _by_rows(asked, STEPS, _along)


def _by_rows(asked: Question, each: int, ask: Callable[[Question], Raw]) -> Raw:
    step = max(1, coalitions.ROWS // each)
    found = []
    for start in range(0, len(asked.chosen), step):
        rows = slice(start, start + step)
        part = asked._replace(said=asked.said.rows(rows), chosen=asked.chosen[rows])
        with torch.enable_grad():
            found.append(ask(part))
    return torch.cat(found)


def _slopes(
    z: Float[Tensor, "row task"], leaves: Blocks
) -> Iterator[tuple[Tensor, ...]]:
    """By task the gradient of its own row's margin at every row of the leaves."""
    for own in z.sum(0):
        yield torch.autograd.grad(
            own, list(leaves), retain_graph=True, materialize_grads=True
        )


def _loudness(asked: Question) -> Raw:
    said, dims = asked.said, [block.shape[1] for block in asked.said.blocks]
    factor = torch.ones_like(said.blocks[0][:, :1]).repeat(1, len(dims))
    factor.requires_grad_()
    blocks: Blocks = said.blocks
    if not (asked.model.gates.stage1 or asked.model.gates.stage2):
        blocks = [b * t[:, None] for b, t in zip(blocks, factor.unbind(1), strict=True)]
    with _louder(asked.model, factor, dims):
        logits = answer(asked.model, said, blocks, hold_gate=False)
    z = margins(asked.tasks, logits, asked.chosen)
    return torch.stack([slope for (slope,) in _slopes(z, [factor])], dim=1)


@contextmanager
def _louder(model: HeterogeneousPLE, factor: Factor, dims: list[int]) -> Iterator[None]:
    """Within, whatever is read of block i behind a gate is times its factor."""
    first, second = model.gates.stage1, model.gates.stage2
    wide = factor.repeat_interleave(torch.tensor(dims, device=factor.device), 1)

    def recoloured(_: Any, __: Any, mixture: Mixture) -> Mixture:
        return mixture._replace(mixed=[own * wide for own in mixture.mixed])

    def adapted(place: int) -> Callable[[Any, Any, Tensor], Tensor]:
        return lambda _, __, block: block * factor[:, place, None]

    hooks = [second.register_forward_hook(recoloured)] if second else []
    for place, adapter in enumerate(first.adapters if first else []):
        hooks.append(adapter.register_forward_hook(adapted(place)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _along(asked: Question) -> Raw:
    nodes, weights = np.polynomial.legendre.leggauss(STEPS)  # on [-1, 1]
    said = asked.said.times(STEPS)
    at = said.blocks[0].new_tensor((nodes + 1) / 2).repeat(len(asked.chosen))[:, None]
    pairs = list(zip(said.blocks, asked.unheard, strict=True))
    blocks = [(mean + at * (own - mean)).requires_grad_() for own, mean in pairs]
    logits = answer(asked.model, said, blocks, hold_gate=asked.hold_gate)
    z = margins(asked.tasks, logits, asked.chosen.repeat_interleave(STEPS, 0))
    share = torch.from_numpy(weights / 2)
    rows = []
    for slopes in _slopes(z, blocks):
        dots = [
            (slope * (own - mean)).cpu().double().sum(1)
            for slope, (own, mean) in zip(slopes, pairs, strict=True)
        ]
        rows.append(torch.stack(dots, 1).view(-1, STEPS, len(dots)).mT @ share)
    return torch.stack(rows, dim=1)
