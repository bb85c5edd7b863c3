"""What a Parquet table must be, said at its door, and what is found on the way."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ple_study.batch import concat
from ple_study.data.columns import rows_of
from ple_study.data.parquet import ParquetRows
from ple_study.data.tables import from_parquet
from ple_study.schema import Feature, Schema, TaskSpec
from tests.data.people import OPTIONS, SCHEMA, SIZE, people, write


def test_rows_are_those_of_the_frame_in_its_order(tmp_path: Path) -> None:
    frame = people()
    frame.loc[[4, 30], "stage"] = np.nan
    frame.loc[7, "city"] = None
    write(tmp_path, frame[:20], frame[:0], frame[20:])
    table = ParquetRows(tmp_path, SCHEMA, **OPTIONS)
    rows, wanted = (
        concat(list(table)),
        rows_of(frame, SCHEMA, {"spend": "weight"}, "id"),
    )
    assert len(table) == len(rows) == SIZE
    assert torch.equal(rows.batch.numeric, wanted.batch.numeric)
    assert torch.equal(rows.batch.categorical, wanted.batch.categorical)
    assert torch.equal(rows.batch.customer, wanted.batch.customer)  # type: ignore[arg-type]
    for name, label in wanted.labels.items():
        torch.testing.assert_close(
            rows.labels[name], label, equal_nan=True, rtol=0, atol=0
        )
    assert torch.equal(rows.weights["spend"], wanted.weights["spend"])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("income", np.inf, r"'income' must be finite. Found inf in row 13"),
        ("income", np.nan, r"'income' must be finite. Found nan in row 13"),
        ("stage", 4, r"'stage' must be whole numbers in 0..3. Found 4.* in row 13"),
        ("bought", -1, r"'bought' must be whole numbers in 0..1. Found -1.* in row 13"),
        ("bought", 0.5, r"'bought' must be whole .*Found 0.5 in row 13"),
        ("spend", np.inf, r"'spend' must be finite, or missing. Found inf in row 13"),
        ("weight", -0.5, r"'spend' must be finite and zero or more. Found -0.5 in row "
         r"13 of column 'weight'"),
        ("weight", np.nan, r"'weight' must be finite. Found nan in row 13"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("filters", [[], [("id", ">", 0)], [("income", "!=", 9.0)]])
def test_a_bad_value_is_named_by_file_row_and_column(
    tmp_path: Path,
    column: str,
    value: float,
    message: str,
    filters: list[tuple[str, str, object]],
) -> None:
    frame = people().astype({"stage": float})
    late = frame[30:].copy()
    late.iloc[13, late.columns.get_loc(column)] = value  # type: ignore[index]
    # 14 rows of the file are kept; one row before the bad one is not
    late.iloc[12, late.columns.get_loc("income")] = 9.0  # type: ignore[index]
    write(tmp_path, frame[:30], late, group=6)
    table = ParquetRows(tmp_path, SCHEMA, **OPTIONS, filters=filters)
    if (
        column == "income"
        and np.isnan(value)
        and filters[:1] == [("income", "!=", 9.0)]
    ):
        return  # a comparison with nothing is no match in Arrow
    with pytest.raises(ValueError, match=f"part-1.parquet: .*{message}"):
        list(table)


def test_a_missing_id_is_named(tmp_path: Path) -> None:
    ids = pa.array([1, None, 3])
    table = pa.table({"x": [0.0, 1.0, 2.0], "y": [0, 1, 0], "id": ids})
    pq.write_table(table, tmp_path / "t.parquet")
    schema = Schema(features=(Feature(name="x"),), tasks=(TaskSpec(name="y"),))
    found = ParquetRows(tmp_path / "t.parquet", schema, customer="id")
    with pytest.raises(
        ValueError, match=r"t.parquet: .*'id' must hold a whole.*1 miss"
    ):
        list(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="spend"), r"needs the columns \['spend'\]"),
        (lambda f: f.drop(columns="weight"), r"needs the columns \['weight'\]"),
        (lambda f: f.assign(income="high"), r"'income' must hold numbers"),
        (lambda f: f.assign(spend=f["day"]), r"'spend' must hold numbers"),
        (lambda f: f.assign(weight="1"), r"'weight' must hold numbers"),
        (lambda f: f.assign(id=0.5), r"'id' must hold a whole number"),
        (lambda f: f.assign(city=f["visits"]),
         r"'city' must hold values like 'Bonn'. Found type int64"),
        (lambda f: f.assign(city=f["day"]), r"'city' must hold .*Found type timestamp"),
        (lambda f: f.assign(member=f["city"]), r"'member' must hold values like False"),
    ],
)  # fmt: skip
def test_the_door_looks_at_every_file_before_a_row_is_read(
    tmp_path: Path, change: "object", message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = people()
    write(tmp_path, frame[:30], change(frame[30:]))  # type: ignore[operator]
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", None)
    with pytest.raises(ValueError, match=f"part-1.parquet: .*{message}"):
        ParquetRows(tmp_path, SCHEMA, **OPTIONS)


def test_files_may_differ_in_how_they_hold_a_column(tmp_path: Path) -> None:
    frame = people()
    narrow = frame[20:].astype({"visits": "int8", "income": "float32", "id": "int64"})
    coded = narrow.astype({"city": "category", "stage": "int16"}).assign(bought=None)
    coded["bought"] = coded["bought"].astype("float64")
    write(tmp_path, frame[:20], coded)
    rows = concat(list(ParquetRows(tmp_path, SCHEMA)))
    wanted = rows_of(frame, SCHEMA, {}, "")
    assert torch.equal(rows.batch.categorical, wanted.batch.categorical)
    assert torch.equal(rows.batch.numeric, wanted.batch.numeric)
    assert torch.equal(rows.labels["stage"], wanted.labels["stage"])
    assert rows.labels["bought"].isnan().tolist() == [False] * 20 + [True] * 30


def test_names_are_checked_before_files_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must name tasks of .*Found \['sold'\]"):
        ParquetRows(tmp_path, SCHEMA, weights={"sold": "weight"})


def test_a_files_own_bytes_and_how_it_is_read_are_its_fingerprint(
    tmp_path: Path,
) -> None:
    frame = people()
    write(tmp_path / "a", frame)
    write(tmp_path / "b", frame.assign(spend=-frame["spend"]))

    def seen(folder: str, **options: object) -> str:
        return ParquetRows(tmp_path / folder, SCHEMA, **options).fingerprint()  # type: ignore[arg-type]

    assert seen("a") == seen("a")
    others = [
        seen("b"),
        seen("a", weights={"spend": "weight"}),
        seen("a", customer="id"),
    ]
    others.append(seen("a", filters=[("visits", ">", 2)]))
    assert len({seen("a"), *others}) == 5


def test_from_parquet_names_the_file_too(tmp_path: Path) -> None:
    frame = people()
    late = frame[30:].assign(income=np.inf)
    write(tmp_path, frame[:30], late)
    with pytest.raises(
        ValueError, match=r"part-1.parquet: .*'income'.*in row 0, and 7"
    ):
        from_parquet(tmp_path, SCHEMA)
