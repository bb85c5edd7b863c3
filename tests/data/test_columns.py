"""One column at a time: what becomes of it, and what is refused."""

import math

import pandas as pd
import pytest
import torch

from ple_study.data.columns import (
    check_names,
    check_past,
    encode,
    finite,
    known_values,
    labels,
    numbers,
    whole,
)
from ple_study.schema import Feature, TaskSpec, Value


def _category(*vocabulary: Value) -> Feature:
    return Feature(name="c", kind="categorical", vocabulary=vocabulary)


def _column(*values: object, dtype: str | None = None) -> pd.Series:
    return pd.Series(list(values), name="c", dtype=dtype)


@pytest.mark.parametrize(
    ("feature", "column", "codes"),
    [
        (_category("a", "b"), _column("b", "a", "z", None), [2, 1, 0, 0]),
        (_category("a", "b"), _column("b", "a", dtype="category"), [2, 1]),
        (_category("a"), _column(None, None), [0, 0]),
        (_category("a"), _column(dtype="object"), []),
        (_category(3, 5), _column(5, 3, 4), [2, 1, 0]),
        (_category(3, 5), _column(5, 3, None), [2, 1, 0]),
        (_category(3, 5), _column(5, None, dtype="Int64"), [2, 0]),
        (_category(False, True), _column(True, False), [2, 1]),
        (_category(False, True), _column(True, None), [2, 0]),
        (_category("a"), _column("a", "b", dtype="string"), [1, 0]),
    ],
)
def test_codes_are_places_in_the_vocabulary(
    feature: Feature, column: pd.Series, codes: list[int]
) -> None:
    assert encode(column, feature).tolist() == codes


@pytest.mark.parametrize(
    ("feature", "column", "message"),
    [
        (
            _category("a"),
            _column(1, 2),
            r"'c' must hold values like 'a'. Found dtype int",
        ),
        (_category(1), _column("a"), r"'c' must hold values like 1. Found dtype"),
        (_category("a"), _column("a", 1), r"values of one kind.*Found mixed"),
        (_category(False, True), _column(0, 1), r"values like False. Found dtype int"),
        (_category(0, 1), _column(False, True), r"values like 0. Found dtype bool"),
        (_category(0, 1), _column(True, None), r"values like 0. Found dtype object"),
        (_category("a"), _column(pd.Timestamp(0)), r"of one kind.*Found datetime"),
    ],
)
def test_values_of_another_kind_are_refused(
    feature: Feature, column: pd.Series, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        encode(column, feature)


def test_known_values_are_distinct_and_in_order() -> None:
    assert known_values(_column("b", None, "a", "b")) == ("a", "b")
    assert known_values(_column(5, 3, 3)) == (3, 5)
    assert known_values(_column(None)) == ()
    with pytest.raises(ValueError, match="values of one kind"):
        known_values(_column("a", 1))


def test_labels_keep_holes_and_refuse_other_classes() -> None:
    found = labels(
        _column(0, 2, None), TaskSpec(name="c", kind="multiclass", classes=3)
    )
    assert found[:2].tolist() == [0, 2]
    assert math.isnan(found[2])
    assert labels(_column(True, False), TaskSpec(name="c")).tolist() == [1, 0]
    for kind, classes, value, span in (
        ("binary", 1, 2, "0..1"),
        ("binary", 1, -1, "0..1"),
        ("multiclass", 3, 3, "0..2"),
        ("multiclass", 3, 0.5, "0..2"),
        ("contrastive", 4, 4, "0..3"),
    ):
        task = TaskSpec(name="c", kind=kind, classes=classes)  # type: ignore[arg-type]
        with pytest.raises(
            ValueError, match=rf"{kind} task 'c'.*{span}.*{value}.* row 1"
        ):
            labels(_column(0, value), task)
    with pytest.raises(ValueError, match=r"'c' must hold numbers. Found dtype"):
        labels(_column("yes"), TaskSpec(name="c"))


def test_numbers_must_be_finite_where_no_hole_is_allowed() -> None:
    assert numbers(_column(1, None), torch.float32).isnan().tolist() == [False, True]
    assert finite(_column(1.5, 2, dtype="Float64")).tolist() == [1.5, 2]
    for hole in (None, math.inf, -math.inf):
        with pytest.raises(ValueError, match=r"'c' must be finite. Found .* in row 1"):
            finite(_column(0.5, hole, hole))
    with pytest.raises(
        ValueError, match=r"'c' must hold numbers. Found dtype datetime"
    ):
        finite(_column(pd.Timestamp(0)))


def test_whole_numbers_are_kept_to_the_last_digit() -> None:
    large = 2**60 + 1
    assert whole(_column(large)).tolist() == [large]
    for column in (_column(0.5), _column(1, None), _column("a")):
        with pytest.raises(ValueError, match=r"'c' must hold a whole number"):
            whole(column)


def test_names_are_texts_unique_and_there() -> None:
    check_names(["a", "b"], ["b"])
    with pytest.raises(
        ValueError, match=r"must be unique. Found more than once: \['a'\]"
    ):
        check_names(["a", "b", "a"], [])
    with pytest.raises(
        ValueError, match=r"needs the columns \['c'\]. Found \['a', 'b'\]"
    ):
        check_names(["a", "b"], ["a", "c"])
    with pytest.raises(ValueError, match=r"must be text. Found \[0\]"):
        check_names(pd.RangeIndex(1), [])


def test_times_must_not_pass_the_cutoff() -> None:
    days = pd.Series(pd.to_datetime(["2024-01-01", "2024-03-01"]), name="day")
    check_past(days, pd.Timestamp("2024-03-01"))
    with pytest.raises(ValueError, match=r"'day' must not pass the cut-off 2024-02-01"):
        check_past(days, pd.Timestamp("2024-02-01"))
    with pytest.raises(
        ValueError, match=r"'day' must have a time in every row.*1 rows"
    ):
        check_past(days.where(days > days[0]), pd.Timestamp("2025-01-01"))
