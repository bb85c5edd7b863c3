"""Rows of a table of events, or of a study: what breaks a rule is named."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ple_study.batch import Rows

Part = tuple[str, Tensor, str]
FLAT = {
    "numeric": "batch, numeric",
    "categorical": "batch, categorical",
    "states": "batch, mode, state",
    "clusters": "batch, cluster",
    "customer": "batch",
}


def check_rows(good: np.ndarray, values: np.ndarray, wanted: str) -> None:
    """Raise ValueError with what is wanted and the first row that is not good."""
    if not good.all():
        row = int(good.argmin())
        raise ValueError(f"{wanted} Found {values[row]} in row {row}.")


def check_axes(rows: Rows) -> None:
    """Raise ValueError for a tensor of other axes, and for a mask of another shape."""
    for name, tensor, axes in _parts(rows):
        if tensor.ndim != axes.count(",") + 1:
            raise ValueError(f"{name} must be [{axes}]. Found {list(tensor.shape)}.")
    for name, tensor, mask in _masked(rows):
        if mask.dtype != torch.bool or mask.shape != tensor.shape[:2]:
            raise ValueError(
                f"The mask of {name} is true or false, {list(tensor.shape[:2])}. "
                f"Found {mask.dtype}, {list(mask.shape)}."
            )
        if not tensor.is_floating_point():
            raise ValueError(f"{name} are floating point. Found {tensor.dtype}.")
    others = {f"Vector {k!r}": v for k, v in rows.batch.vectors.items()}
    if rows.batch.states is not None:
        others["The states"] = rows.batch.states
    for name, tensor in others.items():
        if not tensor.is_floating_point():
            raise ValueError(f"{name} must be floating point. Found {tensor.dtype}.")


def _parts(rows: Rows) -> Iterator[Part]:
    for name, axes in FLAT.items():
        tensor = getattr(rows.batch, name)
        if tensor is not None:
            yield f"batch.{name}", tensor, axes
    for name, vector in rows.batch.vectors.items():
        yield f"Vector {name!r}", vector, "batch, dim"
    for name, tensor, _ in _masked(rows):
        yield name, tensor, "batch, place, column"
    for name, label in rows.labels.items():
        yield f"Labels of {name!r}", label, "batch"
    for name, weight in rows.weights.items():
        yield f"Weights of {name!r}", weight, "batch"


def _masked(rows: Rows) -> Iterator[tuple[str, Tensor, Tensor]]:
    """What is real only where a mask says so."""
    for name, events in rows.batch.events.items():
        yield f"Values of sequence {name!r}", events.values, events.mask
    for name, diagrams in rows.batch.diagrams.items():
        yield f"Points of diagram {name!r}", diagrams.points, diagrams.mask
