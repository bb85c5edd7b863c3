"""Rows of a file of one's own, split by time: each part in its days, or refused."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from ple_study.own_table import by_time
from ple_study.recipes import from_toml

SIZE = 40
TEXT = """
[data]
parquet = "people.parquet"
[tasks]
bought = "binary"
[split]
column = "day"
val = 2024-01-25
test = 2024-02-02
"""
# The order of the rows is not the order of the days.
DAYS = np.random.default_rng(0).permutation(SIZE)
START = date(2024, 1, 1)
SPLIT = {"column": "day", "val": date(2024, 1, 25), "test": date(2024, 2, 2)}


def people(**columns):
    day = pd.Timestamp(START) + pd.to_timedelta(DAYS, unit="D")
    draw = np.random.default_rng(1)
    frame = pd.DataFrame({"age": draw.normal(size=SIZE), "day": day})
    return frame.assign(bought=draw.permutation(SIZE) % 2).assign(**columns)


def recipe(folder, text=TEXT, **columns):
    people(**columns).to_parquet(folder / "people.parquet")
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return from_toml(path)


def parts(split):
    return {name: sorted(DAYS[rows].tolist()) for name, rows in split.items()}


WANTED = {
    "train": list(range(24)),
    "val": list(range(24, 32)),
    "test": list(range(32, SIZE)),
}


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_file_says_from_when_on_rows_validate_and_test(tmp_path, quote):
    text = TEXT.replace("2024-01-25", f"{quote}2024-01-25{quote}")
    study = recipe(tmp_path, text).study()
    assert parts(study.split) == WANTED
    assert [feature.name for feature in study.schema.features] == ["age"]


@pytest.mark.parametrize(
    "day",
    [
        [START + timedelta(days=int(day)) for day in DAYS],
        [f"{START + timedelta(days=int(day))}" for day in DAYS],
        pd.Series(people()["day"]).dt.tz_localize("Europe/Oslo"),
    ],
    ids=["dates", "texts", "a time zone"],
)
def test_days_may_be_dates_texts_or_of_a_zone(tmp_path, day):
    assert parts(recipe(tmp_path, day=day).study().split) == WANTED


def test_time_may_be_a_number():
    split = {"column": "day", "val": 24, "test": 31.5}
    assert parts(by_time(people(day=DAYS), split)) == WANTED


@pytest.mark.parametrize(
    ("change", "columns", "message"),
    [
        ({"column": "days"}, {}, r"needs the columns \['days'\].*mean 'day'\?"),
        ({"val": SPLIT["test"], "test": SPLIT["val"]}, {}, "begins before test"),
        ({"val": SPLIT["test"]}, {}, "Validation begins before test"),
        ({"val": START}, {}, r"rows for each of.*'train': 0, 'val': 32, 'test': 8"),
        ({"test": date(2025, 1, 1)}, {}, r"'val': 16, 'test': 0"),
        ({"val": "soon"}, {}, r"split\.val must be a date.*'day'.*Found 'soon'"),
        ({"test": 32}, {}, r"split\.test must be a date, as column 'day'.*Found 32"),
        ({"val": "2024-01-25T00:00Z"}, {}, r"split\.val must be a date"),
        ({}, {"day": DAYS}, r"split\.val must be a number, as column 'day'"),
        ({}, {"day": ["Monday"] * SIZE}, r"'day' must hold dates or numbers"),
        (
            {},
            {"day": people()["day"].mask(DAYS == 9)},
            r"'day' must have a time in every row",
        ),
    ],
)
def test_a_split_that_cannot_be_is_refused(change, columns, message):
    with pytest.raises(ValueError, match=message):
        by_time(people(**columns), SPLIT | change)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("test =", "tset =", r"Arguments of split.*Found \['tset'\].*mean 'test'"),
        ("test = 2024-02-02", "", r"needs .*'test'.* Found \['column', 'val'\]"),
        ("[tasks]", "seed = 1\n[tasks]", r"and no seed\. Found .*'seed'"),
    ],
)
def test_a_mistake_in_the_table_is_named(tmp_path, old, new, message):
    assert old in TEXT
    with pytest.raises(ValueError, match=message):
        recipe(tmp_path, TEXT.replace(old, new))
