"""The shop's own columns and both series against plain loops over raw lines."""

import math
from collections import Counter
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from ple_study.data.journey.snapshots import Snapshot
from ple_study.data.loader import Study
from ple_study.data.retail.features import categories, numeric
from ple_study.data.retail.snapshots import snapshots
from ple_study.data.retail.tables import Orders
from tests.data.retail.made import plain

CUTOFF = 400
log1p = math.log1p


class Own(NamedTuple):
    """A customer's sales and returns in the 180 days before the cut-off."""

    row: int
    sales: pd.DataFrame
    back: pd.DataFrame


@pytest.fixture(scope="module")
def shot(orders: Orders) -> Snapshot:
    return next(s for s in snapshots(orders) if s.cutoff == CUTOFF)


@pytest.fixture(scope="module")
def owns(orders: Orders, raw: pd.DataFrame, shot: Snapshot) -> list[Own]:
    sales, back = (
        frame[(frame["day"] >= CUTOFF - 180) & (frame["day"] < CUTOFF)]
        for frame in plain(raw)
    )
    first, names = orders.lines.drop_duplicates("product"), orders.names
    codes = names["product"][first["product"]]
    kinds = names["department"][first["department"]]
    sales = sales.assign(kind=sales["code"].map(dict(zip(codes, kinds, strict=True))))
    keys = names["household"][shot.households]
    return [
        Own(row, *(frame[frame["CustomerID"] == key] for frame in (sales, back)))
        for row, key in enumerate(keys)
    ]


def part(a: float, b: float) -> float:
    return a / b if b > 0 else 0.0


def test_columns_are_what_plain_loops_say(shot: Snapshot, owns: list[Own]) -> None:
    blocks = numeric(shot.past, shot.vocabulary)
    names = shot.vocabulary.names("product", 24)
    assert any(len(own.back) for own in owns)
    for own in owns:
        wanted = {}
        for days in (28, 91, 180):
            now = own.sales[own.sales["day"] >= CUTOFF - days]
            gone = own.back[own.back["day"] >= CUTOFF - days]
            pieces, pounds = now["Quantity"].sum(), now["money"].sum()
            wanted[f"pieces_{days}d"] = log1p(pieces)
            orders = now["InvoiceNo"].nunique()
            wanted[f"basket_lines_{days}d"] = log1p(part(len(now), orders))
            wanted[f"line_pieces_{days}d"] = log1p(part(pieces, len(now)))
            wanted[f"price_{days}d"] = log1p(part(pounds, pieces))
            wanted[f"products_{days}d"] = log1p(now["code"].nunique())
            wanted[f"product_variety_{days}d"] = part(now["code"].nunique(), len(now))
            wanted[f"returned_lines_{days}d"] = log1p(len(gone))
            wanted[f"returned_{days}d"] = log1p(gone["money"].sum())
            share = part(gone["money"].sum(), gone["money"].sum() + pounds)
            wanted[f"returned_share_{days}d"] = share
        for name in names:
            bought = own.sales[own.sales["code"] == name]["money"].sum()
            wanted[f"product:{name}"] = log1p(bought)
        columns = blocks["order"] | blocks["returns"] | blocks["product"]
        found = {n: column[shot.households[own.row]] for n, column in columns.items()}
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_no_column_speaks_of_discounts(shot: Snapshot) -> None:
    blocks = numeric(shot.past, shot.vocabulary)
    trend = {name.rstrip("0123456789") for name in blocks["trend"]}
    assert {"baskets_month_", "spend_month_", "baskets_week_"} <= trend
    assert not any("discount" in name for name in trend)
    assert len(blocks["trend"]) == 6 + 6 + 8 + 4


def test_habits_are_what_plain_loops_say(shot: Snapshot, owns: list[Own]) -> None:
    table = categories(shot.past)
    for own in owns:
        row = table.iloc[shot.households[own.row]]
        assert row["country"] == own.sales["Country"].iloc[-1]
        pounds = own.sales.groupby("kind")["money"].sum()
        assert row["top_department"] == pounds.idxmax()
        last = own.sales[own.sales["InvoiceNo"] == own.sales["InvoiceNo"].iloc[-1]]
        assert row["last_department"] in set(last["kind"])
        visits = own.sales.drop_duplicates("InvoiceNo")["InvoiceDate"]
        cells = Counter(
            t.isoweekday() % 7 * 4 + sum(t.hour >= h for h in (11, 15, 19))
            for t in visits
        )
        most = max(cells.values())
        assert row["usual_time"] == min(c for c, n in cells.items() if n == most)


def rows(orders: Orders, shot: Snapshot) -> slice:
    first = sum(len(s) for s in snapshots(orders) if s.cutoff < shot.cutoff)
    return slice(first, first + len(shot))


def test_days_are_what_plain_loops_say(
    whole: Study, orders: Orders, shot: Snapshot, owns: list[Own]
) -> None:
    channels = whole.schema.sequences[0].channels
    events, part_of = whole.rows.batch.events["daily"], rows(orders, shot)
    values, seen = events.values[part_of], events.mask[part_of]
    hidden = 0
    days = np.arange(CUTOFF - 180, CUTOFF)
    for own in owns:
        mask = days >= own.sales["day"].min()
        wanted = np.zeros((180, 16))
        wanted[:, 6] = [math.sin(2 * math.pi * day / 7) for day in days]
        wanted[:, 7] = [math.cos(2 * math.pi * day / 7) for day in days]
        for day in {*own.sales["day"], *own.back["day"]}:
            now = own.sales[own.sales["day"] == day]
            gone = own.back[own.back["day"] == day]["money"].sum()
            step = day - (CUTOFF - 180)
            hidden += int(gone > 0 and not mask[step])
            pounds, pieces = now["money"].sum(), now["Quantity"].sum()
            numbers = [now["InvoiceNo"].nunique(), pounds, len(now), pieces, gone]
            wanted[step, :6] = np.log1p([*numbers, part(pounds, pieces)])
            for channel, name in enumerate(channels[8:], start=8):
                kind = name.removeprefix("spend:")
                wanted[step, channel] = log1p(now[now["kind"] == kind]["money"].sum())
        wanted[~mask] = 0
        np.testing.assert_allclose(values[own.row], wanted, atol=2e-5)
        np.testing.assert_array_equal(seen[own.row], mask)
    assert hidden  # goods that came back before the first order of the 180 days


def test_orders_are_what_plain_loops_say(
    whole: Study, orders: Orders, shot: Snapshot, owns: list[Own]
) -> None:
    part_of = rows(orders, shot)
    values = whole.rows.batch.events["baskets"].values[part_of]
    mask = whole.rows.batch.events["baskets"].mask[part_of]
    keys = ["household", "stamp"]
    kinds = dict(orders.baskets.set_index(keys)["department"])
    for own in owns:
        steps, before, had = [], None, set()
        for _, basket in own.sales.groupby("InvoiceNo", sort=False):
            day, pounds = basket["day"].iloc[0], basket["money"].sum()
            kind = kinds[shot.households[own.row], basket["InvoiceDate"].iloc[0]]
            again = 0
            for code in basket["code"]:
                again += code in had
                had.add(code)
            gap = day - before[0] if before else 0
            steps.append([
                log1p(pounds),
                log1p(len(basket)),
                log1p(basket["Quantity"].sum()),
                log1p(pounds / basket["Quantity"].sum()),
                again / len(basket),
                log1p(gap),
                float(before is not None and before[1] == kind),
                basket["InvoiceDate"].iloc[0].hour / 24,
            ])  # fmt: skip
            before = day, kind
        wanted = np.array(steps)[-90:]
        num = len(wanted)
        np.testing.assert_allclose(values[own.row, 90 - num :], wanted, atol=2e-5)
        assert mask[own.row].tolist() == [False] * (90 - num) + [True] * num
        assert not values[own.row, : 90 - num].any()


def test_the_first_order_has_none_before_it(whole: Study) -> None:
    events = whole.rows.batch.events["baskets"]
    num = events.mask.sum(1)
    short = (num < 90).nonzero()[:, 0]
    first = events.values[short, 90 - num[short]]
    channels = whole.schema.sequences[1].channels
    for name in ("same_kind", "days_since_last"):
        assert (first[:, channels.index(name)] == 0).all(), name
    assert events.values[..., channels.index("same_kind")].any()
