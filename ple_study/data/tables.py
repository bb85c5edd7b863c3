"""Any table of one's own, a data frame or Parquet, and a schema: a study.

    split = random_split(len(frame), seed=0)
    schema = infer_schema(frame, tasks={"bought": "binary"}, train=split["train"])
    study = from_frame(frame, schema, split=split)

A label column has the name of its task; a missing label means not observed. A value
that a vocabulary does not know, or a missing one, has code 0. Nothing else is filled,
and no row is dropped: what does not fit the schema raises ValueError.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from pandas.api import types
from torch import Tensor

from ple_study.batch import Batch
from ple_study.data.checks import SPLITS
from ple_study.data.columns import (
    batch_of,
    check_names,
    check_past,
    join,
    known_values,
    numbers,
    rows_of,
)
from ple_study.data.loader import Study, random_split
from ple_study.data.parquet import ParquetRows
from ple_study.schema import Feature, Schema, TaskSpec, Value

MANY = 100  # distinct texts that no table is too short for

Split = Mapping[str, Int[Tensor, " row"]]


def infer_schema(
    frame: pd.DataFrame,
    *,
    tasks: Mapping[str, str] | Sequence[TaskSpec],
    train: Int[Tensor, " row"],
    ignore: Sequence[str] = (),
) -> Schema:
    """A schema for a frame: numbers are numeric columns, all else is categorical.

    ``tasks`` maps a label column to its kind, or lists the specs; ``ignore`` names
    columns that are neither feature nor label, such as an id or a date. Vocabularies
    come from the ``train`` rows, and so, where only a kind is given, do the number of
    classes and the scale of a regression.
    """
    names = names_of(tasks, ignore)
    if not len(frame):
        raise ValueError("A table needs at least one row. Found none.")
    check_names(frame.columns, [*names, *ignore])
    seen = frame.iloc[train.numpy()]
    if isinstance(tasks, Mapping):
        specs = [_infer_task(seen[name], kind) for name, kind in tasks.items()]
    else:
        specs = list(tasks)
    rest = [name for name in frame.columns if name not in {*names, *ignore}]
    found = tuple(_infer_feature(seen[name]) for name in rest)
    return Schema(features=found, tasks=tuple(specs))


def names_of(
    tasks: Mapping[str, str] | Sequence[TaskSpec], ignore: Sequence[str]
) -> list[str]:
    """The tasks' names. Raises ValueError where ``ignore`` is a text."""
    if isinstance(ignore, str):
        raise ValueError(f"ignore is a list of names. Found the text {ignore!r}.")
    return list(tasks) if isinstance(tasks, Mapping) else [t.name for t in tasks]


def _infer_task(seen: pd.Series, kind: str) -> TaskSpec:
    known = numbers(seen, torch.float64)
    # As a study holds them, in float32; numpy's sums depend on no number of threads.
    values = known[known.float().isfinite()].numpy()
    if not len(values):
        return task_of(str(seen.name), kind, (0.0, 0.0), (0.0, 1.0))
    ends = values.min(), values.max()
    return task_of(str(seen.name), kind, ends, (values.mean(), values.std()))


def task_of(
    name: str, kind: str, ends: tuple[float, float], scale: tuple[float, float]
) -> TaskSpec:
    """A task of this kind: classes from least and greatest label, scale from moments.

    Raises ValueError for classes that are not numbered from 0.
    """
    found: dict[str, Any] = {}
    low, top = map(int, ends)
    if kind in ("multiclass", "contrastive"):
        if low > 0:
            raise ValueError(
                f"Classes of {name!r} are numbered from 0. Found {low}..{top}."
            )
        found["classes"] = max(top + 1, 2)
    if kind == "regression" and ends[0] < ends[1]:
        found["scale"] = tuple(float(f"{value:.6g}") for value in scale)
    return TaskSpec(name=name, kind=kind, **found)  # type: ignore[arg-type]


def _infer_feature(seen: pd.Series) -> Feature:
    name = str(seen.name)
    if holds_numbers(seen):
        return Feature(name=name)
    return category_of(name, known_values(seen), len(seen))


def holds_numbers(column: pd.Series) -> bool:
    """Whether a column is numeric, not categorical. Raises ValueError for dates."""
    if types.is_datetime64_any_dtype(column):
        raise ValueError(
            f"A column must hold numbers or categories. Found dates in {column.name!r}:"
            " make them numbers of days, or name the column in ignore."
        )
    return bool(types.is_numeric_dtype(column) and not types.is_bool_dtype(column))


def category_of(name: str, values: tuple[Value, ...], rows: int) -> Feature:
    """A categorical column of these values. Raises ValueError for none or too many."""
    if not values:
        raise ValueError(f"Column {name!r} needs a value in training. Found none.")
    if len(values) > max(MANY, rows / 2):
        raise ValueError(
            f"A category recurs. Found {len(values)} values of {name!r} in {rows} "
            "rows: an id, or numbers written as text? Name it in ignore."
        )
    return Feature(name=name, kind="categorical", vocabulary=values)


def batch_from_frame(
    frame: pd.DataFrame, schema: Schema, *, customer: str = ""
) -> Batch:
    """New rows as a model reads them: features alone, one row or more, no label.

    What ``Fitted.predict`` takes; the schema is the model's own, ``fitted.schema``.
    """
    names = [feature.name for feature in schema.features]
    check_names(frame.columns, [*names, customer] if customer else names)
    if not len(frame):
        raise ValueError("A table needs at least one row. Found none.")
    return batch_of(frame, schema, customer)


def time_split(
    column: pd.Series, *, val: object, test: object, cutoff: object
) -> dict[str, Int[Tensor, " row"]]:
    """Training rows before ``val``, validation before ``test``, test up to ``cutoff``.

    Raises ValueError when a row lies after the cut-off.
    """
    check_past(column, cutoff)
    if not val < test:  # type: ignore[operator]
        raise ValueError(f"Validation begins before test. Found {val} and {test}.")
    part = (column >= val).to_numpy(np.int64) + (column >= test).to_numpy(np.int64)
    return {
        name: torch.from_numpy(np.flatnonzero(part == place))
        for place, name in enumerate(SPLITS)
    }


def from_frame(
    frame: pd.DataFrame,
    schema: Schema,
    *,
    split: Split | None = None,
    weights: Mapping[str, str] | None = None,
    customer: str = "",
    seed: int = 0,
) -> Study:
    """A study of a frame's rows, in their order.

    ``split`` names the rows of each part (60, 20, 20 % at random by ``seed`` without
    one); ``weights`` maps a task to the column of its sample weights; ``customer``
    names a column of whole numbers that becomes ``Batch.customer``.
    """
    rows = join([rows_of(frame, schema, weights or {}, customer)])
    return Study(schema, rows, split or random_split(len(rows), seed=seed))


def from_parquet(
    path: str | Path,
    schema: Schema,
    *,
    split: Split | None = None,
    weights: Mapping[str, str] | None = None,
    customer: str = "",
    seed: int = 0,
) -> Study:
    """A study of a Parquet file, or of a folder of them in order of name.

    As ``from_frame``, but only the columns that are needed are read, piece by piece, so
    that the table as a whole never lies in memory: only its tensors do. Of those that
    are too many, ``stream_parquet`` makes a study.
    """
    pieces = ParquetRows(path, schema, weights=weights, customer=customer)
    rows = join(pieces)
    return Study(schema, rows, split or random_split(len(rows), seed=seed))
