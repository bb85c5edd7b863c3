"""What a log of events refuses, and what it hands on."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ple_study.data.log import COLUMNS, Log, log_from_frame

CUTOFF = 30


def example(**changed: Any) -> Log:
    """Five customers, two of them without an event, one with a single one."""
    columns = {
        "customer": np.array([0, 0, 0, 2, 3, 3]),
        "day": np.array([4, 9, 9, 29, 11, 12]),
        "hour": np.array([23.0, 1.5, 1.5, 0.0, 23.5, 8.0]),
        "amount": np.array([0.0, 7.5, 8.5, 1.0, 2.0, 3.0]),
        "place": np.array([1, 5, 5, 0, 2, 2]),
    }
    sizes = {"num_customers": 5, "num_places": 5, "cutoff": CUTOFF}
    return Log(**(columns | sizes | changed))


def spoilt(name: str, row: int, value: float) -> Log:
    column = getattr(example(), name).copy()
    column[row] = value
    return example(**{name: column})


@pytest.mark.parametrize(
    ("name", "row", "value", "message"),
    [
        ("day", 3, 30, "before the cut-off, day 30. Found 30 in row 3."),
        ("amount", 1, -0.5, "Amounts must be finite and zero or more. Found -0.5 in"),
        ("amount", 4, np.nan, "Amounts must be finite and zero or more. Found nan in"),
        ("amount", 4, np.inf, "Amounts must be finite and zero or more. Found inf in"),
        ("customer", 5, 5, "Customers must lie in 0..4. Found 5 in row 5."),
        ("customer", 0, -1, "Customers must lie in 0..4. Found -1 in row 0."),
        ("place", 2, 6, "Places must lie in 0..5. Found 6 in row 2."),
        ("hour", 2, 24.0, "Hours must lie in 0 to less than 24. Found 24.0 in row 2."),
        ("hour", 2, np.nan, "Hours must lie in 0 to less than 24. Found nan in row 2."),
        ("customer", 2, 3, "sorted by customer, day and hour. Found row 3 below"),
        ("day", 1, 3, "sorted by customer, day and hour. Found row 1 below"),
        ("hour", 2, 1.0, "sorted by customer, day and hour. Found row 2 below"),
        ("amount", 2, 7.5, "must be there once. Found rows 1 and 2 equal."),
    ],
)
def test_bad_events_are_refused(
    name: str, row: int, value: float, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        spoilt(name, row, value)


def test_events_may_share_their_time_or_be_none() -> None:
    assert len(example()) == 6
    none = {name: getattr(example(), name)[:0] for name in COLUMNS}
    assert not len(example(**none))
    assert example(**none).start.tolist() == [0] * 6


def test_borders_of_customers() -> None:
    log = example()
    assert log.start.tolist() == [0, 3, 3, 4, 6, 6]
    for customer in range(5):
        own = slice(log.start[customer], log.start[customer + 1])
        assert (log.customer[own] == customer).all()


def test_some_customers_keep_their_events_in_the_new_order() -> None:
    found = example().rows(np.array([1, 3, 4]))
    assert found.num_customers == 3
    assert found.frame().to_numpy().tolist() == [[1, 11, 23.5, 2, 2], [1, 12, 8, 3, 2]]
    with pytest.raises(ValueError, match="Customers must rise"):
        example().rows(np.array([3, 1]))


def test_later_events_and_visits() -> None:
    assert example().since(11).day.tolist() == [29, 11, 12]
    visits = example().visits
    assert visits.num_merchants == 6
    assert visits.merchant.tolist() == [1, 5, 5, 0, 2, 2]


def purchases(**changed: Any) -> pd.DataFrame:
    columns = {
        "customer": ["zoe", "ann", "zoe", "ann"],
        "day": [9, 4, 2, 4],
        "hour": [8.5, 20, 7, 6],
        "amount": [1, 2, 3, 4],
        "place": ["tea", None, "bread", "tea"],
    }
    return pd.DataFrame(columns | changed)


def test_a_table_becomes_a_log_whose_codes_are_told() -> None:
    log, customers, places = log_from_frame(purchases(), cutoff=CUTOFF)
    assert (list(customers), list(places)) == (["ann", "zoe"], ["bread", "tea"])
    rows = [(0, 4, 6, 4, 2), (0, 4, 20, 2, 0), (1, 2, 7, 3, 1), (1, 9, 8.5, 1, 2)]
    assert log.frame().to_numpy().tolist() == [list(row) for row in rows]
    assert (log.num_customers, log.num_places) == (2, 2)
    shuffled = purchases().sample(frac=1, random_state=3)
    again = log_from_frame(shuffled, cutoff=CUTOFF).log
    assert again.frame().equals(log.frame())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"customer": ["a", None, "b", "c"]},
            "Each event needs a customer.",
        ),
        (
            {"day": [1.5, 2, 3, 4]},
            "'day' must hold whole numbers. Found float64.",
        ),
        ({"hour": ["8", "9", "10", "11"]}, "Column 'hour' must hold numbers."),
        (
            {"amount": [True, False, True, True]},
            "'amount' must hold numbers. Found bool",
        ),
        ({"amount": [1, -2, 3, 4]}, "Amounts must be finite and zero or more."),
        ({"day": [1, 2, 30, 4]}, "before the cut-off, day 30."),
    ],
)
def test_bad_tables_are_refused(changed: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        log_from_frame(purchases(**changed), cutoff=CUTOFF)
    with pytest.raises(ValueError, match=re.escape("absent are ['place']")):
        log_from_frame(purchases().drop(columns="place"), cutoff=CUTOFF)
    with pytest.raises(ValueError, match="Found 0 rows"):
        log_from_frame(purchases().iloc[:0], cutoff=CUTOFF)
