"""The orders of 5,942 real customers in two years, coded and sorted by time.

Online Retail II (see ``files``). Day 0 is Sunday 2009-11-29, so that the weekday of a
day is its remainder by seven, 0 for Sunday; the file begins on day 2 and ends at noon
of day 740, 2011-12-09. Money is in pounds.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from ple_study.data.columns import check_names
from ple_study.data.journey.clouds import main_category
from ple_study.data.journey.tables import Codes, Purchases, baskets, coded, days
from ple_study.data.journey.windows import Window, between
from ple_study.data.retail.files import COLUMNS, table
from ple_study.data.retail.kinds import Kinds

ORIGIN = pd.Timestamp("2009-11-29")
STOP = 741  # the day after the last
LEARNT = 260  # kinds are learned before this day, the first cut-off
PRODUCT = r"\d{5}"  # what a product's code begins with; postage, fees, tests do not
FIRST = ("stamp", "day", "hour", "household", "country")
SERVICES = ("23444", "23574")  # next-day carriage and packing, coded like products
Names = dict[str, npt.NDArray[np.object_]]


@dataclass(frozen=True)
class Orders(Purchases):
    """The purchases of a shop that takes goods back. ``household`` is the customer.

    lines: one row a product in an order: day, hour, basket (a code of the invoice);
    the codes of household, product, department (its kind), category (its finer kind,
    see ``kinds``), type (the product again), -1 where not known; quantity in pieces,
    sales in pounds, stamp.
    baskets: one row an invoice: day, hour, household, country, department (the kind of
    the most pounds), num_lines, and sums of quantity and sales.
    returns: household, day, the pieces (quantity) and pounds (sales) of a line of goods
    taken back, both above zero, and its product.
    mailings, redemptions and demographics are empty: there is no campaign, no coupon
    and no survey.
    """

    returns: pd.DataFrame


def read(lines: pd.DataFrame | None = None, stop: int = STOP) -> Orders:
    """Read the two years from their file, or take ``lines`` (raw) in their place.

    Left out are guests (no CustomerID), lines that are no product, such as postage and
    adjustments, and lines at the price 0. A line of less than zero pieces is a return.
    A line that repeats another one stays: nothing says that it was not ordered.

    Raises ValueError where a column of ``files.COLUMNS`` is missing, for a line dated
    before ``ORIGIN`` or on day ``stop`` or later, and where something is sold on a
    cancelled invoice, whose number begins with C, or on none.
    """
    raw = table() if lines is None else lines
    check_names(raw.columns, COLUMNS)
    if not raw["InvoiceDate"].is_monotonic_increasing:
        raw = raw.sort_values("InvoiceDate", kind="stable")
    raw = raw[raw["CustomerID"].notna()]
    frame, names = _coded(raw, days(raw, "InvoiceDate", stop, ORIGIN))
    goods = frame["product"] >= 0
    sold = goods & (frame["quantity"] > 0) & (frame["sales"] > 0)
    back = frame[goods & (frame["quantity"] < 0)]
    back = back.assign(quantity=-back["quantity"], sales=-back["sales"])
    _check(raw["InvoiceNo"][sold.to_numpy()])
    kept, kinds = _with_kinds(frame[sold].reset_index(drop=True))
    return _orders(kept, back, names | kinds)


def _coded(raw: pd.DataFrame, day: Codes) -> tuple[pd.DataFrame, Names]:
    """The lines with codes; the product is -1 where the line is none."""
    code = raw["StockCode"].str.upper()
    goods = code.str.match(PRODUCT, na=False) & ~code.isin(SERVICES)
    household, customers = coded(raw["CustomerID"].astype("int64"))
    product, products = coded(code.where(goods))
    country, countries = coded(raw["Country"])
    pieces = raw["Quantity"].to_numpy(np.float64)
    values = {
        "day": day,
        "hour": raw["InvoiceDate"].dt.hour.to_numpy(np.int64),
        "basket": coded(raw["InvoiceNo"])[0],
        "household": household,
        "country": country,
        "product": product,
        "type": product,
        "quantity": pieces,
        "sales": pieces * raw["UnitPrice"].to_numpy(np.float64),
        "stamp": raw["InvoiceDate"].to_numpy(),
        "text": raw["Description"].to_numpy(object),
    }
    names = {"household": customers, "product": products, "type": products}
    return pd.DataFrame(values), names | {"country": countries}


def _check(invoice: pd.Series) -> None:
    wrong = invoice.isna() | invoice.str.startswith("C").fillna(False).astype(bool)
    if wrong.any():
        raise ValueError(
            "An order of more than zero pieces needs the number of an invoice that is "
            f"not cancelled. Found {invoice[wrong].iloc[0]} in {wrong.sum()} lines."
        )


def _with_kinds(lines: pd.DataFrame) -> tuple[pd.DataFrame, Names]:
    """The lines with the kinds of their products, by each one's first description."""
    first = lines.drop_duplicates("product")
    kinds = Kinds.fit(first["text"][first["day"] < LEARNT])
    found = pd.DataFrame([kinds.of(text) for text in first["text"]], dtype=object)
    place = pd.Index(first["product"]).get_indexer(lines["product"])
    codes, names = {}, {}
    for column, key in enumerate(("department", "category")):
        code, names[key] = coded(found[column])
        codes[key] = code[place]
    return lines.drop(columns="text").assign(**codes), names


def _orders(lines: pd.DataFrame, back: pd.DataFrame, names: Names) -> Orders:
    orders = Orders(
        lines=lines,
        baskets=baskets(lines, first=FIRST, sums=("quantity", "sales")),
        mailings=pd.DataFrame({"household": [], "day": []}),
        redemptions=pd.DataFrame({"household": [], "day": []}),
        demographics=pd.DataFrame(index=range(len(names["household"]))),
        names=names,
        returns=back[["day", "household", "product", "quantity", "sales"]],
    )
    kind = main_category(orders) // (len(names["category"]) + 1) - 1
    return replace(orders, baskets=orders.baskets.assign(department=kind))


def returned(window: Window) -> pd.DataFrame:
    """The returns of a window's days. TypeError where these are no ``Orders``."""
    if not isinstance(window.purchases, Orders):
        raise TypeError(f"Orders are needed. Found {type(window.purchases).__name__}.")
    return between(window.purchases.returns, window.start, window.stop)
