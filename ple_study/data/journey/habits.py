"""Columns on coupons, stores and brands, and the categorical ones (see features)."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from ple_study.data.journey import features as basic
from ple_study.data.journey.features import (
    MONTH,
    Block,
    Columns,
    Vocabulary,
    entropy,
    part_of_week,
    share,
)
from ple_study.data.journey.tables import Array, Codes
from ple_study.data.journey.windows import Window, total

PERSON = (
    "income",
    "home_ownership",
    "marital_status",
    "household_size",
    "household_comp",
    "kids_count",
)


def coupon(past: Window, _: Vocabulary) -> Columns:
    """Coupons and discounts used, campaigns received and coupons handed in."""
    out = {}
    for days in (MONTH, 91, 180):
        recent = past.last(days)
        sales, discount = recent.lines_sum("sales"), recent.lines_sum("discount")
        used = recent.baskets[recent.baskets["coupon"] > 0]
        out[f"coupon_money_{days}d"] = np.log1p(recent.lines_sum("coupon"))
        out[f"coupon_baskets_{days}d"] = share(
            total(used, past.size), recent.baskets_sum()
        )
        out[f"discount_{days}d"] = np.log1p(discount)
        out[f"discount_share_{days}d"] = share(discount, sales + discount)
        bought = recent.lines[recent.lines["discount"] > 0]
        out[f"discount_lines_{days}d"] = share(
            total(bought, past.size), recent.lines_sum()
        )
    return out | campaigns(past)


def campaigns(past: Window) -> Columns:
    """Campaigns begun before the cut-off, whose planned end is known, and coupons."""
    mailed = past.purchases.mailings
    mailed = mailed[mailed["day"] < past.stop]
    running = mailed[mailed["end"] >= past.stop]
    out = {}
    for kind, name in enumerate("ABC"):
        chosen = mailed[mailed["kind"] == kind]
        out[f"campaigns_{name}"] = np.log1p(total(chosen, past.size))
    out["campaigns_running"] = np.log1p(total(running, past.size))
    redeemed = past.purchases.redemptions
    for days in (91, 180):
        recent = redeemed["day"].between(past.stop - days, past.stop - 1)
        out[f"redeemed_{days}d"] = np.log1p(total(redeemed[recent], past.size))
    left = np.zeros(past.size)
    np.maximum.at(left, running["household"], running["end"] - past.stop + 1.0)
    return out | {"campaign_days_left": np.log1p(left)}


def home_store(past: Window) -> Codes:
    """Code of the store with the most baskets, the smallest code first; -1 if none."""
    num = len(past.purchases.names["store"])
    counts = total(
        past.baskets, past.size, key=past.baskets["store"].to_numpy(), num=num
    )
    return np.where(counts.any(1), counts.argmax(1), -1)


def store(past: Window, _: Vocabulary) -> Columns:
    """How many stores, how loyal, and how the favourite is doing of late."""
    num = len(past.purchases.names["store"])
    home = home_store(past)
    out = {}
    for days in (MONTH, 91, 180):
        recent = past.last(days)
        frame = recent.baskets
        counts = total(frame, past.size, key=frame["store"].to_numpy(), num=num)
        at_home = counts[np.arange(past.size), home]
        out[f"stores_{days}d"] = np.log1p((counts > 0).sum(1))
        out[f"store_entropy_{days}d"] = entropy(counts)
        out[f"home_share_{days}d"] = share(at_home, counts.sum(1))
        out[f"home_baskets_{days}d"] = np.log1p(at_home)
        local = frame[frame["store"].to_numpy() == home[frame["household"]]]
        dollars = share(total(local, past.size, "sales"), recent.baskets_sum("sales"))
        out[f"home_spend_share_{days}d"] = dollars
    return out


def brand(past: Window, vocabulary: Vocabulary) -> Columns:
    """Makers and products: dollars, variety, and the retailer's own brand."""
    out = {}
    place = vocabulary.place("manufacturer", 24)[past.lines["manufacturer"]]
    sums = np.log1p(total(past.lines, past.size, "sales", place, 24))
    for column, name in enumerate(vocabulary.names("manufacturer", 24)):
        out[f"maker:{name}"] = sums[:, column]
    for days in (MONTH, 91, 180):
        recent = past.last(days)
        out[f"private_{days}d"] = share(recent.lines_sum("private"), recent.lines_sum())
        for key in ("product", "manufacturer"):
            kinds = distinct(recent, key)
            out[f"{key}s_{days}d"] = np.log1p(kinds)
            out[f"{key}_variety_{days}d"] = share(kinds, recent.lines_sum())
    return out


def distinct(window: Window, key: str) -> Array:
    """How many different codes each household has in its lines."""
    num = len(window.purchases.names[key]) + 1  # one for those not known
    lines = window.lines
    pair = lines["household"].to_numpy() * num + lines[key].to_numpy() % num
    found = np.bincount(pd.unique(pair) // num, minlength=window.size)
    return found.astype(np.float64)


BLOCKS: dict[str, Block] = {
    "rfm": basic.rfm,
    "category": basic.category,
    "department_share": basic.department_share,
    "time": basic.week_share,
    "trend": basic.trend,
    "coupon": coupon,
    "store": store,
    "brand": brand,
}
PROBABILITY = ("department_share", "time")  # blocks whose rows sum to one


def numeric(past: Window, vocabulary: Vocabulary) -> dict[str, Columns]:
    """Every numeric column by group, each ``[households]``."""
    return {group: block(past, vocabulary) for group, block in BLOCKS.items()}


def categories(past: Window) -> pd.DataFrame:
    """Text columns, one row a household: who it is (NaN where not known), and habits.

    The home store, the last store, the usual part of the week, the department and the
    category of the most dollars. Age is a task and no column here.
    """
    baskets, lines, names = past.baskets, past.lines, past.purchases.names
    last = np.full(past.size, -1)
    last[baskets["household"]] = baskets["store"]
    cell = part_of_week(baskets["day"].to_numpy(), baskets["hour"].to_numpy())
    cells = total(baskets, past.size, key=cell, num=28)
    out = past.purchases.demographics[list(PERSON)].copy()
    out["home_store"] = named(names["store"], home_store(past))
    out["last_store"] = named(names["store"], last)
    out["usual_time"] = np.where(cells.any(1), cells.argmax(1), -1)
    for key in ("department", "category"):
        num = len(names[key])
        sums = total(lines, past.size, "sales", lines[key].to_numpy(), num)
        best = np.where(sums.any(1), sums.argmax(1), -1)
        out[f"top_{key}"] = named(names[key], best)
    return out


def named(names: npt.NDArray[np.object_], code: Codes) -> npt.NDArray[np.object_]:
    """The text behind each code; None behind -1."""
    texts = np.array([*(str(name) for name in names), None], dtype=object)
    found: npt.NDArray[np.object_] = texts[code]
    return found
