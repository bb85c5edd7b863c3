"""What a schema is, read off the training rows of a table, or refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ple_study.data.loader import random_split
from ple_study.data.tables import (
    from_frame,
    from_parquet,
    infer_schema,
)
from ple_study.schema import TaskSpec
from tests.data.people import SIZE, people


@pytest.fixture
def frame() -> pd.DataFrame:
    return people()


def test_ten_lines_from_a_parquet_file_to_scaled_rows(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "customers.parquet"
    frame.to_parquet(path)
    table = pd.read_parquet(path)
    split = random_split(len(table), seed=0)
    schema = infer_schema(
        table,
        tasks={"bought": "binary", "stage": "multiclass", "spend": "regression"},
        ignore=["id", "day", "weight"],
        train=split["train"],
    )
    study = from_parquet(path, schema, split=split).scaled()
    assert study.part("train").batch.numeric.mean(0).abs().max() < 1e-6
    assert [f.name for f in schema.numeric] == ["income", "visits"]
    assert [f.name for f in schema.categorical] == ["city", "member"]
    assert [t.outputs for t in schema.tasks] == [1, 4, 1]


def test_what_is_inferred_comes_from_training_alone(frame: pd.DataFrame) -> None:
    train = torch.arange(30)
    frame.loc[30:, "city"] = "Paris"
    frame.loc[:29, "stage"] = np.arange(30) % 2
    frame.loc[30:, "stage"] = 1
    frame.loc[:29, "spend"] = [4.0, 8.0, np.nan] * 10
    frame.loc[30:, "spend"] = 1e6
    tasks = {"stage": "multiclass", "spend": "regression"}
    kept = frame[["city", "income", "stage", "spend"]]
    schema = infer_schema(kept, tasks=tasks, train=train)
    assert schema.task("spend").scale == (6.0, 2.0)
    assert schema.categorical[0].vocabulary == ("Bonn", "Oslo", "Rome")
    assert schema.task("stage").classes == 2
    split = {
        "train": train,
        "val": torch.arange(30, 40),
        "test": torch.arange(40, SIZE),
    }
    study = from_frame(kept, schema, split=split)
    assert (study.part("test").batch.categorical == 0).all()


def test_specs_may_be_given_instead_of_kinds(frame: pd.DataFrame) -> None:
    spec = TaskSpec(name="stage", kind="multiclass", classes=9, weight=2.0)
    schema = infer_schema(
        frame[["income", "stage"]], tasks=[spec], train=torch.arange(SIZE)
    )
    assert schema.tasks == (spec,)


@pytest.mark.plain
def test_inference_refuses_what_it_cannot_read(frame: pd.DataFrame) -> None:
    train = torch.arange(SIZE)
    with pytest.raises(
        ValueError, match=r"Found dates in 'day'.*name the column in ign"
    ):
        infer_schema(frame, tasks={"bought": "binary"}, train=train)
    with pytest.raises(ValueError, match=r"needs the columns \['sold'\]"):
        infer_schema(frame, tasks={"sold": "binary"}, train=train)
    with pytest.raises(ValueError, match=r"needs the columns \['key'\]"):
        infer_schema(frame, tasks={"bought": "binary"}, ignore=["key"], train=train)
    with pytest.raises(ValueError, match=r"Kind of task 'bought' must be one of"):
        infer_schema(frame[["bought"]], tasks={"bought": "rank"}, train=train)
    empty = frame[["bought"]].assign(none=pd.Series([None] * SIZE, dtype="string"))
    with pytest.raises(ValueError, match=r"'none' needs a value in training"):
        infer_schema(empty, tasks={"bought": "binary"}, train=train)


def test_ignored_columns_come_as_a_list(frame: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"ignore is a list of names\. Found the text"):
        infer_schema(
            frame, tasks={"bought": "binary"}, train=torch.arange(9), ignore="id"
        )


def test_an_inferred_scale_has_six_digits(frame: pd.DataFrame) -> None:
    frame["spend"] = np.arange(SIZE) / 7
    schema = infer_schema(
        frame[["income", "spend"]],
        tasks={"spend": "regression"},
        train=torch.arange(SIZE),
    )
    scale = schema.task("spend").scale
    assert scale == tuple(float(f"{v:.6g}") for v in scale)
    assert scale[0] == pytest.approx(frame["spend"].mean(), rel=1e-5)


def test_columns_that_are_no_category_are_refused(frame: pd.DataFrame) -> None:
    many = pd.concat([frame[["bought", "income"]]] * 5, ignore_index=True)
    many["key"] = [f"no {i}" for i in range(len(many))]
    train = torch.arange(len(many))
    with pytest.raises(ValueError, match=r"values of 'key' in 250 rows: an id"):
        infer_schema(many, tasks={"bought": "binary"}, train=train)


def test_classes_are_numbered_from_zero(frame: pd.DataFrame) -> None:
    frame["stage"] = 1 + np.arange(SIZE) % 5
    with pytest.raises(ValueError, match=r"'stage' are numbered from 0. Found 1..5"):
        infer_schema(
            frame[["income", "stage"]],
            tasks={"stage": "multiclass"},
            train=torch.arange(SIZE),
        )


def test_a_table_without_rows_is_told_first(frame: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="at least one row"):
        infer_schema(frame.iloc[:0], tasks={"bought": "binary"}, train=torch.arange(0))
