"""Parquet: files that are damaged, and columns that hold what they must not."""

import datetime
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ple_study.batch import Rows, concat
from ple_study.data.loader import Study
from ple_study.data.parquet import ParquetRows
from ple_study.data.scan import scan_schema
from ple_study.data.tables import from_frame, from_parquet, infer_schema
from ple_study.schema import Schema
from tests.data.people import OPTIONS, SCHEMA, people
from tests.fuzz.strategies import Refused, cases, damaged_bytes, tried

pytestmark = pytest.mark.plain


def written(table: pa.Table, group: int = 7) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=group)
    return sink.getvalue()


@contextmanager
def file(content: bytes) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        path.write_bytes(content)
        yield path


WHOLE = written(pa.Table.from_pandas(people()[:20], preserve_index=False))


def good(rows: Rows) -> None:
    """Rows as a study may have them."""
    assert rows.batch.numeric.isfinite().all()
    for feature, codes in zip(
        SCHEMA.categorical, rows.batch.categorical.T, strict=True
    ):
        assert 0 <= codes.min() <= codes.max() < feature.size
    for task in SCHEMA.tasks:
        label = rows.labels[task.name]
        known = label[~label.isnan()]
        if task.kind == "regression":
            assert known.isfinite().all()
        else:
            assert set(known.tolist()) <= set(range(max(task.classes, 2)))
    assert (rows.weights["spend"] >= 0).all()


@cases(20, 1500)
@given(damaged_bytes(WHOLE))
def test_a_damaged_file_is_read_or_refused(content: bytes) -> None:
    with file(content) as path:
        table = tried(ParquetRows, path, SCHEMA, **OPTIONS)
        if isinstance(table, Refused):
            return
        rows = tried(lambda: concat(list(table)))
        if not isinstance(rows, Refused):
            assert len(rows) == len(table)
            good(rows)


DAY = datetime.date(2024, 5, 1)
WORDS = ["Bonn", "Oslo", "", "ä", None]
WHOLES = [0, 1, 1, 3, -1, 2**53, None]
REALS = [0.0, 1.0, 0.5, -1.0, 3.0, 1e300, float("nan"), float("inf"), None]
HELD: list[tuple[Any, list[Any]]] = [
    (pa.int8(), [0, 1, 3, -1, None]),
    (pa.uint16(), [0, 1, 3, None]),
    (pa.int64(), WHOLES),
    (pa.uint64(), [0, 1, 2**64 - 1, None]),
    (pa.float32(), [*REALS[:5], *REALS[6:]]),
    (pa.float64(), REALS),
    (pa.float16(), [0.0, 1.0, None]),
    (pa.bool_(), [True, False, None]),
    (pa.string(), WORDS),
    (pa.large_string(), WORDS),
    (pa.dictionary(pa.int8(), pa.string()), WORDS),
    (pa.dictionary(pa.int32(), pa.int64()), [0, 1, 3, None]),
    (pa.null(), [None]),
    (pa.binary(), [b"Bonn", b"", None]),
    (pa.date32(), [DAY, None]),
    (pa.timestamp("us", tz="UTC"), [datetime.datetime(2024, 5, 1), None]),
    (pa.duration("s"), [datetime.timedelta(1), None]),
    (pa.decimal128(5, 2), [1, 0, None]),
    (pa.list_(pa.int64()), [[1], [], None]),
    (pa.struct([("a", pa.int64())]), [{"a": 1}, None]),
    (pa.map_(pa.string(), pa.int64()), [[("a", 1)], None]),
]


@st.composite
def arrays(draw: st.DrawFn, size: int) -> pa.Array:
    """A column of any type."""
    kind, values = draw(st.sampled_from(HELD))
    found = draw(st.lists(st.sampled_from(values), min_size=size, max_size=size))
    found[0] = values[0]  # a column without a value is judged by its type alone
    return pa.array(found, type=kind)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A table of which a column or two are of another type, missing or elsewhere."""
    frame = people()[: draw(st.integers(3, 9))].drop(columns="day")
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for name in draw(
        st.lists(st.sampled_from(table.column_names), max_size=2, unique=True)
    ):
        if table.column_names.count(name) == 1:
            place = table.column_names.index(name)
            how = draw(st.sampled_from(["other"] * 8 + ["none", "moved", "twice"]))
            if how == "none":
                table = table.drop_columns([name])
            elif how == "moved":
                table = table.append_column("moved", table.column(place))
                table = table.set_column(place, name, table.column(0))
            elif how == "twice":
                table = table.append_column(name, table.column(place))
            else:
                table = table.set_column(place, name, draw(arrays(len(table))))
    return table.replace_schema_metadata(None)  # else pandas goes by what was


def frame_of(path: Path) -> pd.DataFrame:
    with pq.ParquetFile(path) as opened:
        return opened.read().to_pandas()


def same(first: Rows, second: Rows) -> None:
    one, two = first.batch, second.batch
    assert torch.equal(one.numeric, two.numeric)
    assert torch.equal(one.categorical, two.categorical)
    assert torch.equal(one.customer, two.customer)  # type: ignore[arg-type]
    for mine, theirs in (
        (first.labels, second.labels),
        (first.weights, second.weights),
    ):
        assert set(mine) == set(theirs)
        for name, values in mine.items():
            torch.testing.assert_close(
                values, theirs[name], rtol=0, atol=0, equal_nan=True
            )


@cases(30, 2000)
@given(tables())
def test_a_file_is_read_as_its_frame_is(table: pa.Table) -> None:
    with file(written(table)) as path:
        found = tried(from_parquet, path, SCHEMA, **OPTIONS)
        wanted = tried(lambda: from_frame(frame_of(path), SCHEMA, **OPTIONS))
        assert isinstance(found, Refused) == isinstance(wanted, Refused), (
            found.error if isinstance(found, Refused) else wanted.error  # type: ignore[union-attr]
        )
        if isinstance(found, Study) and isinstance(wanted, Study):
            same(found.rows, wanted.rows)
            good(found.rows)


TASKS = {"bought": "binary", "stage": "multiclass", "spend": "regression"}


@cases(15, 1000)
@given(tables())
def test_a_files_schema_is_its_frames(table: pa.Table) -> None:
    with file(written(table)) as path:
        ignore = ["id", "weight"]
        found = tried(scan_schema, path, tasks=TASKS, ignore=ignore)

        def infer() -> Schema:
            frame = frame_of(path)
            train = torch.arange(len(frame))
            return infer_schema(frame, tasks=TASKS, train=train, ignore=ignore)

        wanted = tried(infer)
        assert isinstance(found, Refused) == isinstance(wanted, Refused), (
            found.error if isinstance(found, Refused) else wanted.error  # type: ignore[union-attr]
        )
        if isinstance(found, Schema) and isinstance(wanted, Schema):
            assert found.features == wanted.features
            for mine, theirs in zip(found.tasks, wanted.tasks, strict=True):
                assert (mine.name, mine.classes) == (theirs.name, theirs.classes)
                assert mine.scale == pytest.approx(theirs.scale, rel=1e-5)
