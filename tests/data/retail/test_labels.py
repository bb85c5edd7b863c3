"""Every label against a definition of a few lines, in plain loops over raw lines."""

import math
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from ple_study.data.journey.snapshots import label_values
from ple_study.data.retail.snapshots import END, snapshots
from ple_study.data.retail.tables import Orders
from ple_study.data.retail.tasks import LABELS, class_names
from tests.data.retail.made import plain

CUTOFFS = (260, 568, 680)
NAN = math.nan


class Case(NamedTuple):
    """A customer at a cut-off: sales before it, 28 and 56 days after it, returns."""

    past: pd.DataFrame
    month: pd.DataFrame
    two: pd.DataFrame
    back: pd.DataFrame
    new: set[str]  # products first sold in the 28 days before
    names: dict[str, list[str]]


def most(frame: pd.DataFrame, column: str, names: list[str]) -> float:
    pounds: dict[str, float] = defaultdict(float)
    for key, money in zip(frame[column], frame["money"], strict=True):
        pounds[str(key)] += money
    best = max(names, key=lambda name: pounds[name])
    return names.index(best) if pounds[best] > 0 else NAN


def invoices(frame: pd.DataFrame) -> int:
    return len(set(frame["InvoiceNo"]))


def following(case: Case) -> pd.DataFrame:
    first = case.month["InvoiceNo"].head(1)
    return case.month[case.month["InvoiceNo"].isin(first)]


def cvr(case: Case) -> float:
    return float(bool((set(case.month["code"]) & case.new) - set(case.past["code"])))


def engagement(case: Case) -> float:
    return math.log(1 + invoices(case.month))


def churn(case: Case) -> float:
    return float(len(case.month) == 0)


def retention(case: Case) -> float:
    return float(not set(case.two["InvoiceNo"]) <= set(case.month["InvoiceNo"]))


def ltv(case: Case) -> float:
    return math.log(1 + sum(case.two["money"]))


def balance_util(case: Case) -> float:
    back, paid = sum(case.back["money"]), sum(case.month["money"])
    return back / (back + paid) if back + paid > 0 else NAN


def timing(case: Case) -> float:
    if case.month.empty:
        return NAN
    time = case.month["InvoiceDate"].iloc[0]
    return time.isoweekday() % 7 * 4 + sum(time.hour >= hour for hour in (11, 15, 19))


def nba(case: Case) -> float:
    return most(following(case), "kind", case.names["nba"])


def spending_category(case: Case) -> float:
    return most(case.month, "finer", case.names["spending_category"])


def consumption_cycle(case: Case) -> float:
    days = sorted(set(case.two["day"]))
    gaps = [b - a for a, b in pairwise(days)]
    if not gaps:
        return NAN
    return sum(sum(gaps) / len(gaps) > edge for edge in (7, 10, 14, 18, 24, 32))


def spending_bucket(case: Case) -> float:
    """The pounds a basket; their tenth is checked for the households."""
    count = invoices(case.month)
    return sum(case.month["money"]) / count if count else NAN


def brand_prediction(case: Case) -> float:
    return most(case.month, "code", case.names["brand_prediction"])


def merchant_affinity(case: Case) -> float:
    known = case.month[case.month["code"].isin(set(case.past["code"]))]
    return sum(known["money"]) / sum(case.month["money"]) if len(case.month) else NAN


DEFINITIONS: dict[str, Callable[[Case], float]] = {
    f.__name__: f
    for f in (
        cvr, engagement, churn, retention, ltv, balance_util, timing, nba,
        spending_category, consumption_cycle, spending_bucket, brand_prediction,
        merchant_affinity,
    )
}  # fmt: skip


def tables(orders: Orders, raw: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Plain sales with the kinds of their products, and plain returns."""
    sales, back = plain(raw)
    first, names = orders.lines.drop_duplicates("product"), orders.names
    codes = names["product"][first["product"]]
    for column, key in (("kind", "department"), ("finer", "category")):
        texts = np.append(names[key], None)[first[key]]
        sales[column] = sales["code"].map(dict(zip(codes, texts, strict=True)))
    return sales, back


def check_largest(sales: pd.DataFrame, names: dict[str, list[str]]) -> None:
    """Which kinds and products count, ranked by the pounds before day 624."""
    seen = sales[sales["day"] < 624]
    chosen = {"nba": ("kind", 12), "spending_category": ("finer", 12)}
    chosen["brand_prediction"] = ("code", 200)
    for task, (column, num) in chosen.items():
        pounds = seen.groupby(column)["money"].sum()
        wanted = pounds.nlargest(num).to_numpy()
        np.testing.assert_allclose(pounds[names[task]], wanted)
        assert len(set(names[task])) == len(wanted)


def case(
    sales: pd.DataFrame, back: pd.DataFrame, key: int, cutoff: int, names: dict
) -> Case:
    debut = sales.groupby("code")["day"].min()
    new = set(debut.index[(debut >= cutoff - 28) & (debut < cutoff)])
    own, gone = sales[sales["CustomerID"] == key], back[back["CustomerID"] == key]
    day, when = own["day"] - cutoff, gone["day"] - cutoff
    past = own[(day >= -180) & (day < 0)]
    month, two = own[(day >= 0) & (day < 28)], own[(day >= 0) & (day < 56)]
    return Case(past, month, two, gone[(when >= 0) & (when < 28)], new, names)


def check(orders: Orders, raw: pd.DataFrame, num: int) -> dict[str, int]:
    """Labels of some customers at each cut-off; how many differ from each other."""
    sales, back = tables(orders, raw)
    shots = snapshots(orders)
    names = class_names(shots[0].vocabulary)
    check_largest(sales, names)
    values = {
        label.spec.name: label_values(label._replace(buckets=0), shots, 0, END).raw
        for label in LABELS
    }
    start, seen = 0, defaultdict(set)
    for shot in shots:
        if shot.cutoff in CUTOFFS:
            rng = np.random.default_rng(shot.cutoff)
            for row in rng.choice(len(shot), num, replace=False):
                key = orders.names["household"][shot.households[row]]
                own = case(sales, back, key, shot.cutoff, names)
                for task, column in values.items():
                    wanted, ours = DEFINITIONS[task](own), column[start + row]
                    same = np.isclose(ours, wanted, equal_nan=True, rtol=1e-9)
                    assert same, (task, shot.cutoff, key, ours, wanted)
                    seen[task].add(str(wanted))
        start += len(shot)
    return {task: len(labels) for task, labels in seen.items()}


def test_labels_are_what_their_definitions_say(
    orders: Orders, raw: pd.DataFrame
) -> None:
    kinds = check(orders, raw, 20)
    print(kinds)
    assert min(kinds.values()) >= 2
    assert set(kinds) == set(DEFINITIONS)


def test_labels_of_real_customers_are_what_their_definitions_say(
    real_orders: Orders, real: pd.DataFrame
) -> None:
    check(real_orders, real, 12)


def test_classes_are_named(orders: Orders) -> None:
    names = class_names(snapshots(orders)[0].vocabulary)
    assert names["timing"][5] == "Mon to 15 h"
    assert len(names["timing"]) == 28
    assert names["consumption_cycle"][0] == "up to 7 days"
    assert len(names["consumption_cycle"]) == 7
