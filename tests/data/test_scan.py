"""A schema read off Parquet in passing is the one that a frame of it gives."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ple_study.data.scan import scan_schema
from ple_study.data.tables import infer_schema
from ple_study.schema import TaskSpec
from tests.data.people import SIZE, people

TASKS = {"bought": "binary", "stage": "multiclass", "spend": "regression"}
IGNORE = ["id", "day", "weight"]


def write(folder: Path, frame: pd.DataFrame, cut: int = 30) -> Path:
    folder.mkdir(exist_ok=True)
    frame[:cut].to_parquet(folder / "1.parquet", row_group_size=7)
    frame[cut:].to_parquet(folder / "2.parquet")
    return folder


def rich() -> pd.DataFrame:
    """With holes, a coded column, booleans with holes, and labels far from zero."""
    frame = people().assign(
        shop=pd.Categorical([f"no {i % 3}" for i in range(SIZE)]),
        flag=pd.Series([True, None] * (SIZE // 2), dtype=object),
        none=np.nan,
    )
    frame.loc[::3, "city"] = None
    frame.loc[::4, "spend"] = np.nan
    frame.loc[45:, "city"] = "Ulm"
    frame["spend"] = frame["spend"] * 7 + 1e5
    return frame


def test_the_same_schema_as_of_the_whole_frame(tmp_path: Path) -> None:
    frame = rich()
    folder = write(tmp_path / "rows", frame)
    wanted = infer_schema(frame, tasks=TASKS, ignore=IGNORE, train=torch.arange(SIZE))
    assert scan_schema(folder, tasks=TASKS, ignore=IGNORE) == wanted
    assert {f.name: f.vocabulary for f in wanted.categorical}["city"][-1] == "Ulm"
    early = frame[frame["day"] < "2024-01-19"]
    wanted = infer_schema(
        early, tasks=TASKS, ignore=IGNORE, train=torch.arange(len(early))
    )
    kept = [("day", "<", pd.Timestamp("2024-01-19"))]
    found = scan_schema(folder, tasks=TASKS, ignore=IGNORE, filters=kept)
    assert found == wanted


def test_specs_are_taken_as_they_are(tmp_path: Path) -> None:
    folder = write(tmp_path / "rows", people()[["income", "stage"]])
    spec = TaskSpec(name="stage", kind="multiclass", classes=9)
    assert scan_schema(folder, tasks=[spec]).tasks == (spec,)


def test_labels_that_are_never_there_give_no_scale(tmp_path: Path) -> None:
    frame = people()[["income", "spend", "stage"]].assign(spend=np.nan)
    tasks = {"spend": "regression", "stage": "multiclass"}
    wanted = infer_schema(frame, tasks=tasks, train=torch.arange(SIZE))
    assert scan_schema(write(tmp_path / "rows", frame), tasks=tasks) == wanted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.assign(late=f["day"]), r"Found dates in 'late'"),
        (lambda f: f.drop(columns="spend"), r"needs the columns \['spend'\]"),
        (lambda f: f.assign(stage=f["stage"] + 2), r"'stage' are numbered from 0"),
        (lambda f: f.assign(none=pd.Series([None] * len(f), dtype="string")),
         r"'none' needs a value in training"),
        (lambda f: pd.concat([f] * 3).assign(key=[f"no {i}" for i in range(3 * SIZE)]),
         r"150 values of 'key' in 150 rows"),
    ],
)  # fmt: skip
def test_what_a_frame_is_refused_for_is_refused(
    tmp_path: Path, change: "object", message: str
) -> None:
    frame = change(people())  # type: ignore[operator]
    with pytest.raises(ValueError, match=message):
        scan_schema(write(tmp_path / "rows", frame), tasks=TASKS, ignore=IGNORE)


def test_files_must_agree(tmp_path: Path) -> None:
    frame = people()
    folder = write(tmp_path, frame)
    frame.assign(city=1).to_parquet(folder / "2.parquet")
    message = (
        r"2.parquet: Column 'city' must hold a text, as in 1.parquet. Found type i"
    )
    with pytest.raises(ValueError, match=message):
        scan_schema(folder, tasks=TASKS, ignore=IGNORE)
    frame.drop(columns="income").to_parquet(folder / "2.parquet")
    with pytest.raises(
        ValueError, match=r"2.parquet: .*needs the columns \['income'\]"
    ):
        scan_schema(folder, tasks=TASKS, ignore=IGNORE)
    with pytest.raises(ValueError, match="ignore is a list of names"):
        scan_schema(folder, tasks=TASKS, ignore="id")


def test_a_column_of_no_value_of_ours_is_refused(tmp_path: Path) -> None:
    table = pa.table({"x": [{"a": 1}], "y": [0]})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(
        ValueError, match=r"'x' must hold texts.* type struct<a: int64>"
    ):
        scan_schema(tmp_path, tasks={"y": "binary"})


def test_a_label_beyond_float32_counts_for_no_scale(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [0, 1, 2], "y": [1.0, 3.0, 1e300]})
    frame.to_parquet(tmp_path / "t.parquet")
    tasks = {"y": "regression"}
    found = scan_schema(tmp_path, tasks=tasks)
    wanted = infer_schema(frame, tasks=tasks, train=torch.arange(3))
    assert found.tasks[0].scale == wanted.tasks[0].scale == (2.0, 1.0)
