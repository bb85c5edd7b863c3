"""Which rows a Parquet file or folder has, and how they are read."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ple_study.batch import concat
from ple_study.data.columns import rows_of
from ple_study.data.parquet import ParquetRows
from ple_study.data.row_groups import PIECE, READ
from ple_study.schema import Feature, Schema, TaskSpec
from tests.data.people import OPTIONS, SCHEMA, people, write


def test_folders_that_are_named_give_a_column(tmp_path: Path) -> None:
    frame = people()
    for city, part in frame.groupby("city"):
        for member, own in part.groupby("member"):
            own.drop(columns=["city"]).to_parquet(
                _made(tmp_path / f"city={city}" / f"visits={int(member)}") / "x.parquet"
            )
    table = ParquetRows(tmp_path, SCHEMA, **OPTIONS)
    rows = concat(list(table))
    order = rows.batch.customer.argsort()  # type: ignore[union-attr]
    wanted = rows_of(frame.sort_values("id"), SCHEMA, {}, "")
    assert torch.equal(rows.batch.categorical[order], wanted.batch.categorical)
    # What the file says itself is believed.
    assert torch.equal(rows.batch.numeric[order], wanted.batch.numeric)
    with pytest.raises(ValueError, match=r"city=Bonn/visits=0/x.parquet: .*\['town'\]"):
        ParquetRows(tmp_path, SCHEMA, filters=[("town", "==", "Oslo")])


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ([("day", "<", pd.Timestamp("2024-01-21"))], lambda f: f.index < 20),
        ([("city", "==", "Oslo"), ("visits", ">", 3)],
         lambda f: (f["city"] == "Oslo") & (f["visits"] > 3)),
        ([("city", "in", ["Oslo", "Bonn"])], lambda f: f["city"] != "Rome"),
    ],
)  # fmt: skip
def test_filters_keep_the_rows_for_which_they_hold(
    tmp_path: Path, filters: list[tuple[str, str, object]], kept: "object"
) -> None:
    frame = people()
    write(tmp_path, frame[:30], frame[30:])
    table = ParquetRows(tmp_path, SCHEMA, customer="id", filters=filters)
    wanted = frame[kept(frame)]["id"].tolist()  # type: ignore[operator]
    assert len(table) == len(wanted) > 0
    found = [rows.batch.customer for rows in table]
    assert torch.cat(found).tolist() == wanted  # type: ignore[arg-type]
    assert [group.rows for group in table.table.groups if not group.rows] == []
    with pytest.raises(ValueError, match="at least one row"):
        ParquetRows(tmp_path, SCHEMA, filters=[("visits", ">", 99)])


def test_pieces_that_do_not_divide_a_group_are_whole(tmp_path: Path) -> None:
    size = READ + PIECE + 5
    table = pa.table({"x": np.arange(size, dtype=np.float64), "y": np.arange(size) % 2})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=size - 3)
    schema = Schema(features=(Feature(name="x"),), tasks=(TaskSpec(name="y"),))
    rows = ParquetRows(tmp_path / "t.parquet", schema)
    sizes = [len(piece) for piece in rows]
    assert max(sizes) == PIECE
    assert torch.cat([p.batch.numeric[:, 0] for p in rows]).tolist() == list(
        range(size)
    )
    spans = rows.table.spans(READ - 2, size - 1)
    found = torch.cat(
        [p.batch.numeric[:, 0] for span in spans for p in rows.read(span)]
    )
    assert found.tolist() == list(range(READ - 2, size - 1))


def test_a_file_that_is_damaged_or_gone_is_refused(tmp_path: Path) -> None:
    write(tmp_path, people()[:30], people()[30:])
    late = tmp_path / "part-1.parquet"
    table = ParquetRows(tmp_path, SCHEMA)
    whole = late.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"id,spend\n1,2\n"):
        late.write_bytes(content)
        with pytest.raises(ValueError, match=r"part-1.parquet must be a Parquet file"):
            ParquetRows(tmp_path, SCHEMA)
    middle = bytearray(whole)
    middle[40 : len(whole) // 2] = bytes(len(whole) // 2 - 40)
    late.write_bytes(bytes(middle))
    with pytest.raises(ValueError, match=r"part-1.parquet must be a Parquet file"):
        list(table)
    late.unlink()
    with pytest.raises(ValueError, match=r"part-1.parquet must be a Parquet file"):
        list(table)
    with pytest.raises(ValueError, match="a Parquet file or a folder of them"):
        ParquetRows(tmp_path / "nowhere", SCHEMA)


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    write(tmp_path, people()[:0], people()[:0])
    with pytest.raises(ValueError, match=r"at least one row\. Found none"):
        ParquetRows(tmp_path, SCHEMA)


def test_fewer_rows_than_were_counted_are_no_whole_table(tmp_path: Path) -> None:
    table = ParquetRows(write(tmp_path, people()), SCHEMA)
    group = table.table.groups[-1]
    table.table.groups[-1] = group._replace(rows=group.rows + 1)
    with pytest.raises(
        ValueError, match=r"part-0.parquet must hold .*written anew while"
    ):
        list(table)


def test_folders_say_texts_whole_numbers_or_nothing(tmp_path: Path) -> None:
    schema = Schema(
        features=(
            Feature(name="x"),
            Feature(name="land", kind="categorical", vocabulary=("a b", "d")),
            Feature(name="day", kind="categorical", vocabulary=(1, 12)),
            Feature(name="mixed", kind="categorical", vocabulary=("2", "z")),
        ),
        tasks=(TaskSpec(name="y"),),
    )
    places = (
        "land=a%20b/day=01/mixed=2",
        "land=__HIVE_DEFAULT_PARTITION__/day=12/mixed=z",
        "land=d/day=-3/mixed=2",
    )
    for place in places:
        table = pa.table({"x": [0.5], "y": [1]})
        pq.write_table(table, _made(tmp_path / place) / "p.parquet")
    rows = concat(list(ParquetRows(tmp_path, schema)))
    # in order of name: __HIVE_..., a%20b, d
    assert rows.batch.categorical.tolist() == [[0, 2, 2], [1, 1, 1], [2, 0, 1]]
