"""What every contestant can do, and which of our weights is which of a peer's."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.shapes import Shape
from ple_study.baselines import PLE
from ple_study.batch import Rows
from ple_study.experts.mlp import Norm

Place = int | slice


class Pair(NamedTuple):
    """A peer's parameter, and the place in one of ours that means the same."""

    ours: Tensor
    place: Place
    theirs: Tensor


class Contestant(ABC):
    """A library that builds a PLE of a shape and runs it the way its own users do.

    ``twin`` is the norm with which our model computes the same numbers; None when it
    computes others. ``embeds`` says that it embeds numbers too, so that a table of
    numbers alone would be another model.
    """

    name: str
    twin: Norm | None = None
    embeds = False

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    @abstractmethod
    def build(self) -> Any:
        """The model, on the CPU."""

    def pairs(self, ours: PLE, theirs: Any) -> Iterator[Pair]:
        """Every parameter of ours beside theirs."""
        raise NotImplementedError(f"{self.name} computes another function.")

    @abstractmethod
    def steps(self, model: Any, rows: Rows) -> Callable[[], None]:
        """One step of training on these rows, made ready."""

    @abstractmethod
    def answers(self, model: Any, rows: Rows) -> Callable[[], Tensor]:
        """The probabilities of these rows, made ready."""

    @abstractmethod
    def epoch(self, train: Rows, val: Rows, batch_size: int) -> Callable[[], object]:
        """Its own fit: loads and trains on the one, evaluates the other."""


def carry(pairs: Iterable[Pair]) -> None:
    """Copy the peer's weights into our model."""
    with torch.no_grad():
        for ours, place, theirs in pairs:
            ours[place].copy_(theirs.view_as(ours[place]))


def roughen(model: nn.Module) -> None:
    """Weights of an ordinary size: some peers begin so near zero that all is flat."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter.shape[1] ** -0.5)


def of_linear(layer: nn.Module, place: Place, theirs: nn.Module) -> Iterator[Pair]:
    """A linear map, or a normalisation's scale and shift."""
    for name, parameter in theirs.named_parameters():
        yield Pair(layer.get_parameter(name), place, parameter)


def of_tables(ours: PLE, tables: Iterable[nn.Module]) -> Iterator[Pair]:
    """A table a column there, one table for all columns here."""
    start = 0
    for table in tables:
        theirs = table.get_parameter("weight")
        place = slice(start, start + len(theirs))
        yield Pair(ours.tabular.get_parameter("tables.0.weight"), place, theirs)
        start += len(theirs)


def of_gates(
    gate: Any, linears: Iterable[nn.Module], norms: Iterable[nn.Module] = ()
) -> Iterator[Pair]:
    """A module a listener there, one for all here; what nobody reads is left out."""
    for layer, modules in ((gate.linear, linears), (gate.norm, norms)):
        start = 0
        for count, theirs in zip(gate.counts, modules, strict=False):
            yield from of_linear(layer, slice(start, start + count), theirs)
            start += count
