"""The row groups of Parquet files, counted from what the files say, read in pieces."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ple_study.data.columns import check_names

READ = 1 << 15  # rows that are decoded together
PIECE = 1 << 13  # rows that are looked at together, in a processor's cache
PAGES = 1 << 16  # bytes of a column that are read together
ROW = "__row__"  # a column beside the file's: where in the file a row lies

MISSING, WHOLE = "__HIVE_DEFAULT_PARTITION__", re.compile("-?[0-9]+")

Filters = Sequence[tuple[str, str, Any]]


class File(NamedTuple):
    """A file, its name in the folder, what it says of itself, and its folders' keys."""

    path: Path
    name: str
    about: pq.FileMetaData
    schema: pa.Schema
    keys: Mapping[str, Any]


class Group(NamedTuple):
    """A row group: its file, its place there, its first row, and how many are kept."""

    file: File
    place: int
    first: int
    rows: int


Span = tuple[Group, int, int]


class RowGroups:
    """The rows of a Parquet file, or of a folder of them in order of name.

    Folders may be named ``column=value`` (hive), which gives their rows that column.
    ``filters`` keeps the rows for which all of its conditions hold, such as
    ``("day", "<", 300)``, in the words of ``pandas.read_parquet``; they are counted in
    a pass over the columns that it names.

    Raises ValueError when a file is none, or has no column that a filter names, and
    when there is no row.
    """

    def __init__(self, path: str | Path, filters: Filters = ()) -> None:
        self.filters = tuple(filters)
        self.files = files_of(Path(path))
        for file in self.files:
            with named(file):
                check_names(file.schema.names, [name for name, _, _ in self.filters])
        self.groups = [group for file in self.files for group in self._groups(file)]
        if not len(self):
            raise ValueError("A table needs at least one row. Found none.")

    def __len__(self) -> int:
        return sum(group.rows for group in self.groups)

    def spans(self, first: int, last: int) -> list[Span]:
        """Where the rows ``first`` to ``last`` lie: groups, and which of their rows."""
        found, start = [], 0
        for group in self.groups:
            low, top = max(first - start, 0), min(last - start, group.rows)
            if low < top:
                found.append((group, low, top))
            start += group.rows
        return found

    def pieces(
        self, span: Span, names: Sequence[str], texts: Sequence[str] = ()
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a span, with these columns and ``ROW``, some at a time.

        ``texts`` are of few values, and come as their places in a dictionary.
        """
        (group, low, top), start = span, 0
        for piece in self._pieces(group, names, texts):
            inside = piece.slice(max(low - start, 0), max(top - max(start, low), 0))
            start += len(piece)
            for place in range(0, len(inside), PIECE):
                yield inside.slice(place, PIECE)
            if start >= top:
                return
        raise ValueError(
            f"{group.file.name} must hold as many rows as it says. Found {start} in a "
            f"group of {group.rows}: damaged, or written anew while it was read."
        )

    def _groups(self, file: File) -> Iterator[Group]:
        first = 0
        for place in range(file.about.num_row_groups):
            size = file.about.row_group(place).num_rows
            group = Group(file, place, first, size)
            if self.filters:
                kept = sum(len(piece) for piece in self._pieces(group, []))
                group = group._replace(rows=kept)
            if group.rows:
                yield group
            first += size

    def _pieces(
        self, group: Group, names: Sequence[str], texts: Sequence[str] = ()
    ) -> Iterator[pa.RecordBatch]:
        """The group's rows that the filters keep, and beside them where each lies."""
        file, row = group.file, group.first
        asked = {name for name, _, _ in self.filters}
        own = [n for n in dict.fromkeys([*names, *asked]) if n not in file.keys]
        texts = [n for n in texts if n in own and n not in asked]
        how = {"buffer_size": PAGES, "read_dictionary": texts, "metadata": file.about}
        with readable(file.path), pq.ParquetFile(file.path, **how) as opened:
            for piece in opened.iter_batches(
                READ, row_groups=[group.place], columns=own, use_threads=False
            ):
                size = len(piece)
                held = {name: piece.column(name) for name in own}
                held |= {k: pa.repeat(v, size) for k, v in file.keys.items()}
                held[ROW] = pa.array(np.arange(row, row + size))
                row += size
                yield self._kept(pa.RecordBatch.from_pydict(held), names)

    def _kept(self, piece: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
        if self.filters:
            table = pa.Table.from_batches([piece])
            kept = table.filter(pq.filters_to_expression(list(self.filters)))
            piece = (kept.combine_chunks().to_batches() or [piece.slice(0, 0)])[0]
        return piece.select([*names, ROW])


def files_of(path: Path) -> list[File]:
    """A file, or a folder's files in order of name. Raises ValueError for none."""
    paths = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if not paths:
        raise ValueError(f"{path} must be a Parquet file or a folder of them.")
    root = path.parent if path.is_file() else path
    files = [_opened(one, root) for one in paths]
    found = [keys_of(file.name) for file in files]
    every = [item for keys in found for item in keys.items()]
    texts = {k for k, v in every if v is not None and not WHOLE.fullmatch(v)}
    return [_keyed(f, keys, texts) for f, keys in zip(files, found, strict=True)]


def keys_of(name: str) -> dict[str, str | None]:
    """What folders named ``column=value`` say of a file's rows; None for a missing."""
    parts = [part.split("=", 1) for part in Path(name).parts[:-1] if "=" in part]
    found = {unquote(key): unquote(value) for key, value in parts}
    return {k: None if v == MISSING else v for k, v in found.items()}


def _opened(path: Path, root: Path) -> File:
    with readable(path), pq.ParquetFile(path) as opened:
        about, schema = opened.metadata, opened.schema_arrow
    file = File(path, str(path.relative_to(root)), about, schema, {})
    with named(file):
        check_names(schema.names, [])
    return file


def _keyed(file: File, keys: Mapping[str, str | None], texts: set[str]) -> File:
    """The file with its folders' columns, whole numbers where all values are."""
    own = {
        key: value if key in texts or value is None else int(value)
        for key, value in keys.items()
        if key not in file.schema.names
    }
    schema = file.schema
    for key, value in own.items():
        schema = schema.append(pa.field(key, pa.scalar(value).type))
    return file._replace(schema=schema, keys=own)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise ValueError in place of what Arrow and the disk raise."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{path} must be a Parquet file or a folder of them. Found: {error}"
        ) from error


@contextmanager
def named(file: File) -> Iterator[None]:
    """Say in which file a value was found."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from None
