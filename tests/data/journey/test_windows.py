"""A window of days and its sums, on a table small enough to count by hand."""

import numpy as np
import pandas as pd
import pytest

from ple_study.data.journey.tables import Purchases
from ple_study.data.journey.windows import Window, total


@pytest.fixture
def few() -> Purchases:
    """Four households; the last never buys. Days 0, 2, 2, 5, 9."""
    lines = pd.DataFrame({
        "day": [0, 2, 2, 2, 5, 9],
        "household": [1, 0, 1, 1, 0, 2],
        "sales": [1.0, 2.0, 4.0, 8.0, 16.0, 32.0],
    })  # fmt: skip
    baskets = lines.drop(index=3).reset_index(drop=True)
    empty = pd.DataFrame({"household": [], "day": []})
    names = {"household": np.array([7, 8, 9, 10], dtype=object)}
    return Purchases(lines, baskets, empty, empty, pd.DataFrame(), names)


def test_a_window_holds_its_first_day_and_not_its_last(few: Purchases) -> None:
    window = Window(few, 2, 9)
    assert window.lines["day"].tolist() == [2, 2, 2, 5]
    assert window.lines_sum().tolist() == [2, 2, 0, 0]
    assert window.lines_sum("sales").tolist() == [18, 12, 0, 0]
    assert window.baskets_sum().tolist() == [2, 1, 0, 0]
    assert Window(few, 3, 5).lines_sum().tolist() == [0, 0, 0, 0]


def test_the_last_days_of_a_window_stay_inside_it(few: Purchases) -> None:
    window = Window(few, 2, 9)
    assert window.last(4).lines["day"].tolist() == [5]
    assert window.last(5).lines["day"].tolist() == [5]
    assert window.last(7).lines["day"].tolist() == [2, 2, 2, 5]
    assert window.last(99).lines["day"].tolist() == [2, 2, 2, 5]


def test_last_day_and_first_basket(few: Purchases) -> None:
    window = Window(few, 2, 10)
    assert window.last_day().tolist() == [5, 2, 9, -1]
    assert window.first_basket().tolist() == [0, 1, 3, -1]


def test_total_by_key_leaves_negative_keys_out(few: Purchases) -> None:
    key = np.array([0, 1, 2, -1, 1, 0])
    found = total(few.lines, 4, "sales", key, 3)
    assert found.tolist() == [[0, 18, 0], [1, 0, 4], [32, 0, 0], [0, 0, 0]]
    assert total(few.lines, 4, key=key, num=3).sum() == 5
