"""What a schema is, read off training rows that are too many for a frame."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import torch

from ple_study.data.arrow import kind_of
from ple_study.data.columns import check_names, known_values, numbers
from ple_study.data.row_groups import File, Filters, RowGroups, named
from ple_study.data.scaler import Moments
from ple_study.data.tables import category_of, holds_numbers, names_of, task_of
from ple_study.schema import Feature, Schema, TaskSpec, Value

KINDS = ("text", "number", "boolean", "empty")


def scan_schema(
    train: str | Path,
    *,
    tasks: Mapping[str, str] | Sequence[TaskSpec],
    ignore: Sequence[str] = (),
    filters: Filters = (),
) -> Schema:
    """``infer_schema`` of the training rows of Parquet files, in one pass over them.

    In memory lie a piece of the rows and the distinct values of the categories. Where
    the head of a file is enough, take a frame of it, and ``infer_schema``:
    ``next(pyarrow.parquet.ParquetFile(path).iter_batches(100_000)).to_pandas()``.

    Raises ValueError as ``infer_schema`` does, and where files disagree on a column.
    """
    names, table = names_of(tasks, ignore), RowGroups(train, filters)
    check_names(table.files[0].schema.names, [*names, *ignore])
    rest = [n for n in table.files[0].schema.names if n not in {*names, *ignore}]
    held = one_schema(table.files, [*rest, *names])
    empty = held.empty_table().to_pandas(ignore_metadata=True)
    coded = [name for name in rest if not holds_numbers(empty[name])]
    for name in coded:
        if kind_of(held.field(name).type) not in KINDS:
            raise ValueError(
                f"Column {name!r} must hold texts, whole numbers or booleans. Found "
                f"type {held.field(name).type}."
            )
    asked = tasks if isinstance(tasks, Mapping) else {}
    values: dict[str, set[Value]] = {name: set() for name in coded}
    seen = {name: Labels() for name in asked}
    for span in table.spans(0, len(table)):
        for piece in table.pieces(span, [*coded, *asked]):
            for name in coded:
                own = pc.unique(piece.column(name)).to_pandas().rename(name)
                values[name].update(known_values(own))
            for name, labels in seen.items():
                labels.add(numbers(piece.column(name).to_pandas(), torch.float64))
    features = tuple(
        category_of(n, tuple(sorted(values[n])), len(table))
        if n in values
        else Feature(name=n)
        for n in rest
    )
    specs = [seen[name].task(name, kind) for name, kind in asked.items()]
    return Schema(features=features, tasks=tuple(specs if asked else tasks))  # type: ignore[arg-type]


class Labels:
    """Least, greatest, mean and deviation of a task's finite labels."""

    def __init__(self) -> None:
        self.moments, self.low, self.top = Moments(1), torch.inf, -torch.inf

    def add(self, labels: torch.Tensor) -> None:
        known = labels[labels.float().isfinite()]  # as a study holds them
        if len(known):
            self.low = min(self.low, float(known.min()))
            self.top = max(self.top, float(known.max()))
            self.moments.add(known[:, None])

    def task(self, name: str, kind: str) -> TaskSpec:
        if not self.moments.count:
            return task_of(name, kind, (0.0, 0.0), (0.0, 1.0))
        scale = float(self.moments.mean), float(self.moments.std)
        return task_of(name, kind, (self.low, self.top), scale)


def one_schema(files: Sequence[File], names: Sequence[str]) -> pa.Schema:
    """Each column's type, in the first file that has values of it.

    Raises ValueError where another file lacks it, or has values of another kind.
    """
    found = {name: pa.field(name, pa.null()) for name in names}
    first: dict[str, str] = {}
    for file in files:
        with named(file):
            check_names(file.schema.names, names)
        for name, field in found.items():
            own = file.schema.field(name)
            if kind_of(own.type) == "empty":
                continue
            if name not in first:
                found[name], first[name] = own, file.name
            elif kind_of(own.type) != kind_of(field.type):
                raise ValueError(
                    f"{file.name}: Column {name!r} must hold a {kind_of(field.type)}, "
                    f"as in {first[name]}. Found type {own.type}."
                )
    return pa.schema(list(found.values()))
