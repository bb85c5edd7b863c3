"""Numeric and categorical columns of a customer at a cut-off, from the past alone.

Recency, frequency and money, kinds of goods, hours of the week and the course of half a
year are the journey's blocks; what an order is like and which products it holds is
counted here. Money and counts enter as log(1 + x).
"""

import numpy as np
import pandas as pd

from ple_study.data.journey import features as basic
from ple_study.data.journey.features import (
    MONTH,
    Block,
    Columns,
    Vocabulary,
    part_of_week,
    share,
)
from ple_study.data.journey.habits import distinct, named
from ple_study.data.journey.windows import Window, total
from ple_study.data.retail.tables import returned

WINDOWS = (MONTH, 91, 180)  # days
PRODUCTS = 24  # that have a column
PROBABILITY = ("department_share", "time")  # blocks whose rows sum to one
PERSON = ("country",)


def trend(past: Window, vocabulary: Vocabulary) -> Columns:
    """Orders and pounds of six months, and orders of eight weeks."""
    return basic.trend(past, vocabulary, shares=())


def order(past: Window, _: Vocabulary) -> Columns:
    """How large an order is, at what price a piece, and how broad.

    A wholesaler buys many pieces of few products at a low price.
    """
    out = {}
    for days in WINDOWS:
        recent = past.last(days)
        lines, pieces = recent.lines_sum(), recent.lines_sum("quantity")
        out[f"pieces_{days}d"] = np.log1p(pieces)
        out[f"basket_lines_{days}d"] = np.log1p(share(lines, recent.baskets_sum()))
        out[f"line_pieces_{days}d"] = np.log1p(share(pieces, lines))
        out[f"price_{days}d"] = np.log1p(share(recent.lines_sum("sales"), pieces))
        products = distinct(recent, "product")
        out[f"products_{days}d"] = np.log1p(products)
        out[f"product_variety_{days}d"] = share(products, lines)
    return out


def returns(past: Window, _: Vocabulary) -> Columns:
    """Goods taken back: lines and pounds, also as a share of all that moved."""
    out = {}
    for days in WINDOWS:
        recent = past.last(days)
        back = returned(recent)
        money, paid = total(back, past.size, "sales"), recent.lines_sum("sales")
        out[f"returned_lines_{days}d"] = np.log1p(total(back, past.size))
        out[f"returned_{days}d"] = np.log1p(money)
        out[f"returned_share_{days}d"] = share(money, money + paid)
    return out


def product(past: Window, vocabulary: Vocabulary) -> Columns:
    """Pounds by product, of those that sold for the most."""
    place = vocabulary.place("product", PRODUCTS)[past.lines["product"]]
    sums = np.log1p(total(past.lines, past.size, "sales", place, PRODUCTS))
    names = vocabulary.names("product", PRODUCTS)
    return {f"product:{name}": sums[:, i] for i, name in enumerate(names)}


BLOCKS: dict[str, Block] = {
    "rfm": basic.rfm,
    "category": basic.category,
    "department_share": basic.department_share,
    "time": basic.week_share,
    "trend": trend,
    "order": order,
    "returns": returns,
    "product": product,
}


def numeric(past: Window, vocabulary: Vocabulary) -> dict[str, Columns]:
    """Every numeric column by group, each ``[customers]``."""
    return {group: block(past, vocabulary) for group, block in BLOCKS.items()}


def categories(past: Window) -> pd.DataFrame:
    """Text columns, one row a customer: the country of the last order, and habits.

    The usual part of the week, the kind and the finer kind of the most pounds, and the
    kind of the last order.
    """
    baskets, lines, names = past.baskets, past.lines, past.purchases.names
    out = {}
    for column, key in (("country", "country"), ("last_department", "department")):
        last = np.full(past.size, -1)
        last[baskets["household"]] = baskets[key]
        out[column] = named(names[key], last)
    cell = part_of_week(baskets["day"].to_numpy(), baskets["hour"].to_numpy())
    cells = total(baskets, past.size, key=cell, num=28)
    out["usual_time"] = np.where(cells.any(1), cells.argmax(1), -1)
    for key in ("department", "category"):
        num = len(names[key])
        sums = total(lines, past.size, "sales", lines[key].to_numpy(), num)
        best = np.where(sums.any(1), sums.argmax(1), -1)
        out[f"top_{key}"] = named(names[key], best)
    return pd.DataFrame(out)
