"""What a model answers where some of its experts are not heard.

An expert that is not heard says, instead of its block, the mean of what it says of the
customers of a background. All else is the customer's own and stays: her columns, which
stage 1's private experts read, hidden states, cluster, and ``present``, so that an
expert that has nothing to read of her is as absent from every coalition as it was.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ple_study import fitted as answering
from ple_study.batch import Batch, Output, concat, tree_map
from ple_study.fitted import Fitted, join
from ple_study.model import HeterogeneousPLE
from ple_study.schema import TaskSpec

ROWS = 4096  # customers times coalitions at once
MOST = 10  # experts of whom all coalitions are asked, which are 1,024

Blocks = Sequence[Float[Tensor, "batch _"]]
Unheard = Sequence[Float[Tensor, " _"]]
Values = Float[Tensor, "batch coalition task"]


class Said(NamedTuple):
    """Customers as the gates meet them; the batch has nothing left for an expert."""

    batch: Batch
    blocks: tuple[Float[Tensor, "batch _"], ...]
    present: Bool[Tensor, "batch expert"]

    def rows(self, rows: slice) -> "Said":
        return self._each(lambda x: x[rows])

    def times(self, count: int) -> "Said":
        """Every customer so many times, one after the other."""
        return self._each(lambda x: x.repeat_interleave(count, 0))

    def _each(self, function: Callable[[Tensor], Tensor]) -> "Said":
        blocks = tuple(function(block) for block in self.blocks)
        return Said(tree_map(function, self.batch), blocks, function(self.present))


class Question(NamedTuple):
    """What is asked: the customers, which margin of which tasks, and against what."""

    model: HeterogeneousPLE
    said: Said
    weights: tuple[Float[Tensor, "batch _ slot"], ...]
    unheard: tuple[Float[Tensor, " _"], ...]
    tasks: tuple[TaskSpec, ...]
    chosen: Int[Tensor, "batch task"]
    hold_gate: bool

    @property
    def places(self) -> list[int]:
        """The tasks among all of the model's."""
        names = list(self.model.towers.tasks)
        return [names.index(task.name) for task in self.tasks]


def explained(fitted: Fitted) -> HeterogeneousPLE:
    """Its model. Raises ValueError unless that is a heterogeneous one."""
    if not isinstance(fitted.model, HeterogeneousPLE):
        raise ValueError(
            "Experts contribute to the answers of a HeterogeneousPLE. Found a "
            f"{type(fitted.model).__name__}."
        )
    return fitted.model


@contextmanager
def asking(model: HeterogeneousPLE) -> Iterator[None]:
    """In eval mode within, and afterwards as it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def all_coalitions(experts: int) -> Bool[Tensor, "coalition expert"]:
    """Coalition c hears expert i where bit i of c is set: nobody first, all last.

    Raises ValueError for more than ``MOST`` experts.
    """
    if experts > MOST:
        raise ValueError(
            f"All coalitions can be asked of at most {MOST} experts. Found {experts}; "
            "the readouts 'loo' and 'ig' take any number."
        )
    number = torch.arange(2**experts)[:, None]
    return (number >> torch.arange(experts)) % 2 == 1


@torch.no_grad()
def listen(fitted: Fitted, batch: Batch) -> tuple[Said, Output]:
    """What the experts say of customers, on the model's device, and its answer."""
    if not len(batch):
        raise ValueError("Contributions need at least one row. Found an empty batch.")
    model = explained(fitted)
    device = next(model.parameters()).device
    found, step = [], answering.CHUNK
    for start in range(0, len(batch), step):
        piece = tree_map(itemgetter(slice(start, start + step)), batch)
        piece = fitted.scaler(piece).to(device)
        blocks, present = model.experts(piece)
        output = model.answer(piece, blocks, present)
        rest: dict[str, Any] = {"events": {}, "diagrams": {}, "vectors": {}}
        piece = replace(piece, customer=None, **rest)
        found.append((Said(piece, tuple(blocks), present), output))
    parts, outputs = zip(*found, strict=True)
    blocks = zip(*(part.blocks for part in parts), strict=True)
    weights = zip(*(output.weights for output in outputs), strict=True)
    said = Said(
        concat([part.batch for part in parts]),
        tuple(torch.cat(own) for own in blocks),
        torch.cat([part.present for part in parts]),
    )
    stages = tuple(torch.cat(stage).cpu() for stage in weights)
    return said, Output(join([output.logits for output in outputs]), stages)


def answers(
    model: HeterogeneousPLE,
    said: Said,
    unheard: Unheard,
    heard: Bool[Tensor, "coalition expert"],
    *,
    hold_gate: bool,
) -> Iterator[dict[str, Float[Tensor, "batch coalition outputs"]]]:
    """Logits by task of each coalition, for some customers after the other.

    With ``hold_gate`` the gates keep the weights that they have where all are heard.
    """
    count = len(heard)
    step, heard = max(1, ROWS // count), heard.to(said.present.device)
    for start in range(0, len(said.batch), step):
        part = said.rows(slice(start, start + step))
        blocks = [
            torch.where(heard[:, place, None], own[:, None], mean).flatten(0, 1)
            for place, (own, mean) in enumerate(zip(part.blocks, unheard, strict=True))
        ]
        with torch.no_grad():
            logits = answer(model, part.times(count), blocks, hold_gate=hold_gate)
        yield {name: z.view(-1, count, z.shape[1]) for name, z in logits.items()}


def answer(
    model: HeterogeneousPLE, said: Said, blocks: Blocks, *, hold_gate: bool
) -> dict[str, Float[Tensor, "batch outputs"]]:
    """Logits where the experts say ``blocks`` of these customers.

    With ``hold_gate`` the gates decide by what was ``said``.
    """
    if not hold_gate:
        return model.answer(said.batch, blocks, said.present).logits

    def decide(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        return given, {**named, "read": said.blocks}

    hook = model.gates.register_forward_pre_hook(decide, with_kwargs=True)
    try:
        return model.answer(said.batch, blocks, said.present).logits
    finally:
        hook.remove()


def mean_blocks(blocks: Blocks) -> tuple[Float[Tensor, " _"], ...]:
    """What each expert says on average."""
    return tuple(block.cpu().double().mean(0).to(block) for block in blocks)
