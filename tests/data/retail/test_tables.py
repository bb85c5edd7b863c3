"""The coded orders against the raw lines, and what may not be in them."""

import numpy as np
import pandas as pd
import pytest

from ple_study.data.journey.windows import Window
from ple_study.data.retail.tables import Orders, read, returned
from tests.data.retail.made import plain


def check(orders: Orders, raw: pd.DataFrame) -> None:
    """Lines, baskets and returns are those of rules written anew."""
    wanted, back = plain(raw)
    ours, names = orders.lines, orders.names
    assert len(ours) == len(wanted)
    assert ours["stamp"].is_monotonic_increasing
    assert list(names["household"]) == sorted(set(raw["CustomerID"].dropna()))
    for frame, table in ((ours, wanted), (orders.returns, back)):
        customer = names["household"][frame["household"]]
        assert (customer == table["CustomerID"].to_numpy(object)).all()
        assert (names["product"][frame["product"]] == table["code"].to_numpy()).all()
        np.testing.assert_array_equal(frame["day"], table["day"])
        np.testing.assert_array_equal(frame["quantity"], table["Quantity"])
        np.testing.assert_allclose(frame["sales"], table["money"])
    np.testing.assert_array_equal(ours["hour"], wanted["InvoiceDate"].dt.hour)
    np.testing.assert_array_equal(ours["type"], ours["product"])
    groups = wanted.groupby("InvoiceNo", sort=False)
    baskets = orders.baskets
    assert baskets["stamp"].is_monotonic_increasing
    np.testing.assert_allclose(baskets["sales"], groups["money"].sum())
    np.testing.assert_array_equal(baskets["num_lines"], groups.size())
    np.testing.assert_array_equal(baskets["quantity"], groups["Quantity"].sum())
    country = names["country"][baskets["country"]]
    assert (country == groups["Country"].first().to_numpy()).all()


def test_orders_are_the_raw_lines(orders: Orders, raw: pd.DataFrame) -> None:
    check(orders, raw)
    assert len(orders.returns) > 50
    assert orders.returns["day"].max() > 400  # without a number in the second year
    assert len(orders.lines) < (raw["Quantity"] > 0).sum() - 100


def test_the_real_orders_are_the_raw_lines(
    real_orders: Orders, real: pd.DataFrame
) -> None:
    check(real_orders, real)
    assert real_orders.num_households == 5_942
    assert len(real_orders.baskets) == 36_594
    assert (real_orders.lines["day"].min(), real_orders.lines["day"].max()) == (2, 740)


def test_a_product_has_the_kind_of_its_first_description(
    orders: Orders, raw: pd.DataFrame
) -> None:
    names, lines = orders.names, orders.lines.drop_duplicates("product")
    codes = names["product"][lines["product"]]
    kinds = names["department"][lines["department"]]
    found = dict(zip(codes, kinds, strict=True))
    fine = dict(zip(codes, names["category"][lines["category"]], strict=True))
    first = plain(raw)[0].drop_duplicates("code")
    known = [text.split() for text in first["Description"][first["day"] < 260]]
    for code, text in zip(first["code"], first["Description"], strict=True):
        if text.endswith("NEW LAMP"):
            assert found[code] in ("LAMP", text.split()[1])
            continue
        word, kind = text.split()[:2]
        same = sum(other[:2] == [word, kind] for other in known if len(other) == 3)
        assert found[code] == kind
        assert fine[code] == (f"{word} {kind}" if same >= 3 and word != "RED" else kind)
    assert set(fine.values()) > set(kinds)
    per = orders.lines.groupby("product")[["department", "category"]].nunique()
    assert (per == 1).all().all()


def test_a_basket_has_the_kind_of_its_most_pounds(orders: Orders) -> None:
    lines, baskets = orders.lines, orders.baskets.set_index("basket")
    for basket, group in lines.groupby("basket"):
        pounds = group.groupby(["department", "category"])["sales"].sum()
        best = {kind for kind, _ in pounds.index[pounds >= pounds.max() - 1e-9]}
        assert baskets["department"][basket] in best


def test_order_of_the_lines_and_case_of_codes_do_not_matter(
    raw: pd.DataFrame, orders: Orders
) -> None:
    mixed = raw.sample(frac=1, random_state=0)
    assert read(mixed).baskets["stamp"].equals(orders.baskets["stamp"])
    assert not any(name.endswith("a") for name in orders.names["product"])


def test_a_date_past_the_end_is_refused(raw: pd.DataFrame) -> None:
    part = raw[raw["InvoiceDate"] < "2010-01-01"]
    last = int(read(part).lines["day"].max())
    assert read(part, stop=34).lines["day"].max() == last
    with pytest.raises(ValueError, match=r"'InvoiceDate' must lie from 2009-11-29"):
        read(part, stop=last)
    early = part.assign(InvoiceDate=part["InvoiceDate"] - pd.Timedelta(days=9))
    with pytest.raises(ValueError, match=r"to before 2011-12-10"):
        read(early)


@pytest.mark.parametrize(
    ("number", "found"), [("C489434", "C489434"), (None, "(nan|None)")]
)
def test_a_sale_needs_an_invoice(raw: pd.DataFrame, number: object, found: str) -> None:
    broken = raw.copy()
    row = broken.index[broken["CustomerID"].notna() & (broken["UnitPrice"] > 0)][0]
    broken["InvoiceNo"] = broken["InvoiceNo"].astype(object)
    broken.loc[row, "InvoiceNo"] = number
    with pytest.raises(ValueError, match=rf"not cancelled. Found {found} in 1 lines"):
        read(broken)


def test_a_missing_column_is_named(raw: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"needs the columns \['Country'\]"):
        read(raw.drop(columns="Country"))


def test_returns_of_a_window_are_those_of_its_days(orders: Orders) -> None:
    day = int(orders.returns["day"].iloc[40])
    found = returned(Window(orders, day, day + 30))
    every = orders.returns["day"]
    assert len(found) == ((every >= day) & (every < day + 30)).sum() > 1
    assert found["day"].min() == day
    plainer = Window(orders, 0, 9)
    plainer.purchases = object()  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"Orders are needed. Found object"):
        returned(plainer)
