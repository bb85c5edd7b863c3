"""The shallow tree finds a label that stands among the columns, and no other."""

from dataclasses import replace

import pytest
import torch

from ple_study.batch import Batch, Rows
from ple_study.data.leakage import shallow_tree
from ple_study.data.loader import Study, random_split
from ple_study.schema import Feature, Schema, TaskSpec

ROWS = 700
TASKS = (
    TaskSpec(name="click"),
    TaskSpec(name="class", kind="multiclass", classes=3),
    TaskSpec(name="spend", kind="regression"),
)


@pytest.fixture
def study() -> Study:
    """Labels drawn without a look at the columns; a tenth not observed."""
    draw = torch.Generator().manual_seed(0)
    schema = Schema(
        features=tuple(Feature(name=f"x{i}") for i in range(6)), tasks=TASKS
    )
    labels = {
        "click": torch.randint(2, (ROWS,), generator=draw).float(),
        "class": torch.randint(3, (ROWS,), generator=draw).float(),
        "spend": torch.randn(ROWS, generator=draw),
    }
    for values in labels.values():
        values[torch.rand(ROWS, generator=draw) < 0.1] = torch.nan
    numeric = torch.randn(ROWS, 6, generator=draw)
    batch = Batch(numeric, torch.empty(ROWS, 0, dtype=torch.long))
    return Study(schema, Rows(batch, labels), random_split(ROWS, seed=0))


def with_column(study: Study, column: torch.Tensor) -> Study:
    numeric = study.rows.batch.numeric.clone()
    numeric[:, 4] = column
    batch = replace(study.rows.batch, numeric=numeric)
    return replace(study, rows=replace(study.rows, batch=batch))


def test_labels_that_no_column_knows_are_not_found(study: Study) -> None:
    found = shallow_tree(study)
    assert list(found) == ["click", "class", "spend"]
    assert abs(found["click"] - 0.5) < 0.15
    assert abs(found["class"] - 0.5) < 0.2
    assert found["spend"] < 0.1


@pytest.mark.parametrize("task", ["click", "class", "spend"])
def test_a_label_among_the_columns_is_found(study: Study, task: str) -> None:
    leaked = with_column(study, 3 * study.rows.labels[task].nan_to_num(0.5) - 1)
    assert shallow_tree(leaked)[task] > 0.9


def test_one_leaked_class_of_three_is_enough(study: Study) -> None:
    leaked = with_column(study, (study.rows.labels["class"] == 2).float())
    assert shallow_tree(leaked)["class"] > 0.98
