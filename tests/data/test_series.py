"""A series of days against a loop over events."""

from dataclasses import replace

import numpy as np
import pytest

from ple_study.data.log import Log
from ple_study.data.series import CHANNELS, daily_series

CUTOFF = 30


def by_loop(log: Log, steps: int) -> tuple[np.ndarray, np.ndarray]:
    values = np.zeros((log.num_customers, steps, len(CHANNELS)))
    mask = np.zeros((log.num_customers, steps), dtype=bool)
    for customer in range(log.num_customers):
        earlier = [
            int(log.day[e])
            for e in range(len(log))
            if log.customer[e] == customer and log.day[e] < log.cutoff - steps
        ]
        before = max(earlier, default=None)
        for step in range(steps):
            day = log.cutoff - steps + step
            own = [
                e
                for e in range(len(log))
                if log.customer[e] == customer and log.day[e] == day
            ]
            mask[customer, step] = bool(own) or (step > 0 and mask[customer, step - 1])
            if not own:
                continue
            sizes = [np.log1p(log.amount[e]) for e in own]
            turns = [2 * np.pi * log.hour[e] / 24 for e in own]
            values[customer, step] = [
                np.log1p(len(own)),
                np.log1p(sum(log.amount[e] for e in own)),
                np.mean(sizes),
                max(sizes),
                np.log1p(len({int(log.place[e]) for e in own})),
                np.mean(np.sin(turns)),
                np.mean(np.cos(turns)),
                np.log1p(day - before) if before is not None else 0.0,
            ]
            before = day
    return values, mask


def random_log(seed: int, num_customers: int = 6, size: int = 120) -> Log:
    rng = np.random.default_rng(seed)
    customer = rng.choice([0, 1, 2, 4], size)  # whoever else there is does nothing
    day, hour = rng.integers(0, CUTOFF, size), rng.integers(0, 48, size) / 2
    order = np.lexsort((hour, day, customer))
    amount, place = rng.exponential(20, size), rng.integers(0, 8, size)
    columns = (customer[order], day[order], hour[order], amount, place)
    return Log(*columns, num_customers, 7, CUTOFF)  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", [1, 7, 30, 45])
def test_a_series_equals_a_loop(steps: int) -> None:
    log = random_log(seed=steps)
    found = daily_series(log, steps=steps)
    values, mask = by_loop(log, steps)
    np.testing.assert_allclose(found.values, values, atol=1e-6)
    assert np.array_equal(found.mask, mask)


def test_two_logs_stand_side_by_side_and_one_is_enough_to_be_there() -> None:
    one, other = random_log(1), random_log(2, size=9)
    both = daily_series(one, other, steps=20)
    apart = [daily_series(log, steps=20) for log in (one, other)]
    assert (both.values[..., :8] == apart[0].values).all()
    assert (both.values[..., 8:] == apart[1].values).all()
    assert (both.mask == (apart[0].mask | apart[1].mask)).all()


def test_series_need_logs_that_fit() -> None:
    with pytest.raises(ValueError, match=r"one cut-off. Found steps=5 and .*\(5, 30\)"):
        daily_series(random_log(1), random_log(1, 5), steps=5)
    with pytest.raises(ValueError, match="one step or more"):
        daily_series(random_log(1), steps=0)
    with pytest.raises(ValueError, match="one step or more"):
        daily_series(steps=5)


def test_a_log_before_the_window_is_padding() -> None:
    early = replace(random_log(4), cutoff=2 * CUTOFF)
    found = daily_series(early, steps=CUTOFF)
    assert not found.mask.any()
    assert not found.values.any()
