"""Each tensor of a study has its axes, and is of its kind."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from ple_study.batch import Diagrams, Events, Rows
from ple_study.data.rows import check_axes
from tests.data.whole import SIZE, rows_of

pytestmark = pytest.mark.plain  # else the containers look first
STEPS, POINTS = torch.ones(SIZE, 6, 2), torch.ones(SIZE, 7, 3)


def test_a_study_has_its_axes() -> None:
    check_axes(rows_of())
    empty = {"states": None, "clusters": None, "customer": None, "vectors": {}}
    check_axes(replace(rows_of(), batch=replace(rows_of().batch, **empty)))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("numeric", torch.ones(SIZE), r"numeric must be \[batch, numeric\].*\[23\]"),
        (
            "categorical",
            torch.ones(SIZE),
            r"categorical must be \[batch, categorical\]",
        ),
        ("states", torch.ones(SIZE, 3), r"states must be .*mode, state\].*\[23, 3\]"),
        ("states", torch.ones(SIZE, 3, 16).long(), "states must be floating.*int64"),
        ("clusters", torch.ones(SIZE), r"clusters must be \[batch, cluster\]"),
        ("customer", torch.ones(SIZE, 1), r"customer must be \[batch\].*\[23, 1\]"),
        ("vectors", {"a": torch.ones(SIZE)}, r"Vector 'a' must be \[batch, dim\]"),
        (
            "vectors",
            {"a": torch.ones(SIZE, 2) > 0},
            "Vector 'a' must be floating.*bool",
        ),
        (
            "events",
            lambda: {"a": Events(STEPS[0], STEPS[0] > 0)},
            r"'a' must be .*\[6, 2\]",
        ),
        (
            "events",
            lambda: {"a": Events(STEPS, STEPS[..., 0])},
            r"mask of .*'a' .*float32",
        ),
        (
            "events",
            lambda: {"a": Events(STEPS, STEPS[1:, :, 0] > 0)},
            r"\[23, 6\].*\[22, 6\]",
        ),
        (
            "events",
            lambda: {"a": Events(STEPS.int(), STEPS[..., 0] > 0)},
            "'a' are floating",
        ),
        (
            "diagrams",
            lambda: {"a": Diagrams(POINTS, POINTS > 0)},
            r"\[23, 7\].*\[23, 7, 3\]",
        ),
    ],
)
def test_other_axes_and_kinds_are_named(name: str, value: Any, message: str) -> None:
    rows, own = rows_of(), value() if callable(value) else value
    with pytest.raises(ValueError, match=message):
        check_axes(replace(rows, batch=replace(rows.batch, **{name: own})))


def test_labels_and_weights_are_one_number_a_row() -> None:
    rows: Rows = rows_of()
    deep = torch.ones(SIZE, 1)
    with pytest.raises(ValueError, match=r"Labels of 'a' must be \[batch\].*\[23, 1\]"):
        check_axes(replace(rows, labels={"a": deep}))
    with pytest.raises(ValueError, match=r"Weights of 'a' must be \[batch\]"):
        check_axes(replace(rows, weights={"a": deep}))
