"""Every label against a definition of a few lines, in plain loops over raw lines."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from ple_study.data.journey.labels import AGES
from ple_study.data.journey.snapshots import Snapshot, label_values, snapshots
from ple_study.data.journey.tables import Purchases
from ple_study.data.journey.tasks import LABELS, class_names

CUTOFFS = (197, 309)
NUM_HOUSEHOLDS = 16
NAN = math.nan


class Case(NamedTuple):
    """A household at a cut-off: raw lines before it, and 28 and 56 days after it."""

    past: pd.DataFrame
    month: pd.DataFrame
    two: pd.DataFrame
    age: object
    names: Mapping[str, list[str]]

    def next_basket(self) -> pd.DataFrame:
        first = self.month.sort_values("time").head(1)["basket_id"]
        return self.month[self.month["basket_id"].isin(first)]

    def home(self) -> int:
        visits = Counter(self.past.drop_duplicates("basket_id")["store_id"])
        return min(s for s, n in visits.items() if n == max(visits.values()))


def most(frame: pd.DataFrame, column: str, names: list[str]) -> float:
    dollars: dict[str, float] = defaultdict(float)
    for key, sales in zip(frame[column], frame["sales_value"], strict=True):
        dollars[str(key)] += sales
    best = max(names, key=lambda name: dollars[name])
    return names.index(best) if dollars[best] > 0 else NAN


def baskets(frame: pd.DataFrame) -> int:
    return len(set(frame["basket_id"]))


def ctr(case: Case) -> float:
    return float(any(used > 0 for used in case.month["coupon_disc"]))


def cvr(case: Case) -> float:
    known = set(case.past["product_category"])
    for _, line in case.month.iterrows():
        category = line["product_category"]
        if line["coupon_disc"] > 0 and pd.notna(category) and category not in known:
            return 1.0
    return 0.0


def engagement(case: Case) -> float:
    return math.log(1 + baskets(case.month))


def churn(case: Case) -> float:
    return float(len(case.month) == 0)


def retention(case: Case) -> float:
    return float(not set(case.two["basket_id"]) <= set(case.month["basket_id"]))


def life_stage(case: Case) -> float:
    return AGES.index(str(case.age)) if pd.notna(case.age) else NAN


def ltv(case: Case) -> float:
    return math.log(1 + sum(case.two["sales_value"]))


def balance_util(case: Case) -> float:
    paid, off = sum(case.month["sales_value"]), sum(case.month["retail_disc"])
    return off / (paid + off) if paid + off > 0 else NAN


def channel(case: Case) -> float:
    basket = case.next_basket()
    if basket.empty:
        return NAN
    store = basket["store_id"].iloc[0]
    if store == case.home():
        return 0
    return 1 if store in set(case.past["store_id"]) else 2


def timing(case: Case) -> float:
    basket = case.next_basket()
    if basket.empty:
        return NAN
    time = basket["time"].iloc[0]
    part = sum(time.hour >= hour for hour in (11, 15, 19))
    return time.isoweekday() % 7 * 4 + part


def nba(case: Case) -> float:
    return most(case.next_basket(), "department", case.names["nba"])


def spending_category(case: Case) -> float:
    return most(case.month, "product_category", case.names["spending_category"])


def consumption_cycle(case: Case) -> float:
    days = sorted(set(case.two["time"].dt.normalize()))
    gaps = [(b - a).days for a, b in pairwise(days)]
    if not gaps:
        return NAN
    return sum(sum(gaps) / len(gaps) > edge for edge in (2, 3, 4, 6, 8, 14))


def spending_bucket(case: Case) -> float:
    """The dollars a basket; their tenth is checked below."""
    count = baskets(case.month)
    return sum(case.month["sales_value"]) / count if count else NAN


def brand_prediction(case: Case) -> float:
    return most(case.month, "manufacturer_id", case.names["brand_prediction"])


def merchant_affinity(case: Case) -> float:
    stores = case.month.drop_duplicates("basket_id")["store_id"]
    return sum(stores == case.home()) / len(stores) if len(stores) else NAN


DEFINITIONS: dict[str, Callable[[Case], float]] = {
    f.__name__: f
    for f in (
        ctr, cvr, engagement, churn, retention, life_stage, ltv, balance_util, channel,
        timing, nba, spending_category, consumption_cycle, spending_bucket,
        brand_prediction, merchant_affinity,
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def names(lines: pd.DataFrame) -> dict[str, list[str]]:
    """Which departments, categories and makers count, ranked by training sales."""
    seen = lines[lines["day"] < 253]

    def largest(column: str, num: int, without: tuple[object, ...] = ()) -> list[str]:
        dollars = seen.groupby(column)["sales_value"].sum().drop(list(without))
        return [str(name) for name in dollars.nlargest(num).index]

    return {
        "nba": largest("department", 12, ("GROCERY",)),
        "spending_category": largest("product_category", 12),
        "brand_prediction": largest("manufacturer_id", 200, (2, 69)),
    }


@pytest.fixture(scope="module")
def shots(purchases: Purchases) -> list[Snapshot]:
    return snapshots(purchases)


@pytest.fixture(scope="module")
def cases(
    raw: Mapping[str, pd.DataFrame],
    lines: pd.DataFrame,
    names: dict[str, list[str]],
    shots: list[Snapshot],
    purchases: Purchases,
) -> dict[tuple[int, int], Case]:
    """A few households at two cut-offs, some of them with a survey."""
    ages = raw["demographics"].set_index("household_id")["age"]
    built = {}
    for shot in shots:
        if shot.cutoff not in CUTOFFS:
            continue
        picked = np.random.default_rng(shot.cutoff).choice(
            shot.households, NUM_HOUSEHOLDS
        )
        for household in picked:
            key = purchases.names["household"][household]
            own = lines[lines["household_id"] == key]
            day = own["day"] - shot.cutoff
            month, two = own[(day >= 0) & (day < 28)], own[(day >= 0) & (day < 56)]
            past = own[(day >= -180) & (day < 0)]
            case = Case(past, month, two, ages.get(key), names)
            built[shot.cutoff, int(household)] = case
    return built


def test_named_classes_are_the_largest_of_the_training_days(
    shots: list[Snapshot], names: dict[str, list[str]]
) -> None:
    found = class_names(shots[0].vocabulary)
    assert {task: found[task] for task in names} == names
    assert [len(found[t]) for t in ("timing", "consumption_cycle", "channel")] == [
        28,
        7,
        3,
    ]


@pytest.mark.parametrize("label", LABELS, ids=lambda label: label.spec.name)
def test_label_is_what_its_definition_says(
    label: "LABELS[0].__class__",  # type: ignore[valid-type]
    cases: dict[tuple[int, int], Case],
    shots: list[Snapshot],
) -> None:
    plain = label._replace(buckets=0, horizon=label.horizon or 1)
    values = label_values(plain, shots, seed=0).raw
    cutoff = np.repeat([shot.cutoff for shot in shots], [len(shot) for shot in shots])
    household = np.concatenate([shot.households for shot in shots])
    wrong = {}
    for (day, code), case in cases.items():
        found = values[(cutoff == day) & (household == code)].item()
        wanted = DEFINITIONS[label.spec.name](case)
        if not np.isclose(found, wanted, equal_nan=True, rtol=1e-9):
            wrong[day, code] = (found, wanted)
    assert not wrong
