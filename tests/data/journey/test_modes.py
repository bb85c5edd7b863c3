"""What each mode sees of a household, against pandas on the raw lines."""

import numpy as np
import pandas as pd
import pytest
import torch

from ple_study.batch import Events
from ple_study.data.journey.modes import VIEWS, series
from ple_study.data.journey.snapshots import Snapshot, snapshots
from ple_study.data.journey.tables import Purchases

MONTH, MONTHS = 28, 12
ROWS = range(0, 14_457, 701)


@pytest.fixture(scope="module")
def shots(purchases: Purchases) -> list[Snapshot]:
    return snapshots(purchases)


@pytest.fixture(scope="module")
def seen(shots: list[Snapshot]) -> dict[str, Events]:
    return series(shots)


@pytest.fixture(scope="module")
def cases(shots: list[Snapshot], purchases: Purchases) -> list[tuple[int, int, str]]:
    """Row of the study, cut-off and household of every 701st row."""
    where = [(s.cutoff, h) for s in shots for h in s.households]
    names = purchases.names["household"]
    return [(row, where[row][0], names[where[row][1]]) for row in ROWS]


def wanted(frame: pd.DataFrame, steps: int, column: str, amount: str) -> np.ndarray:
    """Three numbers a step, where the step of an event is its column ``step``."""
    groups = frame.groupby("step")
    table = pd.DataFrame(
        {
            "amount": np.log1p(groups[amount].sum()),
            "events": np.log1p(groups.size()),
            "categories": groups[column].nunique(),
        }
    )
    return table.reindex(range(steps)).fillna(0).to_numpy()


def check(events: Events, row: int, values: np.ndarray) -> None:
    begun = np.maximum.accumulate(values[:, 1] > 0)
    assert events.mask[row].tolist() == begun.tolist()
    np.testing.assert_allclose(events.values[row], values, rtol=2e-6, atol=1e-6)


def test_journey_sees_days_of_lines_and_departments(
    seen: dict[str, Events], cases: list[tuple[int, int, str]], lines: pd.DataFrame
) -> None:
    for row, cutoff, household in cases:
        own = lines[(lines["household_id"] == household) & (lines["day"] < cutoff)]
        own = own.assign(step=own["day"] - (cutoff - 180)).query("step >= 0")
        check(seen["journey"], row, wanted(own, 180, "department", "sales_value"))


def months(own: pd.DataFrame, cutoff: int) -> pd.DataFrame:
    """The whole months of the year before the cut-off, the last one step 11."""
    ago = (cutoff - 1 - own["day"]) // MONTH
    whole = (own["day"] < cutoff) & (ago < min(MONTHS, cutoff // MONTH))
    return own.assign(step=MONTHS - 1 - ago)[whole]


def test_lifecycle_sees_months_of_visits_and_stores(
    seen: dict[str, Events], cases: list[tuple[int, int, str]], lines: pd.DataFrame
) -> None:
    for row, cutoff, household in cases:
        own = months(lines[lines["household_id"] == household], cutoff)
        visits = own.groupby("basket_id").agg(
            step=("step", "first"), store=("store_id", "first"),
            dollars=("sales_value", "sum"),
        )  # fmt: skip
        check(seen["lifecycle"], row, wanted(visits, MONTHS, "store", "dollars"))


def test_behavior_sees_months_of_discounts_and_categories(
    seen: dict[str, Events], cases: list[tuple[int, int, str]], lines: pd.DataFrame
) -> None:
    for row, cutoff, household in cases:
        own = months(lines[lines["household_id"] == household], cutoff)
        own = own.assign(saved=own["retail_disc"] + own["coupon_disc"])
        check(seen["behavior"], row, wanted(own, MONTHS, "product_category", "saved"))


def test_only_whole_months_of_the_year_are_steps(
    seen: dict[str, Events], shots: list[Snapshot]
) -> None:
    start = 0
    for shot in shots:
        for name in ("lifecycle", "behavior"):
            mask = seen[name].mask[start : start + len(shot)]
            known = min(MONTHS, shot.cutoff // MONTH)
            assert mask.any(0).tolist() == [False] * (MONTHS - known) + [True] * known
        start += len(shot)
    assert {s.cutoff // MONTH for s in shots} == {7, 8, 9, 10, 11, 12}


def test_every_row_has_every_mode_and_no_two_see_the_same(
    seen: dict[str, Events],
) -> None:
    assert list(seen) == list(VIEWS) == ["journey", "lifecycle", "behavior"]
    for events in seen.values():
        assert events.mask.any(1).all()
        assert events.values.isfinite().all()
    lifecycle, behavior = (seen[n].values.flatten(0, 1) for n in list(VIEWS)[1:])
    both = torch.corrcoef(torch.cat([lifecycle, behavior], 1).T)[:3, 3:]
    print(both)
    assert both.diagonal().max() < 0.95
