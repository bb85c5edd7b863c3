"""The two series of a household against plain loops, and the laws of their padding."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
import torch

from ple_study.data.journey.snapshots import snapshots
from ple_study.data.journey.tables import Purchases
from ple_study.data.loader import Study

CUTOFF = 197  # the first snapshot, so its rows come first


@pytest.fixture(scope="module")
def rows(study: Study, purchases: Purchases) -> dict[int, int]:
    """Row of a few households of the first snapshot, by household id."""
    first = snapshots(purchases)[0]
    assert first.cutoff == CUTOFF
    picked = np.random.default_rng(2).choice(len(first), 12, replace=False)
    codes = study.rows.batch.customer
    assert codes is not None
    return {purchases.names["household"][codes[row]]: int(row) for row in picked}


def _past(lines: pd.DataFrame, household: int) -> pd.DataFrame:
    own = lines[lines["household_id"] == household]
    return own[own["day"].between(CUTOFF - 180, CUTOFF - 1)].sort_values("time")


def test_daily_is_what_plain_loops_say(
    study: Study, rows: dict[int, int], lines: pd.DataFrame
) -> None:
    events = study.rows.batch.events["daily"]
    channels = study.schema.sequences[0].channels
    for household, row in rows.items():
        own = _past(lines, household)
        wanted = np.zeros((180, 16))
        mask = np.arange(CUTOFF - 180, CUTOFF) >= own["day"].min()
        for step, day in enumerate(range(CUTOFF - 180, CUTOFF)):
            wanted[step, 6] = math.sin(2 * math.pi * day / 7) * mask[step]
            wanted[step, 7] = math.cos(2 * math.pi * day / 7) * mask[step]
            now = own[own["day"] == day]
            if now.empty:
                continue
            sums = now[["sales_value", "retail_disc", "coupon_disc"]].sum()
            wanted[step, 0] = math.log1p(now["basket_id"].nunique())
            wanted[step, 1] = math.log1p(sums["sales_value"])
            wanted[step, 2] = math.log1p(len(now))
            wanted[step, 3] = math.log1p(sums["retail_disc"])
            wanted[step, 4] = math.log1p(sums["coupon_disc"])
            wanted[step, 5] = sum(now["brand"] == "Private") / len(now)
            dollars = now.groupby("department")["sales_value"].sum()
            for channel, name in enumerate(channels[8:], start=8):
                bought = dollars.get(name.removeprefix("spend:"), 0.0)
                wanted[step, channel] = math.log1p(bought)
        np.testing.assert_allclose(events.values[row], wanted, atol=2e-5)
        np.testing.assert_array_equal(events.mask[row], mask)


def test_baskets_are_what_plain_loops_say(
    study: Study, rows: dict[int, int], lines: pd.DataFrame
) -> None:
    events = study.rows.batch.events["baskets"]
    for household, row in rows.items():
        steps, before = [], None
        for _, basket in _past(lines, household).groupby("basket_id", sort=False):
            day, store = basket["day"].iloc[0], basket["store_id"].iloc[0]
            gap = day - before[0] if before else 0
            again = float(before is not None and before[1] == store)
            steps.append([
                *(
                    math.log1p(basket[c].sum())
                    for c in ("sales_value", "retail_disc", "coupon_disc")
                ),
                math.log1p(len(basket)),
                sum(basket["brand"] == "Private") / len(basket),
                math.log1p(gap),
                again,
                basket["time"].iloc[0].hour / 24,
            ])  # fmt: skip
            before = day, store
        wanted = np.array(steps)[-90:][:, [0, 3, 1, 2, 4, 5, 6, 7]]
        num = len(wanted)
        np.testing.assert_allclose(events.values[row, 90 - num :], wanted, atol=2e-5)
        assert events.mask[row].sum() == num
        assert events.mask[row, 90 - num :].all()


def test_padding_is_zero_and_stands_in_front(study: Study) -> None:
    for name, events in study.rows.batch.events.items():
        assert (events.values[~events.mask] == 0).all(), name
        steps = events.mask.int()
        assert (steps.diff(dim=1) >= 0).all(), name
        assert events.mask[:, -1].all() or name == "daily"
        assert events.mask.any(1).all(), name


def test_series_say_the_same_as_the_columns(study: Study) -> None:
    """The baskets of the last 28 days, from the columns and from both series."""
    names = [feature.name for feature in study.schema.numeric]
    column = study.rows.batch.numeric[:, names.index("baskets_28d")].expm1()
    daily = study.rows.batch.events["daily"].values[:, -28:, 0].expm1().sum(1)
    torch.testing.assert_close(daily, column, rtol=1e-4, atol=1e-3)


def test_channels_are_named(raw: Mapping[str, pd.DataFrame], study: Study) -> None:
    daily, baskets = study.schema.sequences
    assert (daily.name, daily.steps, len(daily.channels)) == ("daily", 180, 16)
    assert (baskets.name, baskets.steps, len(baskets.channels)) == ("baskets", 90, 8)
    known = set(raw["products"]["department"])
    assert {c.removeprefix("spend:") for c in daily.channels[8:]} <= known


def test_the_first_basket_has_none_before_it(study: Study) -> None:
    events = study.rows.batch.events["baskets"]
    number = events.mask.sum(1)
    short = (number < 90).nonzero()[:, 0]
    first = events.values[short, 90 - number[short]]
    channels = study.schema.sequences[1].channels
    for name in ("same_store", "days_since_last"):
        assert (first[:, channels.index(name)] == 0).all(), name
