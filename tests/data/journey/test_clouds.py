"""The visits behind each diagram, against pandas on the raw lines."""

import numpy as np
import pandas as pd
import pytest

from ple_study.batch import Diagrams
from ple_study.data.diagrams import EventColumns
from ple_study.data.journey.clouds import KINDS, diagrams, main_category, visits
from ple_study.data.journey.snapshots import Snapshot, snapshots, training_rows
from ple_study.data.journey.tables import Codes, Purchases, read


@pytest.fixture(scope="module")
def shots(few: dict[str, pd.DataFrame]) -> list[Snapshot]:
    return snapshots(read(few))


@pytest.fixture(scope="module")
def category(shots: list[Snapshot]) -> Codes:
    return main_category(shots[0].past.purchases)


@pytest.fixture(scope="module")
def found(shots: list[Snapshot]) -> dict[str, Diagrams]:
    return diagrams(shots)


def test_main_category_is_the_one_of_most_dollars(
    purchases: Purchases, lines: pd.DataFrame
) -> None:
    names = ["basket_id", "department", "product_category"]
    sums = lines.fillna({"department": "", "product_category": ""})
    sums = sums.groupby(names)["sales_value"].sum().reset_index()
    most = sums.groupby("basket_id")["sales_value"].transform("max")
    best = sums[sums["sales_value"] >= most - 1e-9]
    ours = main_category(purchases)
    departments, categories = (
        np.array(["", *purchases.names[key]]) for key in ("department", "category")
    )
    num = len(categories)
    decoded = pd.DataFrame(
        {
            "basket_id": purchases.baskets["basket"],
            "department": departments[ours // num],
            "product_category": categories[ours % num],
        }
    )
    assert len(decoded.merge(best, on=names)) == len(decoded) == 155_848
    assert len(set(ours)) > 100


@pytest.mark.parametrize("days", [90, 336])
def test_each_row_has_its_visits_in_order(
    shots: list[Snapshot], category: Codes, days: int, lines: pd.DataFrame
) -> None:
    found = visits(shots, category, days)
    assert isinstance(found, EventColumns)
    names = shots[0].past.purchases.names["household"]
    where = [(s.cutoff, names[h]) for s in shots for h in s.households]
    assert len(found.start) == len(where) + 1
    baskets = lines.groupby("basket_id").agg(
        household=("household_id", "first"), day=("day", "first"),
        time=("time", "first"), dollars=("sales_value", "sum"),
    )  # fmt: skip
    for row in range(0, len(where), 37):
        cutoff, household = where[row]
        own = baskets[baskets["household"] == household]
        own = own[own["day"].between(cutoff - days, cutoff - 1)].sort_values("time")
        part = slice(found.start[row], found.start[row + 1])
        np.testing.assert_array_equal(found.day[part], own["day"])
        np.testing.assert_array_equal(found.hour[part], own["time"].dt.hour)
        np.testing.assert_allclose(found.amount[part], own["dollars"], atol=1e-9)


def test_diagrams_have_the_sizes_and_homology_that_they_promise(
    shots: list[Snapshot], category: Codes, found: dict[str, Diagrams]
) -> None:
    rows = sum(len(shot) for shot in shots)
    for name, size, homology in (("short", 200, 2), ("long", 150, 3)):
        points, mask = found[name].points, found[name].mask
        assert points.shape == (rows, size, 3)
        assert points.isfinite().all()
        assert not points[~mask].any()
        kinds = points[..., 2][mask]
        assert set(kinds.tolist()) == set(range(homology))
        columns = visits(shots, category, KINDS[name][0])
        events = np.diff(columns.start).clip(max=KINDS[name][1].events)
        parts = ((points[..., 2] == 0) & mask).sum(1).numpy()
        assert (parts <= np.maximum(events - 1, 0)).all()
        assert ((events < 2) == ~mask.any(1).numpy()).mean() > 0.99


def test_units_and_ranks_are_those_of_the_training_rows(
    shots: list[Snapshot], found: dict[str, Diagrams]
) -> None:
    train = [shot for shot in shots if shot.part == "train"]
    alone, rows = diagrams(train), training_rows(shots)
    assert len(rows) == sum(len(shot) for shot in train)
    for name, shape in alone.items():
        assert shape.points.equal(found[name].points[rows])
        assert shape.mask.equal(found[name].mask[rows])
