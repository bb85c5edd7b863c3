"""Other futures for the households: every event from a day on shifted, gone or larger.

Each takes raw tables and a day, and answers tables that agree before that day.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

Tables = Mapping[str, pd.DataFrame]
YEAR = 365
ORIGIN = pd.Timestamp("2017-01-01")
DAY = pd.Timedelta(days=1)


def after(raw: Tables, day: int) -> np.ndarray:
    """Which lines lie on or after this day, on the shop's own clock."""
    stamp = raw["transactions"]["transaction_timestamp"]
    local = stamp.dt.tz_localize("UTC").dt.tz_convert("America/New_York")
    return (local.dt.tz_localize(None) >= ORIGIN + day * DAY).to_numpy()


def shifted(raw: Tables, day: int) -> dict[str, pd.DataFrame]:
    """By nine days; what would leave the year comes back just after ``day``."""
    lines, late = raw["transactions"], after(raw, day)
    ahead = lines["transaction_timestamp"] + 9 * DAY
    gone = ahead >= ORIGIN + YEAR * DAY
    # A day more, for the hour that the clocks go back.
    ahead = ahead.where(~gone, ahead - (YEAR - day - 1) * DAY)
    coupons = raw["coupon_redemptions"]
    dates = coupons["redemption_date"]
    late_dates = dates >= ORIGIN + day * DAY
    latest = ORIGIN + (YEAR - 1) * DAY
    starts = raw["campaign_descriptions"]
    new = starts["start_date"] >= ORIGIN + day * DAY
    return {
        **raw,
        "transactions": lines.assign(
            transaction_timestamp=lines["transaction_timestamp"].where(~late, ahead)
        ),
        "coupon_redemptions": coupons.assign(
            redemption_date=dates.where(
                ~late_dates, (dates + 9 * DAY).clip(upper=latest)
            )
        ),
        "campaign_descriptions": starts.assign(
            start_date=starts["start_date"].where(~new, starts["start_date"] + 9 * DAY)
        ),
    }


def deleted(raw: Tables, day: int) -> dict[str, pd.DataFrame]:
    """All of them gone."""
    start = ORIGIN + day * DAY
    coupons, starts = raw["coupon_redemptions"], raw["campaign_descriptions"]
    return {
        **raw,
        "transactions": raw["transactions"][~after(raw, day)],
        "coupon_redemptions": coupons[coupons["redemption_date"] < start],
        "campaign_descriptions": starts[starts["start_date"] < start],
    }


def multiplied(raw: Tables, day: int) -> dict[str, pd.DataFrame]:
    """Three times the money, and every coupon handed in twice."""
    lines, late = raw["transactions"], after(raw, day)
    columns = ["sales_value", "retail_disc", "coupon_disc"]
    larger = {c: lines[c] * np.where(late, 3.0, 1.0) + late for c in columns}
    coupons = raw["coupon_redemptions"]
    again = coupons[coupons["redemption_date"] >= ORIGIN + day * DAY]
    return {
        **raw,
        "transactions": lines.assign(**larger),
        "coupon_redemptions": pd.concat([coupons, again]),
    }


FUTURES: dict[str, Callable[[Tables, int], dict[str, pd.DataFrame]]] = {
    "shifted": shifted,
    "deleted": deleted,
    "multiplied": multiplied,
}
