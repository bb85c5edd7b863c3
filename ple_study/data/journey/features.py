"""Numeric and categorical columns of a household at a cut-off, from its past alone.

Money and counts enter as log(1 + x), so that heavy tails do not rule the scale. Every
column is a function of the days before the cut-off; which categories, departments,
makers and stores have a column is fixed by a ``Vocabulary`` of the training days.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from ple_study.data.journey.tables import Array, Codes, Purchases
from ple_study.data.journey.windows import Window, total

WINDOWS = (7, 14, 28, 56, 91, 180)  # days
KEYS = ("category", "department", "manufacturer", "store")
MONTH = 28  # days: four whole weeks, so that every weekday counts the same
Columns = dict[str, Array]


class Vocabulary(NamedTuple):
    """Codes by rank, the most important first, over the training days.

    Categories, departments and manufacturers are ranked by sales, stores by baskets.
    """

    ranks: dict[str, Codes]
    purchases: Purchases

    @classmethod
    def fit(
        cls, purchases: Purchases, stop: int, keys: tuple[str, ...] = KEYS
    ) -> "Vocabulary":
        """Rank what was bought before day ``stop``, by each of ``keys``."""
        seen = Window(purchases, 0, stop)
        ranks = {}
        for key in keys:
            frame = seen.baskets if key == "store" else seen.lines
            code = frame[key].to_numpy()
            known = code >= 0
            weight = np.ones(len(code)) if key == "store" else frame["sales"].to_numpy()
            sums = np.bincount(code[known], weight[known])
            ranks[key] = np.argsort(-sums, kind="stable")[: np.count_nonzero(sums)]
        return cls(ranks, purchases)

    def place(self, key: str, num: int, *, skip: tuple[str | int, ...] = ()) -> Codes:
        """By code, its place among the ``num`` first ranks; -1 for all others.

        The last entry stands for the unknown (code -1). Names in ``skip`` get no place.
        """
        chosen = self.chosen(key, num, skip=skip)
        place = np.full(len(self.purchases.names[key]) + 1, -1)
        place[chosen] = np.arange(len(chosen))
        return place

    def chosen(self, key: str, num: int, *, skip: tuple[str | int, ...] = ()) -> Codes:
        names = self.purchases.names[key]
        rank = self.ranks[key]
        kept: Codes = rank[~pd.Index(names[rank]).isin(skip)]
        return kept[:num]

    def names(
        self, key: str, num: int, *, skip: tuple[str | int, ...] = ()
    ) -> list[str]:
        names = self.purchases.names[key][self.chosen(key, num, skip=skip)]
        return [str(name) for name in names]


def share(part: Array, whole: Array) -> Array:
    """part / whole, and 0 where the whole is 0."""
    out = np.zeros(np.broadcast_shapes(part.shape, whole.shape))
    return np.divide(part, whole, out=out, where=whole > 0)


def entropy(counts: Array) -> Array:
    """Entropy in nats of each row of counts; 0 for an empty row."""
    p = share(counts, counts.sum(1, keepdims=True))
    total: Array = -(p * np.log(np.where(p > 0, p, 1.0))).sum(1)
    return total


def gaps(window: Window) -> Columns:
    """Days between shopping days: last, mean, deviation, longest. 0 without any."""
    frame = window.baskets.drop_duplicates(["household", "day"])
    frame = frame.sort_values(["household", "day"])
    household = frame["household"].to_numpy()
    gap = frame["day"].diff().to_numpy(np.float64)
    inner = np.flatnonzero(household[1:] == household[:-1]) + 1
    household, gap = household[inner], gap[inner]
    ones, size = np.ones_like(gap), window.size
    num, mean, square = (
        np.bincount(household, x, size).astype(np.float64) for x in (ones, gap, gap**2)
    )
    mean, square = share(mean, num), share(square, num)
    longest, last = np.zeros(window.size), np.zeros(window.size)
    np.maximum.at(longest, household, gap)
    last[household] = gap
    std = np.sqrt(np.maximum(square - mean**2, 0))
    return {"last": last, "mean": mean, "std": std, "longest": longest, "num": num}


def rfm(past: Window, _: Vocabulary) -> Columns:
    """Recency, frequency and money: days, visits, lines and dollars."""
    out = {"recency": np.log1p(past.stop - 1 - past.last_day())}
    for days in WINDOWS:
        recent = past.last(days)
        shopped = recent.baskets.drop_duplicates(["household", "day"])
        out[f"baskets_{days}d"] = np.log1p(recent.baskets_sum())
        out[f"days_{days}d"] = np.log1p(total(shopped, past.size))
        out[f"lines_{days}d"] = np.log1p(recent.lines_sum())
        out[f"spend_{days}d"] = np.log1p(recent.baskets_sum("sales"))
        mean = share(recent.baskets_sum("sales"), recent.baskets_sum())
        out[f"basket_spend_{days}d"] = np.log1p(mean)
    for name, value in gaps(past).items():
        out[f"gap_{name}"] = np.log1p(value)
    largest = np.zeros(past.size)
    np.maximum.at(largest, past.baskets["household"], past.baskets["sales"])
    return out | {"largest_basket": np.log1p(largest)}


def category(past: Window, vocabulary: Vocabulary) -> Columns:
    """Dollars by product category and department, and how varied the basket is."""
    out = {}
    for key, num, days in (("category", 48, 180), ("department", 16, MONTH)):
        recent = past.last(days)
        place = vocabulary.place(key, num)[recent.lines[key]]
        sums = np.log1p(total(recent.lines, past.size, "sales", place, num))
        for column, name in enumerate(vocabulary.names(key, num)):
            out[f"{key}_{days}d:{name}"] = sums[:, column]
    for key in ("category", "department"):
        num = len(past.purchases.names[key])
        counts = total(past.lines, past.size, key=past.lines[key].to_numpy(), num=num)
        out[f"{key}_entropy"] = entropy(counts)
        out[f"{key}_distinct"] = np.log1p((counts > 0).sum(1))
    return out


def department_share(past: Window, vocabulary: Vocabulary) -> Columns:
    """Shares of the lines by department: eleven and all others; rows sum to one."""
    place = vocabulary.place("department", 11)[past.lines["department"]]
    place = np.where(place < 0, 11, place)
    counts = total(past.lines, past.size, key=place, num=12)
    shares = share(counts, counts.sum(1, keepdims=True))
    names = [*vocabulary.names("department", 11), "other"]
    return {f"share:{name}": shares[:, i] for i, name in enumerate(names)}


def part_of_week(day: Codes, hour: Codes) -> Codes:
    """Weekday (0 Sunday .. 6) x part of the day (to 11, 15, 19, 24 h): 0 .. 27."""
    return day % 7 * 4 + np.searchsorted([11, 15, 19], hour, side="right")


def week_share(past: Window, _: Vocabulary) -> Columns:
    """Shares of the visits by weekday and part of the day; rows sum to one."""
    frame = past.baskets
    cell = part_of_week(frame["day"].to_numpy(), frame["hour"].to_numpy())
    counts = total(frame, past.size, key=cell, num=28)
    shares = share(counts, counts.sum(1, keepdims=True))
    return {f"visits:{d}_{p}": shares[:, 4 * d + p] for d in range(7) for p in range(4)}


def trend(
    past: Window, _: Vocabulary, shares: tuple[str, ...] = ("discount",)
) -> Columns:
    """Visits and dollars of six months, and visits of eight weeks.

    Of each column of the baskets in ``shares`` the share of the list price, by month.
    """
    out: Columns = {}
    spend = []
    for month in range(6):
        stop = past.stop - month * MONTH
        then = Window(past.purchases, stop - MONTH, stop)
        sales = then.baskets_sum("sales")
        spend.append(np.log1p(sales))
        out[f"baskets_month_{month}"] = np.log1p(then.baskets_sum())
        out[f"spend_month_{month}"] = spend[-1]
        for name in shares:
            off = then.baskets_sum(name)
            out[f"{name}_month_{month}"] = share(off, sales + off)
    for week in range(8):
        stop = past.stop - week * 7
        then = Window(past.purchases, stop - 7, stop)
        out[f"baskets_week_{week}"] = np.log1p(then.baskets_sum())
    out["spend_change_month"] = spend[0] - spend[1]
    out["spend_change_quarter"] = np.mean(spend[:3], 0) - np.mean(spend[3:], 0)
    out["spend_slope"] = np.polyfit(np.arange(0, -6, -1), np.stack(spend), 1)[0]
    out["spend_spread"] = np.std(spend, axis=0)
    return out


Block = Callable[[Window, Vocabulary], Columns]
