"""The six coordinates and their scale against scipy and scikit-learn, and bad input."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import percentileofscore
from sklearn.preprocessing import StandardScaler

from ple_study.data.diagrams import (
    Clouds,
    EventColumns,
    Persistence,
    Ranks,
    Scale,
    cloud,
)
from ple_study.data.diagrams.clouds import borders
from ple_study.data.diagrams.coordinates import events_of
from tests.data.diagrams.shapes import clouds

SIZES = np.array([40, 0, 31, 1, 26])
TRAIN = np.array([2, 0])


def columns(**other: Any) -> EventColumns:
    g = np.random.default_rng(5)
    num_events = int(SIZES.sum())
    made = {
        "amount": g.lognormal(2, 1, num_events),
        "category": g.choice([5411, 5812, 5541, 7011], num_events),
        "day": np.concatenate([np.sort(g.integers(0, 90, n)) for n in SIZES]),
        "hour": g.uniform(0, 24, num_events),
        "start": borders(SIZES),
    }
    return EventColumns(**(made | other))


def test_events_stand_at_the_six_coordinates() -> None:
    events = columns()
    points = cloud(events, Ranks.fit(events, TRAIN)).points
    known = np.concatenate([events.category[:40], events.category[40:71]])
    rank = [percentileofscore(known, c, kind="mean") / 100 for c in events.category]
    # 1970-01-01, day 0, was a Thursday: a calendar counts the weekdays by itself.
    stamp = pd.to_datetime(events.day, unit="D") + pd.to_timedelta(events.hour, "h")
    weekday = 2 * np.pi * ((stamp.day_of_week.to_numpy() - 3) % 7) / 7
    clock = 2 * np.pi * (stamp - stamp.normalize()).total_seconds().to_numpy() / 86400
    wanted = [np.log(1 + events.amount), rank]
    wanted += [np.sin(weekday), np.cos(weekday), np.sin(clock), np.cos(clock)]
    np.testing.assert_allclose(points, np.stack(wanted, 1), rtol=0, atol=1e-9)


def test_ranks_are_learnt_from_training_and_place_what_they_never_saw() -> None:
    events = columns()
    ranks = Ranks.fit(events, TRAIN)
    other = events.category.copy()
    other[events.events_of(np.array([1, 3, 4]))] = 1
    again = Ranks.fit(columns(category=other), TRAIN)
    np.testing.assert_array_equal(again.share, ranks.share)
    assert 1 not in again.category
    low, between, high = ranks.of(np.array([0, 6000, 9999]))
    assert low == 0
    assert high == pytest.approx(1)
    assert ranks.of(np.array([5812]))[0] < between < ranks.of(np.array([7011]))[0]


def test_one_scale_serves_all_and_is_learnt_from_training() -> None:
    events = columns()
    raw = cloud(events, Ranks.fit(events, TRAIN))
    scale = Scale.fit(raw, TRAIN)
    by_sklearn = StandardScaler().fit(raw.points[events_of(raw.start, TRAIN)])
    made = scale.standard(raw)
    np.testing.assert_allclose(made.points, by_sklearn.transform(raw.points))
    np.testing.assert_array_equal(made.start, raw.start)
    points = raw.points.copy()
    points[raw.start[4] :] *= 100
    other = Scale.fit(Clouds(points, raw.start), TRAIN)
    np.testing.assert_array_equal(other.std, scale.std)
    np.testing.assert_array_equal(other.mean, scale.mean)


def test_a_customer_who_ranges_twice_as_far_has_a_diagram_twice_as_large() -> None:
    one = clouds(3, (15,)).points
    world = Clouds(np.concatenate([one, 2 * one]), np.array([0, 15, 30]))
    scale = Scale(np.zeros(3), np.full(3, 4.0))
    made = Persistence().diagrams(scale.standard(world)).points
    np.testing.assert_allclose(made[1, :, :2], 2 * made[0, :, :2], rtol=1e-6)


def test_a_coordinate_that_never_varies_keeps_its_unit() -> None:
    points = np.stack([np.arange(7.0), np.full(7, 0.1)], 1)
    world = Clouds(points, np.array([0, 7]))
    scale = Scale.fit(world, np.array([0]))
    assert scale.std.tolist() == [2.0, 1.0]
    np.testing.assert_allclose(scale.standard(world).points[:, 1], 0, atol=1e-12)


def changed(name: str, row: int, value: float) -> dict[str, Any]:
    column = getattr(columns(), name).copy()
    column[row] = value
    return {name: column}


BAD = {
    "negative amount": (changed("amount", 3, -0.5), r"Amounts .* Found -0.5 in row 3"),
    "amount not a number": (changed("amount", 8, np.nan), "Found nan in row 8"),
    "infinite amount": (changed("amount", 0, np.inf), "Found inf in row 0"),
    "hour 24": (changed("hour", 9, 24.0), r"less than 24. Found 24.0 in row 9"),
    "negative hour": (changed("hour", 1, -1.0), "Hours .* Found -1.0 in row 1"),
    "hour not a number": (changed("hour", 1, np.nan), "Found nan in row 1"),
    "unsorted days": (changed("day", 50, -1), "not go back. Found -1 in row 50"),
    "columns of unequal length": ({"hour": np.zeros(3)}, r"length. Found .*\[3\]"),
    "borders": ({"start": np.array([0, 7])}, "from 0 to 98, .* Found 0 to 7"),
}


@pytest.mark.plain
@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_bad_events_are_refused(case: tuple[dict[str, Any], str]) -> None:
    with pytest.raises(ValueError, match=case[1]):
        columns(**case[0])


def test_days_may_begin_anew_with_each_customer_and_the_last_may_have_none() -> None:
    sizes = np.array([2, 0, 3, 0])
    day = np.array([5, 9, 1, 1, 2])
    parts = {"amount": np.ones(5), "category": day, "hour": np.zeros(5)}
    made = EventColumns(day=day, start=borders(sizes), **parts)
    assert made.events_of(np.array([2, 3])).tolist() == [2, 3, 4]


def test_training_customers_must_exist_and_have_an_event() -> None:
    events, nobody = columns(), np.array([1])
    raw = cloud(events, Ranks.fit(events, TRAIN))
    with pytest.raises(ValueError, match=r"an event between them. Found none"):
        Ranks.fit(events, nobody)
    with pytest.raises(ValueError, match=r"an event between them. Found none"):
        Scale.fit(raw, nobody)
    for wrong in (5, -1):
        with pytest.raises(ValueError, match=rf"in 0\.\.4. Found {wrong} in row 1"):
            Scale.fit(raw, np.array([0, wrong]))
    with pytest.raises(ValueError, match=r"on 6 coordinates. Found 2"):
        Scale.fit(raw, TRAIN).standard(clouds(2))
