"""Rows that lie in Parquet files: counted from what the files say, read in pieces."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from ple_study.batch import Rows
from ple_study.data.arrow import Columns
from ple_study.data.row_groups import Filters, RowGroups, Span, named, readable
from ple_study.schema import Schema


class ParquetRows:
    """The rows of a Parquet file, or of a folder of them in order of name.

    Folders may be named ``column=value`` (hive), which gives their rows that column.
    ``weights`` and ``customer`` are those of ``from_frame``; ``filters`` keeps the rows
    for which all of its conditions hold, such as ``("day", "<", 300)``, in the words of
    ``pandas.read_parquet``. Nothing is held but what the files say of themselves.

    Raises ValueError, here, when a file is none or lacks a column, or a column's type
    cannot hold what the schema says; and, where it is read, for a value that does not
    fit: file, row in the file, and column are named.
    """

    def __init__(
        self,
        path: str | Path,
        schema: Schema,
        *,
        weights: Mapping[str, str] | None = None,
        customer: str = "",
        filters: Filters = (),
    ) -> None:
        self.schema, self.columns = schema, Columns(schema, weights or {}, customer)
        self.table = RowGroups(path, filters)
        for file in self.table.files:
            with named(file):
                self.columns.check(file.schema)

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[Rows]:
        """All rows in their order, in pieces."""
        for span in self.table.spans(0, len(self)):
            yield from self.read(span)

    def read(self, span: Span) -> Iterator[Rows]:
        """The rows of a span, in pieces."""
        names, texts = self.columns.names, self.columns.texts
        for piece in self.table.pieces(span, names, texts):
            with named(span[0].file):
                rows = self.columns.rows(piece)
            yield rows

    def fingerprint(self) -> str:
        """A hash of the files, byte for byte, and of what is read of them."""
        digest = hashlib.blake2b(digest_size=16)
        read = (dict(self.columns.weights), self.columns.customer, self.table.filters)
        digest.update(repr(read).encode())
        for file in self.table.files:
            with readable(file.path), file.path.open("rb") as opened:
                digest.update(file.name.encode())
                digest.update(hashlib.file_digest(opened, hashlib.blake2b).digest())
        return digest.hexdigest()
