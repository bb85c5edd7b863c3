"""A study whose training rows stream from Parquet files: ``fit`` takes it as any other.

    study = stream_parquet("train/", schema, val="val/", test="test/")
    fitted = fit(study, spec)

Validation and test rows lie in memory; of the training rows, a few buffers do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ple_study.batch import Batch, Rows
from ple_study.data.checks import (
    check_batch,
    check_labels,
    check_lengths,
    check_real,
    check_shapes,
    check_weights,
)
from ple_study.data.columns import join
from ple_study.data.loader import Batches, leaves_one
from ple_study.data.parquet import ParquetRows
from ple_study.data.row_groups import Filters
from ple_study.data.scaler import Scaler, hash_of
from ple_study.data.stream import BUFFER, Stream
from ple_study.schema import Schema


@dataclass(frozen=True, kw_only=True)
class StreamedStudy:
    """Training rows on disk, validation and test rows in memory, of one schema.

    ``buffer`` is how many training rows are shuffled together (``Stream``).
    Raises ValueError when the rows in memory do not fit the schema.
    """

    train: ParquetRows
    val: Rows
    test: Rows | None = None
    buffer: int = BUFFER

    def __post_init__(self) -> None:
        if self.buffer < 1:
            raise ValueError(f"buffer must be 1 or more. Found {self.buffer}.")
        for rows in (self.val, self.test):
            if rows is not None:
                check_rows(self.schema, rows)

    @property
    def schema(self) -> Schema:
        return self.train.schema

    def part(self, name: str) -> Rows:
        """The rows of ``val`` or ``test``; those of ``train`` are never held."""
        parts = {"val": self.val, "test": self.test}
        rows = parts.get(name)
        if rows is None:
            held = [k for k, v in parts.items() if v is not None]
            raise ValueError(f"The parts in memory are {held}. Found {name!r}.")
        return rows

    def scaler(self) -> Scaler:
        """Mean and deviation of the training rows, in one pass over their files.

        Every value is looked at on the way. Raises ValueError for one that does not
        fit, a task without a label, and weights that are zero throughout.
        """
        labels = {name: torch.full((1,), torch.nan) for name in self.schema.task_names}
        weights = {name: torch.zeros(1) for name in self.train.columns.weights}

        def batches() -> Iterator[Batch]:
            for rows in self.train:
                for name, label in rows.labels.items():
                    known = label[~label.isnan()]
                    labels[name] = known[:1] if len(known) else labels[name]
                for name, weight in rows.weights.items():
                    weights[name] = torch.maximum(weights[name], weight.amax())
                yield rows.batch

        scaler = Scaler.merged(self.schema, batches())
        check_weights(weights)
        for task in self.schema.tasks:
            check_labels(task, labels, torch.arange(1))
        return scaler

    def loader(
        self,
        size: int,
        *,
        seed: int,
        scaler: Scaler,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
    ) -> Batches:
        """The training rows, scaled and shuffled; one alone at the end is left out.

        Of several ranks, the rows of this one (``Stream``).
        """
        alone = leaves_one(len(self.train) // world, size)
        stream = Stream(
            self.train,
            size,
            drop_last=alone,
            buffer=self.buffer,
            seed=seed,
            rank=rank,
            world=world,
        )
        return Ready(stream, scaler, device)

    def fingerprint(self) -> str:
        """A hash of the training files and of how they are read, and of the rows."""
        own = [hash_of(self.val, {})] + ([hash_of(self.test, {})] if self.test else [])
        return "-".join([self.train.fingerprint(), str(self.buffer), *own])


def stream_parquet(
    train: str | Path,
    schema: Schema,
    *,
    val: str | Path,
    test: str | Path | None = None,
    weights: Mapping[str, str] | None = None,
    customer: str = "",
    filters: Filters = (),
    buffer: int = BUFFER,
) -> StreamedStudy:
    """A study of Parquet files: ``train`` streams, ``val`` and ``test`` are read.

    Each is a file or a folder, as ``ParquetRows`` takes them; ``weights``, ``customer``
    and ``filters`` hold for all. Raises ValueError as ``ParquetRows`` does.
    """

    def rows_at(path: str | Path) -> ParquetRows:
        return ParquetRows(
            path, schema, weights=weights, customer=customer, filters=filters
        )

    rows = rows_at(train)
    known = {k: join(rows_at(v)) for k, v in (("val", val), ("test", test)) if v}
    return StreamedStudy(train=rows, buffer=buffer, **known)


def check_rows(schema: Schema, rows: Rows) -> None:
    """Raise ValueError where rows do not fit their schema."""
    check_lengths(schema, rows)
    check_weights(rows.weights)
    check_batch(schema, rows.batch)
    check_shapes(schema, rows.batch)
    check_real(rows.batch)
    for task in schema.tasks:
        check_labels(task, rows.labels)


class Ready:
    """A stream's batches, scaled and on a device."""

    def __init__(self, stream: Batches, scaler: Scaler, device: torch.device) -> None:
        self.stream, self.scaler, self.device = stream, scaler, device
        self.generator = stream.generator

    def __len__(self) -> int:
        return len(self.stream)

    def __iter__(self) -> Iterator[Rows]:
        for rows in self.stream:
            yield self.scaler.ready(rows, self.device)
