"""One column of a table at a time: its dtype checked, its values made a tensor."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from pandas.api import types
from torch import Tensor

from ple_study.schema import Feature, TaskSpec, Value


def check_names(found: Iterable[str], wanted: Iterable[str]) -> None:
    """Raise ValueError for a name that is found twice, or wanted and missing."""
    counts = Counter(found)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(
            f"Column names must be unique. Found more than once: {twice[:5]}."
        )
    missing = [name for name in wanted if name not in counts]
    if missing:
        raise ValueError(
            f"The table needs the columns {missing[:5]}. Found {list(counts)[:20]}."
        )


def check_past(column: pd.Series, cutoff: object) -> None:
    """Raise ValueError when a time lies after the cut-off, or is missing."""
    if column.isna().any():
        raise ValueError(
            f"Time column {column.name!r} must have a time in every row. Found none in "
            f"{int(column.isna().sum())} rows."
        )
    late = int((column > cutoff).sum())
    if late:
        raise ValueError(
            f"Time column {column.name!r} must not pass the cut-off {cutoff}. Found "
            f"{column.max()}, and {late} rows after it."
        )


def known_values(column: pd.Series) -> tuple[Value, ...]:
    """The distinct values of a column, in order, without the missing one."""
    return tuple(sorted(column.dropna().unique().tolist()))


def encode(column: pd.Series, feature: Feature) -> Int[Tensor, " row"]:
    """Place of each value in the feature's vocabulary, from 1; 0 where it has none."""
    texts = isinstance(feature.vocabulary[0], str)
    if texts == types.is_numeric_dtype(column) and column.notna().any():
        raise ValueError(
            f"Column {feature.name!r} must hold values like {feature.vocabulary[0]!r}. "
            f"Found dtype {column.dtype}."
        )
    place = pd.Index(feature.vocabulary).get_indexer(pd.Index(column))
    return torch.from_numpy(place.astype(np.int64) + 1)


def numbers(column: pd.Series, dtype: torch.dtype) -> Float[Tensor, " row"]:
    """A column of numbers, NaN where missing. Raises ValueError for any other dtype."""
    if not types.is_numeric_dtype(column):
        raise ValueError(
            f"Column {column.name!r} must hold numbers. Found dtype {column.dtype}."
        )
    values = column.to_numpy(np.float64, na_value=np.nan)
    return torch.from_numpy(values.copy()).to(dtype)


def labels(column: pd.Series, task: TaskSpec) -> Float[Tensor, " row"]:
    """A task's labels, NaN where not observed. Raises ValueError for a wrong class."""
    values = numbers(column, torch.float32)
    if task.kind == "regression":
        return values
    top = max(task.classes, 2) - 1
    good = (
        (values >= 0) & (values <= top) & (values == values.round())
    ) | values.isnan()
    if not good.all():
        row = int((~good).nonzero()[0])
        raise ValueError(
            f"Labels of the {task.kind} task {task.name!r} must be whole numbers in "
            f"0..{top}. Found {column.iloc[row]} in row {column.index[row]}."
        )
    return values


def features(column: pd.Series, feature: Feature) -> Float[Tensor, " row"]:
    """A numeric column. Raises ValueError where it is missing or infinite."""
    values = numbers(column, torch.float32)
    bad = (~values.isfinite()).nonzero()
    if len(bad):
        raise ValueError(
            f"Numeric column {feature.name!r} must be finite. Found "
            f"{column.iloc[int(bad[0])]} in row {column.index[int(bad[0])]}, and "
            f"{len(bad)} such rows."
        )
    return values
