"""A step along a series: a loop, and one node where the expert is exported."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan

Step = Callable[..., tuple[Tensor, Tensor]]


def recurrence(step: Step, state: Tensor, *parts: Tensor) -> Tensor:
    """The answers of ``state, answer = step(state, *now)`` in order, from axis 1.

    ``now`` are the entries of ``parts`` at one time: batch, time, and whatever follows.
    An exported loop holds a copy of the step for every time, hundreds of them; where no
    gradient is wanted, a scan takes its place.
    """
    if torch.compiler.is_exporting() and not torch.is_grad_enabled():
        return _scanned(step, state, parts)
    answers = []
    # Unbound, since the gradient of a slice is as large as all steps together.
    for now in zip(*(part.unbind(1) for part in parts), strict=True):
        state, answer = step(state, *now)
        answers.append(answer)
    return torch.stack(answers, dim=1)


def _scanned(step: Step, state: Tensor, parts: tuple[Tensor, ...]) -> Tensor:
    def apart(state: Tensor, now: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        state, answer = step(state, *now)
        return state, answer.clone()  # a scan's answer may not be its state

    _, answers = scan(apart, state, tuple(part.transpose(0, 1) for part in parts))
    return answers.transpose(0, 1)
