"""The coded tables against the raw ones, and what may not be in them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from ple_study.data.journey.tables import Purchases, read

Tables = Mapping[str, pd.DataFrame]


def test_lines_are_the_raw_ones_in_local_time(
    purchases: Purchases, lines: pd.DataFrame
) -> None:
    ours = purchases.lines
    assert len(ours) == len(lines) == 1_469_307
    assert (ours["day"].min(), ours["day"].max()) == (0, 364)
    np.testing.assert_array_equal(ours["day"], lines["day"])
    np.testing.assert_array_equal(ours["hour"], lines["time"].dt.hour)
    for ours_name, name in {
        "household": "household_id",
        "store": "store_id",
        "product": "product_id",
        "department": "department",
        "category": "product_category",
        "manufacturer": "manufacturer_id",
    }.items():
        code = ours[ours_name].to_numpy()
        known = code >= 0
        np.testing.assert_array_equal(known, lines[name].notna())
        decoded = purchases.names[ours_name][code[known]]
        assert (decoded == lines[name][known].to_numpy(object)).all()
    for ours_name, name in {
        "sales": "sales_value",
        "discount": "retail_disc",
        "coupon": "coupon_disc",
    }.items():
        np.testing.assert_array_equal(ours[ours_name], lines[name])
    np.testing.assert_array_equal(ours["private"], lines["brand"] == "Private")


def test_baskets_are_sums_of_lines_in_order_of_time(
    purchases: Purchases, lines: pd.DataFrame
) -> None:
    ours = purchases.baskets
    assert len(ours) == 155_848
    assert ours["stamp"].is_monotonic_increasing
    groups = lines.groupby("basket_id")
    wanted = groups[["sales_value", "retail_disc", "coupon_disc"]].sum()
    found = ours.set_index("basket")[["sales", "discount", "coupon"]].sort_index()
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    sizes = ours.set_index("basket")["num_lines"].sort_index()
    np.testing.assert_array_equal(sizes, groups.size())


def test_order_of_the_files_does_not_matter(raw: Tables, purchases: Purchases) -> None:
    lines = raw["transactions"]
    head = lines.iloc[:2000].iloc[::-1]
    shuffled = {**raw, "transactions": pd.concat([head, lines.iloc[2000:]])}
    assert read(shuffled).baskets["stamp"].equals(purchases.baskets["stamp"])


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("transactions", "transaction_timestamp"),
        ("coupon_redemptions", "redemption_date"),
    ],
)
def test_a_date_past_the_end_is_refused(raw: Tables, table: str, column: str) -> None:
    frame = raw[table].tail(100).copy()
    frame.iloc[-1, frame.columns.get_loc(column)] = pd.Timestamp("2018-01-02")
    small = {**raw, "transactions": raw["transactions"].tail(100), table: frame}
    with pytest.raises(
        ValueError, match=rf"Column '{column}' must lie from 2017-01-01"
    ):
        read(small)


def test_tables_to_be_scored_at_a_cutoff_must_end_there(raw: Tables) -> None:
    day = pd.Timestamp("2017-08-14 04:00")  # midnight of day 225, in UTC
    lines, coupons = raw["transactions"], raw["coupon_redemptions"]
    past = {
        **raw,
        "transactions": lines[lines["transaction_timestamp"] < day],
        "coupon_redemptions": coupons[coupons["redemption_date"] < day.normalize()],
    }
    assert read(past, stop=225).lines["day"].max() == 224
    with pytest.raises(ValueError, match=r"'transaction_timestamp'.*before 2017-08-13"):
        read(past, stop=224)


def test_clocks_go_forward_and_back(raw: Tables, purchases: Purchases) -> None:
    stamp = raw["transactions"]["transaction_timestamp"].drop_duplicates()
    local = stamp.dt.tz_localize("UTC").dt.tz_convert("America/New_York")
    shift = (stamp - local.dt.tz_localize(None)) / pd.Timedelta(hours=1)
    assert set(shift) == {4.0, 5.0}
    ours = purchases.lines["stamp"].iloc[stamp.index]
    hours = (stamp.to_numpy() - ours.to_numpy()) / np.timedelta64(1, "h")
    np.testing.assert_array_equal(hours, shift)
