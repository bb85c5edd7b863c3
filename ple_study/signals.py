"""What a customer and a model's answer look like, one number at a time."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ple_study.batch import Batch, Output
from ple_study.fitted import Fitted, probabilities
from ple_study.model import HeterogeneousPLESpec

Values = Float[Tensor, " row"]
Named = Iterator[tuple[str, Values]]


def signals_of(
    fitted: Fitted, batch: Batch, output: Output, centres: Sequence[Tensor]
) -> Iterator[tuple[tuple[str, str], Values]]:
    """By kind and name, one number a customer; where there is nothing, NaN.

    ``column``: a number, a category's code, the likeliest cluster. ``present``: whether
    a series, diagram, hidden state or vector is there. ``series``: a channel's mean
    over its steps. ``diagram``: its points, and the sum of their lives. ``vector``: its
    norm. ``expert``: how far its block lies from ``centres``. ``gate``: a slot's mean
    weight over the tasks, on the last level. ``answer``: a probability, a value, or the
    likeliest class.
    """
    for kind, found in (
        ("column", _columns(fitted, batch)),
        ("present", _present(batch)),
        ("series", _series(batch)),
        ("diagram", _diagrams(batch)),
        ("vector", _vectors(batch)),
        ("expert", _experts(fitted, output, centres)),
        ("gate", _gates(fitted, output)),
        ("answer", _answers(fitted, output)),
    ):
        for name, values in found:
            yield (kind, name), values


def _columns(fitted: Fitted, batch: Batch) -> Named:
    for feature, column in zip(fitted.schema.numeric, batch.numeric.T, strict=True):
        yield feature.name, column
    codes = zip(fitted.schema.categorical, batch.categorical.T, strict=True)
    for feature, column in codes:
        yield feature.name, column.double()
    if batch.clusters is not None:
        known = ~batch.clusters.isnan().any(1)
        yield "cluster", batch.clusters.argmax(1).double().where(known, torch.nan)


def _present(batch: Batch) -> Named:
    for name, events in batch.events.items():
        yield name, events.mask.any(1).double()
    for name, diagrams in batch.diagrams.items():
        yield name, diagrams.mask.any(1).double()
    if batch.states is not None:
        for mode, states in enumerate(batch.states.unbind(1)):
            yield f"states {mode}", (~states.isnan().any(1)).double()
    for name, vector in batch.vectors.items():
        yield name, (~vector.isnan().any(1)).double()


def _series(batch: Batch) -> Named:
    for name, events in batch.events.items():
        steps = events.mask.sum(1)
        sums = events.values.where(events.mask[:, :, None], 0.0).sum(1)
        for channel, own in enumerate((sums / steps[:, None]).T):  # 0 / 0 is NaN
            yield f"{name} {channel}", own


def _diagrams(batch: Batch) -> Named:
    for name, diagrams in batch.diagrams.items():
        lives = diagrams.points[:, :, 1] - diagrams.points[:, :, 0]
        yield f"{name} points", diagrams.mask.sum(1).double()
        yield f"{name} lives", lives.where(diagrams.mask, 0.0).sum(1)


def _vectors(batch: Batch) -> Named:
    for name, vector in batch.vectors.items():
        yield name, vector.norm(dim=1)


def _experts(fitted: Fitted, output: Output, centres: Sequence[Tensor]) -> Named:
    names = expert_names(fitted, len(centres))
    for name, block, centre in zip(names, output.experts, centres, strict=True):
        yield name, (block - centre).norm(dim=1)


def _gates(fitted: Fitted, output: Output) -> Named:
    if output.weights:
        loads = output.weights[-1].mean(1)
        for place, load in enumerate(loads.T):
            yield expert_names(fitted, loads.shape[1])[place], load


def _answers(fitted: Fitted, output: Output) -> Named:
    said = probabilities(fitted.schema.tasks, output.logits)
    for name, own in said.items():
        yield name, own[:, 0] if own.shape[1] == 1 else own.argmax(1).double()


def expert_names(fitted: Fitted, count: int) -> list[str]:
    """The experts' names where the spec has as many, or else their places."""
    spec = fitted.spec
    names = list(spec.experts) if isinstance(spec, HeterogeneousPLESpec) else []
    return names if len(names) == count else [str(place) for place in range(count)]


def deviations(fitted: Fitted, output: Output) -> dict[str, float]:
    """By expert the deviation of its block over the customers, mean over coordinates.

    ``collapse.dead_experts`` puts a floor under the same number.
    """
    found = [float(x.std(0, correction=0).mean()) for x in output.experts]
    return dict(zip(expert_names(fitted, len(found)), found, strict=True))
