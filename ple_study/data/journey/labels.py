"""What there is to predict about a household: the registry of tasks and their labels.

Each label is a function of the days after the cut-off (and of the past, where the words
say so). A month is four weeks here: every window then holds each weekday equally often.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from ple_study.data.journey.features import (
    MONTH,
    Vocabulary,
    part_of_week,
    share,
)
from ple_study.data.journey.habits import home_store
from ple_study.data.journey.tables import Array, Codes
from ple_study.data.journey.windows import Window, total
from ple_study.schema import TaskSpec

AGES = ("19-24", "25-34", "35-44", "45-54", "55-64", "65+")
CYCLE = (2.0, 3.0, 4.0, 6.0, 8.0, 14.0)  # days: upper edges, inclusive, of a mean gap
MAKERS = 200
SKIPPED: dict[str, tuple[str | int, ...]] = {
    "department": ("GROCERY",),  # in nearly every basket
    "manufacturer": (2, 69),  # produce and the like, and the retailer's own brand
}


class View(NamedTuple):
    """A cut-off: the 180 days before it, the days after it, and the vocabulary."""

    past: Window
    after: Window
    vocabulary: Vocabulary


class Label(NamedTuple):
    """A task and how its label is computed: ``[households]``, NaN where not observed.

    ``horizon`` is in days. ``raw`` answers in ``unit``; a regression label is then
    standardised with the mean and the deviation of the training rows. With ``buckets``
    it is first replaced by the number of training quantiles that it reaches.
    """

    spec: TaskSpec
    words: str
    unit: str
    raw: Callable[[View], Array]
    horizon: int = MONTH
    buckets: int = 0


def _observed(value: Array, where: Array) -> Array:
    return np.where(where > 0, value, np.nan)


def ctr(view: View) -> Array:
    used = view.after.baskets[view.after.baskets["coupon"] > 0]
    return (total(used, view.past.size) > 0).astype(np.float64)


def cvr(view: View) -> Array:
    """1 where a coupon is used in a category that was not bought in the past."""
    known, num = _categories(view.past), len(view.past.purchases.names["category"])
    lines = view.after.lines
    lines = lines[(lines["coupon"] > 0) & (lines["category"] >= 0)]
    pair = lines["household"].to_numpy() * num + lines["category"].to_numpy()
    return (total(lines[~known[pair]], view.past.size) > 0).astype(np.float64)


def _categories(window: Window) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    num = len(window.purchases.names["category"])
    lines = window.lines[window.lines["category"] >= 0]
    known = np.zeros(window.size * num, dtype=bool)
    known[lines["household"].to_numpy() * num + lines["category"].to_numpy()] = True
    return known


def engagement(view: View) -> Array:
    return np.log1p(view.after.baskets_sum())


def churn(view: View) -> Array:
    return np.where(view.after.baskets_sum() == 0, 1.0, 0.0)


def retention(view: View) -> Array:
    return np.where(view.after.last(MONTH).baskets_sum() > 0, 1.0, 0.0)


def life_stage(view: View) -> Array:
    age = view.past.purchases.demographics["age"]
    place: Array = np.full(len(age), np.nan)
    for code, name in enumerate(AGES):
        place[(age == name).to_numpy(bool)] = code
    return place


def ltv(view: View) -> Array:
    return np.log1p(view.after.baskets_sum("sales"))


def balance_util(view: View) -> Array:
    sales, discount = view.after.lines_sum("sales"), view.after.lines_sum("discount")
    return _observed(share(discount, sales + discount), sales + discount)


def _next_basket(view: View, column: str) -> Codes:
    """A column of each household's next basket; -1 where there is none."""
    value = view.after.baskets[column].to_numpy(np.int64)
    return np.append(value, -1)[view.after.first_basket()]  # the last is row -1


def channel(view: View) -> Array:
    """0 the home store, 1 another store of the past, 2 a store new to the household."""
    num = len(view.past.purchases.names["store"])
    visited = view.past.baskets[["household", "store"]].to_numpy()
    known = np.zeros((view.past.size, num), dtype=bool)
    known[visited[:, 0], visited[:, 1]] = True
    store = _next_basket(view, "store")
    there = known[np.arange(view.past.size), store]
    kind = np.where(store == home_store(view.past), 0, np.where(there, 1, 2))
    return np.where(store >= 0, kind, np.nan)


def timing(view: View) -> Array:
    day, hour = _next_basket(view, "day"), _next_basket(view, "hour")
    return np.where(day >= 0, part_of_week(day, hour), np.nan)


def best(view: View, key: str, num: int, lines: pd.DataFrame) -> Array:
    """The place, among the ``num`` first, with the most dollars; NaN without any."""
    place = view.vocabulary.place(key, num, skip=SKIPPED.get(key, ()))[lines[key]]
    dollars = total(lines, view.past.size, "sales", place, num)
    return _observed(dollars.argmax(1).astype(float), dollars.max(1))


def nba(view: View) -> Array:
    basket = _next_basket(view, "basket")
    lines = view.after.lines
    chosen = lines["basket"].to_numpy() == basket[lines["household"]]
    return best(view, "department", 12, lines[chosen])


def spending_category(view: View) -> Array:
    return best(view, "category", 12, view.after.lines)


def brand_prediction(view: View) -> Array:
    return best(view, "manufacturer", MAKERS, view.after.lines)


def consumption_cycle(view: View, edges: tuple[float, ...] = CYCLE) -> Array:
    days = view.after.baskets.drop_duplicates(["household", "day"])
    num = total(days, view.past.size)
    first, row = np.full(view.past.size, np.nan), view.after.first_basket()
    found = row >= 0
    first[found] = view.after.baskets["day"].to_numpy()[row[found]]
    gap = (view.after.last_day() - first) / np.maximum(num - 1, 1)
    return _observed(np.searchsorted(edges, gap).astype(float), num - 1)


def spending_bucket(view: View) -> Array:
    visits = view.after.baskets_sum()
    return _observed(share(view.after.baskets_sum("sales"), visits), visits)


def merchant_affinity(view: View) -> Array:
    frame = view.after.baskets
    home = home_store(view.past)[frame["household"]]
    local = total(frame[frame["store"].to_numpy() == home], view.past.size)
    visits = view.after.baskets_sum()
    return _observed(share(local, visits), visits)
