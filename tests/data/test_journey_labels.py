"""Every label against a definition of a few lines, in plain loops over raw lines."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from ple_study.data.journey_labels import AGES
from ple_study.data.journey_snapshots import Snapshot, label_values, snapshots
from ple_study.data.journey_tables import Purchases
from ple_study.data.journey_tasks import LABELS, class_names

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


def test_a_regression_label_is_scaled_by_the_training_rows(
    shots: list[Snapshot],
) -> None:
    part = np.repeat([shot.part for shot in shots], [len(shot) for shot in shots])
    for label in LABELS:
        values = label_values(label, shots, seed=0)
        train = values.scaled[part == "train"]
        if label.spec.kind == "regression":
            assert np.isclose(np.nanmean(train), 0, atol=1e-9)
            assert np.isclose(np.nanstd(train), 1)
            unscaled = values.scaled * values.std + values.mean
            np.testing.assert_allclose(unscaled, values.raw)
        else:
            np.testing.assert_array_equal(values.scaled, values.raw)


def test_spending_buckets_are_tenths_of_the_training_rows(
    shots: list[Snapshot],
) -> None:
    label = next(label for label in LABELS if label.buckets)
    part = np.repeat([shot.part for shot in shots], [len(shot) for shot in shots])
    tenth = label_values(label, shots, seed=0).raw
    dollars = label_values(label._replace(buckets=0), shots, seed=0).raw
    known = (part == "train") & ~np.isnan(tenth)
    counts = np.bincount(tenth[known].astype(int))
    assert len(counts) == 10
    assert counts.max() - counts.min() <= 3
    order = np.argsort(dollars[known])
    assert (np.diff(tenth[known][order]) >= 0).all()


def test_a_survey_is_shown_in_one_part_only(shots: list[Snapshot]) -> None:
    label = next(label for label in LABELS if label.spec.name == "life_stage")
    household = np.concatenate([shot.households for shot in shots])
    part = np.repeat([shot.part for shot in shots], [len(shot) for shot in shots])
    shown = [~np.isnan(label_values(label, shots, seed=s).raw) for s in (0, 1)]
    sets = [set(household[shown[0] & (part == p)]) for p in ("train", "val", "test")]
    assert [len(a & b) for a, b in zip(sets, sets[1:] + sets[:1], strict=True)] == [
        0
    ] * 3
    assert 0.55 < len(sets[0]) / sum(map(len, sets)) < 0.65
    assert (shown[0] != shown[1]).any()


def test_a_label_is_observed_only_when_it_was_known_in_time(
    shots: list[Snapshot],
) -> None:
    cutoff = np.repeat([shot.cutoff for shot in shots], [len(shot) for shot in shots])
    slow = [label for label in LABELS if label.horizon == 56]
    assert {label.spec.name for label in slow} == {
        "retention",
        "ltv",
        "consumption_cycle",
    }
    for label in slow:
        known = ~np.isnan(label_values(label, shots, seed=0).raw)
        assert set(cutoff[known]) == {197, 253, 309}
