"""From the columns of a table to tensors, each dtype and value checked on the way."""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from pandas.api import types
from torch import Tensor

from ple_study.batch import Batch, Rows, concat
from ple_study.names import nearest
from ple_study.schema import Feature, Schema, TaskSpec, Value

KINDS: dict[type, str] = {str: "text", bool: "boolean", int: "number"}


def check_names(found: Iterable[object], wanted: Iterable[str]) -> None:
    """Raise ValueError for a name that is no text, found twice, or missing."""
    counts = Counter(found)
    strange = [name for name in counts if not isinstance(name, str)]
    if strange:
        raise ValueError(f"Column names must be text. Found {strange[:5]}.")
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(
            f"Column names must be unique. Found more than once: {twice[:5]}."
        )
    missing = [name for name in wanted if name not in counts]
    if missing:
        raise ValueError(
            f"The table needs the columns {missing[:5]}. Found {list(counts)[:20]}."
            f"{nearest(missing[0], counts)}"
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
    _kind(column)
    return tuple(sorted(column.dropna().unique().tolist()))


def encode(column: pd.Series, feature: Feature) -> Int[Tensor, " row"]:
    """Place of each value in the feature's vocabulary, from 1; 0 where it has none."""
    known = feature.vocabulary[0]
    if column.notna().any() and _kind(column) != KINDS[type(known)]:
        raise ValueError(
            f"Column {feature.name!r} must hold values like {known!r}. Found dtype "
            f"{column.dtype}."
        )
    place = pd.Index(feature.vocabulary).get_indexer(pd.Index(column))
    return torch.from_numpy(place.astype(np.int64) + 1)


def _kind(column: pd.Series) -> str:
    """What a column holds: ``text``, ``number`` or ``boolean`` values."""
    values = column.astype(object) if column.dtype == "category" else column
    kind = types.infer_dtype(values, skipna=True)
    if kind not in ("string", "integer", "floating", "boolean", "empty"):
        raise ValueError(
            f"Column {column.name!r} must hold values of one kind, texts, whole "
            f"numbers or booleans. Found {kind}."
        )
    return {"string": "text", "boolean": "boolean"}.get(kind, "number")


def numbers(column: pd.Series, dtype: torch.dtype) -> Float[Tensor, " row"]:
    """A column of numbers, NaN where missing. Raises ValueError for any other dtype."""
    if not types.is_numeric_dtype(column):
        raise ValueError(
            f"Column {column.name!r} must hold numbers. Found dtype {column.dtype}."
        )
    values = column.to_numpy(np.float64, na_value=np.nan)
    return torch.from_numpy(values.copy()).to(dtype)


def _first(column: pd.Series, bad: Bool[Tensor, " row"]) -> str:
    """What the first bad row holds, and which row that is."""
    row = int(bad.nonzero()[0])
    return f"{column.iloc[row]} in row {column.index[row]}"


def labels(column: pd.Series, task: TaskSpec) -> Float[Tensor, " row"]:
    """A task's labels, NaN where not observed. Raises ValueError for a wrong class."""
    values = numbers(column, torch.float32)
    top = max(task.classes, 2) - 1
    good, must = values.isfinite(), "finite, or missing"
    if task.kind != "regression":
        good = (values >= 0) & (values <= top) & (values == values.round())
        must = f"whole numbers in 0..{top}"
    bad = ~(good | values.isnan())
    if bad.any():
        raise ValueError(
            f"Labels of the {task.kind} task {task.name!r} must be {must}. Found "
            f"{_first(column, bad)}."
        )
    return values


def finite(column: pd.Series) -> Float[Tensor, " row"]:
    """A column of numbers. Raises ValueError where one is missing or infinite."""
    values = numbers(column, torch.float32)
    bad = ~values.isfinite()
    if bad.any():
        raise ValueError(
            f"Numeric column {column.name!r} must be finite. Found "
            f"{_first(column, bad)}, and {int(bad.sum())} such rows."
        )
    return values


def weight(column: pd.Series, task: str) -> Float[Tensor, " row"]:
    """A task's sample weights. Raises ValueError where one is below zero."""
    values = finite(column)
    bad = values < 0
    if bad.any():
        raise ValueError(
            f"Weights of task {task!r} must be finite and zero or more. Found "
            f"{_first(column, bad)} of column {column.name!r}."
        )
    return values


def whole(column: pd.Series) -> Int[Tensor, " row"]:
    """A column of whole numbers, such as ids."""
    if not types.is_integer_dtype(column) or column.isna().any():
        raise ValueError(
            f"Column {column.name!r} must hold a whole number in every row. Found "
            f"dtype {column.dtype}, {int(column.isna().sum())} missing."
        )
    return torch.from_numpy(column.to_numpy(np.int64).copy())


def wanted(schema: Schema, weights: Mapping[str, str], customer: str) -> list[str]:
    """The names of all columns that a study reads, each once."""
    unknown = sorted(set(weights) - set(schema.task_names))
    if unknown:
        raise ValueError(
            f"Weights must name tasks of {list(schema.task_names)}. Found {unknown}."
            f"{nearest(unknown[0], schema.task_names)}"
        )
    both = sorted({f.name for f in schema.features} & set(weights.values()))
    if both:
        raise ValueError(
            f"A column is a feature or a weight. Both: {both}. Name it in ignore."
        )
    names = [*(f.name for f in schema.features), *schema.task_names, *weights.values()]
    return list(dict.fromkeys([*names, customer] if customer else names))


def rows_of(
    frame: pd.DataFrame, schema: Schema, weights: Mapping[str, str], customer: str
) -> Rows:
    """A frame's rows as tensors, in their order."""
    check_names(frame.columns, wanted(schema, weights, customer))
    batch = batch_of(frame, schema, customer)
    known = {task.name: labels(frame[task.name], task) for task in schema.tasks}
    weighed = {task: weight(frame[c], task) for task, c in weights.items()}
    return Rows(batch, known, weighed)


def batch_of(frame: pd.DataFrame, schema: Schema, customer: str) -> Batch:
    """What a model may look at of a frame's rows."""
    numeric = [finite(frame[f.name]) for f in schema.numeric]
    coded = [encode(frame[f.name], f) for f in schema.categorical]
    return Batch(
        numeric=_columns(numeric, len(frame), torch.float32),
        categorical=_columns(coded, len(frame), torch.int64),
        customer=whole(frame[customer]) if customer else None,
    )


def _columns(columns: list[Tensor], size: int, dtype: torch.dtype) -> Tensor:
    return torch.stack(columns, dim=1) if columns else torch.zeros(size, 0, dtype=dtype)


def join(parts: Iterable[Rows]) -> Rows:
    """Rows of several frames, one after the other."""
    rows = list(parts)
    if not sum(len(part) for part in rows):
        raise ValueError("A table needs at least one row. Found none.")
    return concat(rows)
