"""Feature columns against plain loops over the raw lines of a few households."""

import math
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from ple_study.data.journey.features import Vocabulary, entropy, share
from ple_study.data.journey.habits import categories, numeric
from ple_study.data.journey.snapshots import Snapshot, snapshots
from ple_study.data.journey.tables import Purchases

CUTOFF, FITTED = 309, 253
WINDOWS = (7, 14, 28, 56, 91, 180)
log1p = math.log1p


class Home(NamedTuple):
    """A household's raw lines, one line a basket, and mail, before the cut-off."""

    lines: pd.DataFrame
    baskets: pd.DataFrame
    mail: pd.DataFrame
    redeemed: pd.DataFrame

    def last(self, days: int) -> "Home":
        lines, baskets = (
            frame[frame["day"] >= CUTOFF - days] for frame in (self.lines, self.baskets)
        )
        return self._replace(lines=lines, baskets=baskets)


def part(a: float, b: float) -> float:
    return a / b if b > 0 else 0.0


def disorder(counts: Counter[object]) -> float:
    total = sum(counts.values())
    return -sum(n / total * math.log(n / total) for n in counts.values())


def rfm(home: Home) -> dict[str, float]:
    out = {"recency": log1p(CUTOFF - 1 - max(home.lines["day"]))}
    for days in WINDOWS:
        now = home.last(days)
        visits, dollars = len(now.baskets), sum(now.lines["sales_value"])
        out[f"baskets_{days}d"] = log1p(visits)
        out[f"days_{days}d"] = log1p(len(set(now.lines["day"])))
        out[f"lines_{days}d"] = log1p(len(now.lines))
        out[f"spend_{days}d"] = log1p(dollars)
        out[f"basket_spend_{days}d"] = log1p(part(dollars, visits))
    days_on = sorted(set(home.lines["day"]))
    gaps = [b - a for a, b in pairwise(days_on)] or [0]
    out["gap_num"] = log1p(len(days_on) - 1)
    out["gap_last"], out["gap_longest"] = log1p(gaps[-1]), log1p(max(gaps))
    out["gap_mean"], out["gap_std"] = log1p(np.mean(gaps)), log1p(np.std(gaps))
    sums = home.lines.groupby("basket_id")["sales_value"].sum()
    return out | {"largest_basket": log1p(sums.max())}


def variety(home: Home) -> dict[str, float]:
    out = {}
    for name, key in (("category", "product_category"), ("department", "department")):
        counts = Counter(home.lines[key].dropna())
        out[f"{name}_entropy"] = disorder(counts)
        out[f"{name}_distinct"] = log1p(len(counts))
    return out


def trend(home: Home) -> dict[str, float]:
    out, logs = {}, []
    for month in range(6):
        age = CUTOFF - 1 - home.lines["day"]
        now = home.lines[(age >= 28 * month) & (age < 28 * month + 28)]
        dollars, off = sum(now["sales_value"]), sum(now["retail_disc"])
        logs.append(log1p(dollars))
        out[f"baskets_month_{month}"] = log1p(now["basket_id"].nunique())
        out[f"spend_month_{month}"] = log1p(dollars)
        out[f"discount_month_{month}"] = part(off, dollars + off)
    for week in range(8):
        age = CUTOFF - 1 - home.baskets["day"]
        out[f"baskets_week_{week}"] = log1p(sum((age // 7) == week))
    out["spend_change_month"] = logs[0] - logs[1]
    out["spend_change_quarter"] = sum(logs[:3]) / 3 - sum(logs[3:]) / 3
    months = -np.arange(6.0)
    out["spend_slope"] = np.cov(months, logs)[0, 1] / np.var(months, ddof=1)
    return out | {"spend_spread": float(np.std(logs))}


def coupon(home: Home) -> dict[str, float]:
    out = {}
    for days in (28, 91, 180):
        now = home.last(days)
        dollars, off = sum(now.lines["sales_value"]), sum(now.lines["retail_disc"])
        used = now.lines[now.lines["coupon_disc"] > 0]["basket_id"].nunique()
        out[f"coupon_money_{days}d"] = log1p(sum(now.lines["coupon_disc"]))
        out[f"coupon_baskets_{days}d"] = part(used, len(now.baskets))
        out[f"discount_{days}d"] = log1p(off)
        out[f"discount_share_{days}d"] = part(off, dollars + off)
        lower = sum(now.lines["retail_disc"] > 0)
        out[f"discount_lines_{days}d"] = part(lower, len(now.lines))
    for days in (91, 180):
        recent = home.redeemed["day"].between(CUTOFF - days, CUTOFF - 1)
        out[f"redeemed_{days}d"] = log1p(sum(recent))
    mail = home.mail[home.mail["start"] < CUTOFF]
    for kind in "ABC":
        out[f"campaigns_{kind}"] = log1p(sum(mail["campaign_type"] == f"Type {kind}"))
    left = [end - CUTOFF + 1 for end in mail["end"] if end >= CUTOFF]
    out["campaigns_running"] = log1p(len(left))
    return out | {"campaign_days_left": log1p(max(left, default=0))}


def store(home: Home) -> dict[str, float]:
    visits = Counter(home.baskets["store_id"])
    best = min(s for s, n in visits.items() if n == max(visits.values()))
    out = {}
    for days in (28, 91, 180):
        now = home.last(days)
        counts = Counter(now.baskets["store_id"])
        local = now.lines[now.lines["store_id"] == best]
        out[f"stores_{days}d"] = log1p(len(counts))
        out[f"store_entropy_{days}d"] = disorder(counts)
        out[f"home_share_{days}d"] = part(counts[best], len(now.baskets))
        out[f"home_baskets_{days}d"] = log1p(counts[best])
        out[f"home_spend_share_{days}d"] = part(
            sum(local["sales_value"]), sum(now.lines["sales_value"])
        )
    return out


def brand(home: Home) -> dict[str, float]:
    out = {}
    for days in (28, 91, 180):
        lines = home.last(days).lines
        out[f"private_{days}d"] = part(sum(lines["brand"] == "Private"), len(lines))
        for name, key in (
            ("product", "product_id"),
            ("manufacturer", "manufacturer_id"),
        ):
            distinct = len(set(lines[key].fillna(-1)))
            out[f"{name}s_{days}d"] = log1p(distinct)
            out[f"{name}_variety_{days}d"] = part(distinct, len(lines))
    return out


def named(home: Home) -> dict[str, float]:
    """Columns that carry a name: dollars, or shares, by what was bought and when."""
    out = {}
    for key, column, days in (
        ("category_180d", "product_category", 180),
        ("department_28d", "department", 28),
        ("maker", "manufacturer_id", 180),
    ):
        for name, group in home.last(days).lines.groupby(column):
            out[f"{key}:{name}"] = log1p(sum(group["sales_value"]))
    for name, group in home.lines.groupby("department"):
        out[f"share:{name}"] = len(group) / len(home.lines)
    for time in home.baskets["time"]:
        parts = sum(time.hour >= hour for hour in (11, 15, 19))
        cell = f"visits:{time.isoweekday() % 7}_{parts}"
        out[cell] = out.get(cell, 0) + 1 / len(home.baskets)
    return out


@pytest.fixture(scope="module")
def shot(purchases: Purchases) -> Snapshot:
    return next(s for s in snapshots(purchases) if s.cutoff == CUTOFF)


@pytest.fixture(scope="module")
def columns(shot: Snapshot) -> dict[str, np.ndarray]:
    blocks = numeric(shot.past, shot.vocabulary)
    return {name: x for block in blocks.values() for name, x in block.items()}


@pytest.fixture(scope="module")
def homes(
    raw: Mapping[str, pd.DataFrame],
    lines: pd.DataFrame,
    shot: Snapshot,
    purchases: Purchases,
) -> dict[int, Home]:
    days = {"start": "start_date", "end": "end_date"}
    origin = pd.Timestamp("2017-01-01")
    mail = raw["campaigns"].merge(raw["campaign_descriptions"])
    mail = mail.assign(**{k: (mail[v] - origin).dt.days for k, v in days.items()})
    redeemed = raw["coupon_redemptions"]
    redeemed = redeemed.assign(day=(redeemed["redemption_date"] - origin).dt.days)
    built = {}
    for code in np.random.default_rng(1).choice(shot.households, 12, replace=False):
        key = purchases.names["household"][code]
        own = lines[(lines["household_id"] == key) & (lines["day"] < CUTOFF)]
        own = own[own["day"] >= CUTOFF - 180].sort_values("time")
        built[int(code)] = Home(
            own,
            own.drop_duplicates("basket_id"),
            mail[mail["household_id"] == key],
            redeemed[redeemed["household_id"] == key],
        )
    return built


@pytest.mark.parametrize(
    "definition", [rfm, variety, trend, coupon, store, brand], ids=lambda f: f.__name__
)
def test_columns_are_what_plain_loops_say(
    definition: "object", homes: dict[int, Home], columns: dict[str, np.ndarray]
) -> None:
    for code, home in homes.items():
        wanted = definition(home)  # type: ignore[operator]
        found = {name: columns[name][code] for name in wanted}
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_columns_with_names_are_what_plain_loops_say(
    homes: dict[int, Home], columns: dict[str, np.ndarray]
) -> None:
    kinds = ("category_180d:", "department_28d:", "maker:", "share:", "visits:")
    ours = [name for name in columns if name.startswith(kinds) and "other" not in name]
    assert len(ours) == 48 + 16 + 24 + 11 + 28
    for code, home in homes.items():
        wanted = named(home)
        found = {name: columns[name][code] for name in ours}
        assert found == pytest.approx({name: wanted.get(name, 0.0) for name in ours})


def test_every_column_is_checked_by_some_loop(
    homes: dict[int, Home], columns: dict[str, np.ndarray]
) -> None:
    home = next(iter(homes.values()))
    checked = {n for f in (rfm, variety, trend, coupon, store, brand) for n in f(home)}
    rest = {name for name in columns if ":" not in name} - checked
    assert not rest


def test_habits_are_what_plain_loops_say(
    homes: dict[int, Home], shot: Snapshot
) -> None:
    table = categories(shot.past)
    for code, home in homes.items():
        visits = Counter(home.baskets["store_id"])
        best = min(s for s, n in visits.items() if n == max(visits.values()))
        assert table["home_store"][code] == str(best)
        assert table["last_store"][code] == str(home.baskets["store_id"].iloc[-1])
        for name, key in (
            ("department", "department"),
            ("category", "product_category"),
        ):
            dollars = home.lines.groupby(key)["sales_value"].sum()
            assert table[f"top_{name}"][code] == dollars.idxmax()
        cells = Counter(
            time.isoweekday() % 7 * 4 + sum(time.hour >= h for h in (11, 15, 19))
            for time in home.baskets["time"]
        )
        assert table["usual_time"][code] == min(
            cell for cell, n in cells.items() if n == max(cells.values())
        )


def test_vocabulary_ranks_by_the_sales_before_a_day(
    purchases: Purchases, lines: pd.DataFrame
) -> None:
    vocabulary = Vocabulary.fit(purchases, FITTED)
    dollars = lines[lines["day"] < FITTED].groupby("department")["sales_value"].sum()
    wanted = list(dollars.drop("GROCERY").nlargest(5).index)
    assert vocabulary.names("department", 5, skip=("GROCERY",)) == wanted
    place = vocabulary.place("department", 5, skip=("GROCERY",))
    codes = vocabulary.chosen("department", 5, skip=("GROCERY",))
    assert list(place[codes]) == [0, 1, 2, 3, 4]
    assert place[-1] == -1  # the code of a product that is not listed
    assert (place >= 0).sum() == 5


def test_share_and_entropy_of_nothing_are_zero() -> None:
    counts = np.array([[0.0, 0.0], [1.0, 1.0], [4.0, 0.0]])
    np.testing.assert_allclose(entropy(counts), [0, math.log(2), 0])
    np.testing.assert_allclose(share(counts, counts.sum(1, keepdims=True))[0], 0)
