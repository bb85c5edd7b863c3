"""From Arrow's columns to tensors: the plain cases at speed, the rest by way of pandas.

What a value must be is said once, in ``columns``. Here whole columns are looked at
together; where one is not plain, or holds what it must not, ``rows_of`` has the word.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pyarrow import types
from torch import Tensor

from ple_study.batch import Batch, Rows
from ple_study.data.columns import KINDS, check_names, rows_of, wanted
from ple_study.data.row_groups import PIECE, ROW
from ple_study.schema import Schema, TaskSpec

TEXTS = (pa.string(), pa.large_string(), pa.string_view())


@dataclass(frozen=True)
class Columns:
    """Which columns of a table, ``names``, become which tensors.

    Raises ValueError for weights of no task, and of a feature.
    """

    schema: Schema
    weights: Mapping[str, str]
    customer: str
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        names = wanted(self.schema, self.weights, self.customer)
        object.__setattr__(self, "names", names)

    @cached_property
    def texts(self) -> list[str]:
        """Categories of few texts, which are read as places in a dictionary."""
        known = {f.name: f.vocabulary for f in self.schema.categorical}
        few = {k: v for k, v in known.items() if len(v) <= PIECE}
        return [name for name, values in few.items() if isinstance(values[0], str)]

    def check(self, found: pa.Schema) -> None:
        """Raise ValueError for a column that is missing or cannot hold what it must."""
        check_names(found.names, self.names)
        for feature in self.schema.categorical:
            held, known = found.field(feature.name).type, feature.vocabulary[0]
            if kind_of(held) not in ("empty", KINDS[type(known)]):
                raise ValueError(
                    f"Column {feature.name!r} must hold values like {known!r}. Found "
                    f"type {held}."
                )
        fields = [found.field(name) for name in self.names]
        none = pa.schema(fields).empty_table().to_pandas(ignore_metadata=True)
        rows_of(none, self.schema, self.weights, self.customer)

    def rows(self, piece: pa.RecordBatch) -> Rows:
        """A piece's rows as tensors, in their order. Raises ValueError as ``rows_of``.

        The column ``ROW`` says where in its file each row lies.
        """
        rows = self._plain(piece)
        if rows is None:
            frame = piece.to_pandas()
            frame.index = frame.pop(ROW)
            return rows_of(frame, self.schema, self.weights, self.customer)
        return rows

    @cached_property
    def _vocabularies(self) -> list[pa.Array]:
        return [pa.array(f.vocabulary) for f in self.schema.categorical]

    def _plain(self, piece: pa.RecordBatch) -> Rows | None:
        schema = self.schema
        numeric = numbers(piece, [f.name for f in schema.numeric])
        labels = numbers(piece, schema.task_names)
        weights = numbers(piece, self.weights.values())
        if numeric is None or labels is None or weights is None:
            return None
        # Doubles, so that a sum overflows only where a value is infinite.
        sums = torch.stack([t.sum(dtype=torch.float64) for t in (numeric, weights)])
        good = sums.isfinite().all() and (weights >= 0).all()
        if not good or not all(map(allowed, schema.tasks, labels)):
            return None
        columns = [piece.column(f.name) for f in schema.categorical]
        codes = [*map(encode, columns, self._vocabularies)]
        coded = [code for code in codes if code is not None]
        who = whole(piece.column(self.customer)) if self.customer else None
        if len(coded) < len(codes) or (self.customer and who is None):
            return None
        none = torch.zeros(len(piece), 0, dtype=torch.int64)
        batch = Batch(
            numeric=numeric.T.contiguous(),
            categorical=torch.stack(coded, 1) if coded else none,
            customer=who,
        )
        known = dict(zip(schema.task_names, labels, strict=True))
        return Rows(batch, known, dict(zip(self.weights, weights, strict=True)))


def kind_of(held: pa.DataType) -> str:
    """What a column of this type holds: text, number, boolean, empty, or its name."""
    if types.is_dictionary(held):
        return kind_of(held.value_type)
    if held in TEXTS:
        return "text"
    if types.is_integer(held) or types.is_floating(held):
        return "number"
    return {pa.bool_(): "boolean", pa.null(): "empty"}.get(held, str(held))


def numbers(piece: pa.RecordBatch, names: Iterable[str]) -> Tensor | None:
    """Columns of numbers, one after the other, NaN where missing; None for others."""
    columns = [piece.column(name) for name in names]
    found = np.empty((len(columns), len(piece)), np.float32)
    with np.errstate(over="ignore"):  # what is too large for a float is infinite
        for place, column in enumerate(columns):
            integer = types.is_integer(column.type)
            if not integer and column.type not in (pa.float32(), pa.float64()):
                return None
            values = column.to_numpy(zero_copy_only=False)
            found[place] = values.astype(np.float64) if integer else values
    return torch.from_numpy(found)


def allowed(task: TaskSpec, label: Tensor) -> bool:
    """Whether labels are missing, or finite, or the number of a class."""
    if task.kind == "regression":
        return not bool(label.isinf().any())
    top = max(task.classes, 2) - 1
    good = (label >= 0) & (label <= top) & (label == label.round())
    return bool((good | label.isnan()).all())


def encode(column: pa.Array, vocabulary: pa.Array) -> Tensor | None:
    """Places in the vocabulary, from 1, as ``columns.encode``; None where not plain."""
    if types.is_dictionary(column.type):
        if len(column.dictionary) > len(column):
            return encode(column.dictionary_decode(), vocabulary)
        places = encode(column.dictionary, vocabulary)
        if places is None:
            return None
        known = torch.cat([places, torch.zeros(1, dtype=torch.int64)])  # a missing one
        index = column.indices.fill_null(len(places)).to_numpy()
        return known[torch.from_numpy(index.astype(np.int64))]
    if types.is_signed_integer(column.type) or column.type in TEXTS:
        column = column.cast(pa.string() if column.type in TEXTS else pa.int64())
    if column.type != vocabulary.type:
        return None
    place = pc.index_in(column, value_set=vocabulary).fill_null(-1)
    return torch.from_numpy(place.to_numpy().astype(np.int64) + 1)


def whole(column: pa.Array) -> Tensor | None:
    """A column of whole numbers; None where it is not plain."""
    if not types.is_signed_integer(column.type) or column.null_count:
        return None
    return torch.from_numpy(column.to_numpy().astype(np.int64))
