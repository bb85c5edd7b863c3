"""A table of one's own: to tensors, from a frame or from Parquet, or refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ple_study.data.loader import random_split
from ple_study.data.tables import (
    batch_from_frame,
    from_frame,
    from_parquet,
    time_split,
)
from ple_study.schema import Schema
from tests.data.people import SCHEMA, SIZE, people


@pytest.fixture
def frame() -> pd.DataFrame:
    return people()


@pytest.fixture
def schema() -> Schema:
    return SCHEMA


def test_columns_go_where_the_schema_says(frame: pd.DataFrame, schema: Schema) -> None:
    frame.loc[3, "bought"] = np.nan
    study = from_frame(frame, schema, weights={"spend": "weight"}, customer="id")
    batch = study.rows.batch
    np.testing.assert_allclose(batch.numeric, frame[["visits", "income"]], rtol=1e-6)
    codes = {"Bonn": 1, "Oslo": 2, "Rome": 0}
    assert batch.categorical[:, 0].tolist() == [codes[c] for c in frame["city"]]
    assert batch.categorical[:, 1].tolist() == [1 + m for m in frame["member"]]
    assert batch.customer is not None
    assert batch.customer.tolist() == frame["id"].tolist()
    assert study.rows.labels["bought"].isnan().nonzero().flatten().tolist() == [3]
    np.testing.assert_allclose(study.rows.weights["spend"], frame["weight"], rtol=1e-6)
    assert list(study.rows.weights) == ["spend"]


def test_split_is_the_one_given_or_random_by_seed(
    frame: pd.DataFrame, schema: Schema
) -> None:
    split = random_split(SIZE, seed=7)
    for study in (
        from_frame(frame, schema, split=split),
        from_frame(frame, schema, seed=7),
    ):
        assert all(torch.equal(study.split[name], split[name]) for name in split)


@pytest.mark.parametrize("pieces", [1, 3])
def test_parquet_says_the_same_as_the_frame(
    frame: pd.DataFrame, schema: Schema, tmp_path: Path, pieces: int
) -> None:
    frame.loc[5, "stage"] = np.nan
    path = tmp_path / "table.parquet"
    if pieces == 1:
        frame.to_parquet(path, row_group_size=7)
    else:
        path.mkdir()
        for number, rows in enumerate(np.array_split(np.arange(SIZE), pieces)):
            frame.iloc[rows].to_parquet(path / f"part-{number}.parquet")
    options = {"weights": {"spend": "weight"}, "customer": "id"}
    ours = from_frame(frame, schema, **options)  # type: ignore[arg-type]
    read = from_parquet(path, schema, **options)  # type: ignore[arg-type]
    assert torch.equal(ours.rows.batch.numeric, read.rows.batch.numeric)
    assert torch.equal(ours.rows.batch.categorical, read.rows.batch.categorical)
    assert ours.rows.batch.customer is not None
    assert read.rows.batch.customer is not None
    assert torch.equal(ours.rows.batch.customer, read.rows.batch.customer)
    for name, label in ours.rows.labels.items():
        torch.testing.assert_close(read.rows.labels[name], label, equal_nan=True)
    assert torch.equal(ours.rows.weights["spend"], read.rows.weights["spend"])


def test_time_splits_into_past_and_future(frame: pd.DataFrame) -> None:
    day = frame["day"]
    split = time_split(day, val=day[30], test=day[41], cutoff=day[49])
    assert split["train"].tolist() == list(range(30))
    assert split["val"].tolist() == list(range(30, 41))
    assert split["test"].tolist() == list(range(41, 50))
    with pytest.raises(
        ValueError, match=r"'day' must not pass .*2024-02-18.*1 rows after"
    ):
        time_split(day, val=day[30], test=day[41], cutoff=day[48])


def _with(frame: pd.DataFrame, **columns: object) -> pd.DataFrame:
    return frame.assign(**columns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="income"), r"needs the columns \['income'\]"),
        (lambda f: f.drop(columns="spend"), r"needs the columns \['spend'\]"),
        (lambda f: pd.concat([f, f[["city"]]], axis=1),
         r"more than once: \['city'\]"),
        (lambda f: f.iloc[:0], r"needs at least one row. Found none"),
        (lambda f: _with(f, income="high"), r"'income' must hold numbers. Found dtype"),
        (lambda f: _with(f, city=f["visits"]), r"'city' must hold values like 'Bonn'"),
        (lambda f: _with(f, stage=4), r"'stage' must be whole .* 0..3. Found 4"),
        (lambda f: _with(f, bought=0.5), r"'bought' must be whole .* 0..1. Found 0.5"),
        (lambda f: _with(f, spend=np.nan), r"Task 'spend' has no observed label"),
        (lambda f: _with(f, spend=np.inf), r"task 'spend' must be finite"),
        (lambda f: _with(f, income=f["income"].mask(f.index == 8)),
         r"'income' must be finite. Found nan in row 8, and 1 such rows"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("door", ["frame", "parquet"])
def test_what_does_not_fit_is_refused(
    frame: pd.DataFrame,
    schema: Schema,
    tmp_path: Path,
    change: "object",
    message: str,
    door: str,
) -> None:
    changed = change(frame)  # type: ignore[operator]
    if door == "frame":
        with pytest.raises(ValueError, match=message):
            from_frame(changed, schema)
        return
    # pandas itself writes no Parquet with two columns of one name
    columns = [pa.array(changed.iloc[:, i]) for i in range(changed.shape[1])]
    table = pa.Table.from_arrays(columns, names=list(changed.columns))
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=3)
    with pytest.raises(ValueError, match=message):
        from_parquet(tmp_path / "t.parquet", schema)


def test_weights_must_name_tasks_and_be_there(
    frame: pd.DataFrame, schema: Schema
) -> None:
    with pytest.raises(ValueError, match=r"must name tasks of .*Found \['sold'\]"):
        from_frame(frame, schema, weights={"sold": "weight"})
    with pytest.raises(ValueError, match=r"needs the columns \['load'\]"):
        from_frame(frame, schema, weights={"spend": "load"})
    with pytest.raises(ValueError, match=r"'id' must hold a whole number"):
        from_frame(frame.assign(id=0.5), schema, customer="id")


def test_a_damaged_parquet_file_is_refused(
    frame: pd.DataFrame, schema: Schema, tmp_path: Path
) -> None:
    path = tmp_path / "t.parquet"
    frame.to_parquet(path)
    whole = path.read_bytes()
    middle = bytearray(whole)
    middle[40 : len(whole) // 2] = bytes(len(whole) // 2 - 40)
    for content in (b"", whole[: len(whole) // 2], b"id,spend\n1,2\n", bytes(middle)):
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"t.parquet must be a Parquet file or a fold"
        ):
            from_parquet(path, schema)
    with pytest.raises(ValueError, match=r"gone.parquet must be a Parquet file"):
        from_parquet(tmp_path / "gone.parquet", schema)


def test_every_file_of_a_folder_has_every_column(
    frame: pd.DataFrame, schema: Schema, tmp_path: Path
) -> None:
    frame.iloc[:30].to_parquet(tmp_path / "1.parquet")
    late = frame.iloc[30:].rename(columns={"spend": "spent"})
    late.to_parquet(tmp_path / "2.parquet")
    with pytest.raises(ValueError, match=r"2.parquet: .*needs the columns \['spend'\]"):
        from_parquet(tmp_path, schema)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="a Parquet file or a folder of them"):
        from_parquet(tmp_path / "empty", schema)


def test_a_column_that_was_an_index_is_a_column(
    frame: pd.DataFrame, schema: Schema, tmp_path: Path
) -> None:
    frame.set_index("income").to_parquet(tmp_path / "t.parquet")
    read = from_parquet(tmp_path / "t.parquet", schema)
    assert torch.equal(
        read.rows.batch.numeric, from_frame(frame, schema).rows.batch.numeric
    )


def test_new_rows_need_no_label(frame: pd.DataFrame, schema: Schema) -> None:
    new = frame.drop(columns=["bought", "stage", "spend"])
    whole = from_frame(frame, schema).rows.batch
    batch = batch_from_frame(new, schema)
    assert torch.equal(batch.numeric, whole.numeric)
    assert torch.equal(batch.categorical, whole.categorical)
    one = batch_from_frame(new.iloc[[4]], schema, customer="id")
    assert len(one) == 1
    assert int(one.customer[0]) == frame["id"][4]
    with pytest.raises(ValueError, match=r"needs the columns \['income'\]"):
        batch_from_frame(new.drop(columns="income"), schema)
    with pytest.raises(ValueError, match="at least one row"):
        batch_from_frame(new.iloc[:0], schema)


def test_a_weight_is_no_feature(frame: pd.DataFrame, schema: Schema) -> None:
    with pytest.raises(ValueError, match=r"Both: \['income'\]"):
        from_frame(frame, schema, weights={"spend": "income"})


def test_validation_begins_before_test(frame: pd.DataFrame) -> None:
    day = frame["day"]
    with pytest.raises(ValueError, match="Validation begins before test"):
        time_split(day, val=day[41], test=day[30], cutoff=day[49])
