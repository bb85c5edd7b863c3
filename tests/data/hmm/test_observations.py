"""What is seen of purchases, against a loop over steps, and bad input."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from ple_study.batch import Events
from ple_study.data.graphs.visits import Visits
from ple_study.data.hmm.model import GaussianHMM
from ple_study.data.hmm.observations import CHANNELS, observations
from tests.data.graphs.purchases import CUSTOMERS, CUTOFF, KEYS, random_events, seen

# By node: the unknown merchant first; the category of two shops is not known.
CATEGORIES = np.array([-1, 4, 2, 4, 0, -1, 2, 0, 9])
PERIODS = ((28, 1), (30, 5), (36, 4), (7, 7), (90, 6))  # days, period


def by_loop(visits: Visits, days: int, period: int) -> tuple[np.ndarray, np.ndarray]:
    steps = days // period
    values = np.zeros((visits.num_customers, steps, len(CHANNELS)))
    mask = np.zeros((visits.num_customers, steps), dtype=bool)
    for customer in range(visits.num_customers):
        for step in range(steps):
            first = CUTOFF - days + step * period
            own = [
                event
                for event in range(len(visits))
                if visits.customer[event] == customer
                and first <= visits.day[event] < first + period
            ]
            found = {int(CATEGORIES[visits.merchant[event]]) for event in own} - {-1}
            values[customer, step] = (
                np.log1p(sum(visits.amount[event] for event in own)),
                np.log1p(len(own)),
                len(found),
            )
            mask[customer, step] = bool(own) or (step > 0 and mask[customer, step - 1])
    return values, mask


@pytest.mark.parametrize(("days", "period"), PERIODS)
def test_steps_equal_a_loop(days: int, period: int) -> None:
    visits = seen(random_events())
    found = observations(visits, CATEGORIES, cutoff=CUTOFF, days=days, period=period)
    values, mask = by_loop(visits, days, period)
    assert found.values.dtype == torch.float32
    assert found.values.shape == (CUSTOMERS, days // period, 3)
    assert np.array_equal(found.mask, mask)
    np.testing.assert_allclose(found.values, values, rtol=1e-6)
    assert not found.mask[-1].any()  # who never buys
    assert not found.values[~found.mask].any()


def test_order_of_events_does_not_matter() -> None:
    events = random_events()
    one, other = (
        observations(seen(rows), CATEGORIES, cutoff=CUTOFF, days=40)
        for rows in (events, events.sample(frac=1, random_state=3))
    )
    assert torch.equal(one.mask, other.mask)
    torch.testing.assert_close(one.values, other.values, rtol=1e-6, atol=0)


def test_an_event_given_twice_counts_twice() -> None:
    one = random_events().iloc[:1].assign(day=CUTOFF - 1)
    twice = pd.concat([one, one])
    once, again = (
        observations(seen(rows), CATEGORIES, cutoff=CUTOFF, days=1).values.expm1()
        for rows in (one, twice)
    )
    torch.testing.assert_close(again[..., :2], 2 * once[..., :2])
    assert torch.equal(again[..., 2], once[..., 2])


def test_a_step_without_events_is_seen_after_the_first_one() -> None:
    two = random_events().iloc[:2].assign(customer=3, day=[CUTOFF - 4, CUTOFF - 2])
    found = observations(seen(two), CATEGORIES, cutoff=CUTOFF, days=6)
    assert found.mask[3].tolist() == [False, False, True, True, True, True]
    assert (found.values[3, :, 1] > 0).tolist() == [False, False, True, False, True, 0]
    assert found.mask.sum() == 4


def test_what_lies_before_the_window_is_left_out() -> None:
    events = random_events()
    late = events[events["day"] >= CUTOFF - 12]
    assert 0 < len(late) < len(events)
    one, other = (
        observations(seen(rows), CATEGORIES, cutoff=CUTOFF, days=12, period=3)
        for rows in (events, late)
    )
    assert torch.equal(one.values, other.values)
    assert torch.equal(one.mask, other.mask)


def _mostly_zero() -> Events:
    """Two customers in a hundred steps have an event: the rest is one atom at zero."""
    rng = np.random.default_rng(0)
    events = random_events().iloc[np.zeros(600, int)]
    busy = events.assign(
        customer=rng.integers(0, CUSTOMERS, 600),
        merchant=rng.choice(KEYS, 600),
        day=rng.integers(CUTOFF - 1500, CUTOFF, 600),
        amount=rng.gamma(2.0, 10.0, 600),
    )
    return observations(seen(busy), CATEGORIES, cutoff=CUTOFF, days=1500)


def test_em_lives_with_an_atom_at_zero() -> None:
    """A state of empty steps has no variance: the floor holds it, and EM still climbs.

    One event a step at most leaves the second channel two values, so that every state
    has an atom there.
    """
    events = _mostly_zero()
    empty = (events.values[events.mask] == 0).all(1).float().mean()
    assert 0.9 < empty < 1
    model = GaussianHMM(3, iterations=60)
    found = model.fit(events)
    gains = np.diff(found.history)
    assert found.converged
    assert gains.min() > -1e-9 * abs(found.history[-1])
    assert all(part.isfinite().all() for part in found.parameters)
    still = found.parameters.mean[0]
    assert torch.allclose(still, torch.zeros(3, dtype=torch.float64), atol=1e-9)
    floor = 1e-3 * events.values[events.mask].double().var(0, correction=0)
    torch.testing.assert_close(found.parameters.variance[0], floor)
    quiet = (events.values == 0).all(2) & events.mask
    assert found.filtered(events)[quiet][:, 0].min() > 0.99


VISITS = seen(random_events())
BAD = {
    "half a period": (
        VISITS, CATEGORIES, 30, 4, "one or more whole periods .*Found days=30, period=4"
    ),
    "no days": (VISITS, CATEGORIES, 0, 1, "Found days=0, period=1"),
    "no period": (VISITS, CATEGORIES, 5, 0, "Found days=5, period=0"),
    "too few categories": (
        VISITS, CATEGORIES[:-1], 4, 2, "Each of 9 merchants needs a category. Found 8"
    ),
    "the cut-off day": (
        replace(VISITS, day=VISITS.day + 1), CATEGORIES, 4, 2,
        "before the cut-off, day 50. Found one on day 50",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_bad_input_is_refused(
    case: tuple[Visits, np.ndarray, int, int, str],
) -> None:
    visits, categories, days, period, message = case
    with pytest.raises(ValueError, match=message):
        observations(visits, categories, cutoff=CUTOFF, days=days, period=period)
