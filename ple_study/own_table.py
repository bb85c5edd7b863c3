"""The study of a Parquet file of one's own, as the tables of a TOML file tell it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pandas.api import types
from torch import Tensor

from ple_study.data.checks import check_split
from ple_study.data.columns import check_names
from ple_study.data.loader import Study, random_split
from ple_study.data.tables import from_frame, infer_schema, time_split
from ple_study.names import filled
from ple_study.schema import TaskSpec

Table = Mapping[str, Any]
DATA: Table = {
    "parquet": str,
    "ignore": tuple[str, ...],
    "weights": Mapping[str, str],
    "seed": int,
}
SPLIT: Table = {"column": str, "val": Any, "test": Any}


def own_table(path: Path, data: Table, tasks: Table, split: Table) -> Study:
    """The rows of the file that ``data`` names, beside ``path``.

    They are split by time where ``split`` says how, else at random by ``data.seed``.
    Raises ValueError when there is no such file, and where its columns do not fit.
    """
    try:
        frame = pd.read_parquet(path.parent / data["parquet"])
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ValueError(f"{path} must name a Parquet file. Found: {error}.") from error
    if split:
        parts = by_time(frame, split)
    else:
        parts = random_split(len(frame), seed=data.get("seed", 0))
    weights = data.get("weights", {})
    aside = [*weights.values(), *([split["column"]] if split else [])]
    given = {k: v if isinstance(v, dict) else {"kind": v} for k, v in tasks.items()}
    schema = infer_schema(
        frame,
        tasks={name: part.get("kind", "binary") for name, part in given.items()},
        train=parts["train"],
        ignore=list(dict.fromkeys([*data.get("ignore", ()), *aside])),
    )
    own = tuple(_filled_in(task, given[task.name]) for task in schema.tasks)
    schema = replace(schema, tasks=own)
    return from_frame(frame, schema, split=parts, weights=weights)


def _filled_in(task: TaskSpec, given: Table) -> TaskSpec:
    """What was inferred of a task, and over it what its table says."""
    return filled(TaskSpec, {**vars(task), **given})


def by_time(frame: pd.DataFrame, split: Table) -> dict[str, Tensor]:
    """Training rows before ``split.val``, validation before ``split.test``, then test.

    ``split.column`` holds dates (or their ISO 8601 text) or numbers, such as a month's.
    Raises ValueError when it does not, when validation does not begin before test, and
    when a part has no row.
    """
    check_names(frame.columns, [split["column"]])
    times = frame[split["column"]]
    if not types.is_numeric_dtype(times):
        times = _dates(times)
    val, test = (_moment(f"split.{k}", split[k], times) for k in ("val", "test"))
    parts = time_split(times, val=val, test=test, cutoff=times.max())
    check_split(parts, len(frame))
    return parts


def _dates(column: pd.Series) -> pd.Series:
    try:
        return pd.to_datetime(column, format="ISO8601")
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"Time column {column.name!r} must hold dates or numbers. Found: {error}."
        ) from error


def _moment(name: str, value: Any, times: pd.Series) -> Any:
    """The value as the column holds its times."""
    number = types.is_numeric_dtype(times)
    wrong = ValueError(
        f"{name} must be a {'number' if number else 'date'}, as column {times.name!r} "
        f"holds them. Found {value!r}."
    )
    if not isinstance(value, int | float if number else str | date):
        raise wrong
    if number:
        return value
    try:
        moment = pd.Timestamp(value)
    except ValueError as error:
        raise wrong from error
    if moment.tz is not None and times.dt.tz is None:
        raise wrong
    return moment if moment.tz is not None else moment.tz_localize(times.dt.tz)
