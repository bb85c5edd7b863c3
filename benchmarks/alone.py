"""An expert alone with one linear map behind it, as several measurements train it."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ple_study.experts.base import Expert
from ple_study.model import seven

SPECS = seven()
SIZE = 256  # of a minibatch
RATE, DECAY = 3e-3, 0.01


def epochs(
    expert: Expert,
    head: nn.Linear,
    loss_of: Callable[[Tensor], Tensor],
    rows: Tensor,
    number: int,
) -> Iterator[int]:
    """Train on these rows and yield after each epoch, with the expert in evaluation.

    ``loss_of`` takes the rows of a minibatch. AdamW under one cycle; their order
    follows torch's generator.
    """
    parts = [*expert.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parts, weight_decay=DECAY)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, epochs=number, steps_per_epoch=-(-len(rows) // SIZE)
    )
    for epoch in range(number):
        expert.train()
        for some in rows[torch.randperm(len(rows))].split(SIZE):
            optimiser.zero_grad()
            loss_of(some).backward()
            optimiser.step()
            rate.step()
        expert.eval()
        yield epoch
