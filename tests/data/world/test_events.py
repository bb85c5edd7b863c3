"""What is planted in events can be seen in them, and only where it was planted."""

import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from ple_study.data.world import Bank
from ple_study.data.world.blocks import Block
from ple_study.data.world.draws import bursts, choices, days
from ple_study.data.world.events import (
    AMOUNT,
    COUNT,
    SCREENS,
    around_a_hole,
    blur,
    burst_share,
    first_shown,
    payment_swing,
    session_swing,
)
from ple_study.data.world.sizes import HISTORY, MONTH, SIZES, Size

SMALL = SIZES["small"]
EARLY = first_shown(SMALL)  # the first day that is not


def slopes(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.polyfit(x, y, 1)[0]) if len(x) > 5 else 0.0


def square(block: Block) -> np.ndarray:
    """Hour and screen of each session, in the unit square."""
    log = block.logs.session
    return np.stack([(log.hour - 6) / 14, (log.place - 0.5) / SCREENS])


def test_sessions_leave_a_hole_unless_they_are_blurred(block: Block) -> None:
    far = np.abs(np.abs(square(block) - 0.5).sum(0) - 0.5)
    step = blur(block.who)[block.logs.session.customer]
    clear, lost = far[step < 0.05].mean(), far[step > 0.25].mean()
    assert clear < 0.05 < 3 * clear < lost
    assert np.corrcoef(far, step)[0, 1] > 0.4
    factor = block.who.lens("perslay")[:, 0]
    assert (np.diff(blur(block.who)[np.argsort(factor)]) < 0).all()


def test_the_hole_is_in_no_coordinate_alone(block: Block) -> None:
    """Hours, screens and minutes are spread alike, whatever the hole."""
    log = block.logs.session
    step = blur(block.who)[log.customer]
    for some in (step < 0.08, step > 0.25):
        assert kstest(square(block)[0, some], "uniform").pvalue > 0.01
        number = np.bincount((log.place[some] - 1) // 20, minlength=SCREENS // 20)
        assert chisquare(number).pvalue > 0.01
        assert kstest(np.log(log.amount[some]), "norm", (1.3, 0.75)).pvalue > 0.01


def test_a_day_sees_no_screen_twice(block: Block) -> None:
    """Else the series, which count them, would tell the hole with the day's hours."""
    log = block.logs.session
    cell = log.customer * HISTORY + log.day
    screens = np.unique(cell * (SCREENS + 1) + log.place)
    assert len(screens) > 0.99 * len(log)


def test_points_around_a_hole_are_uniform_in_each_coordinate() -> None:
    rng = np.random.default_rng(1)
    for step in (0.0, 0.1, 0.5):
        points = np.stack(around_a_hole(np.full(20_000, step), rng))
        assert all(kstest(values, "uniform").pvalue > 0.01 for values in points)
        corner = (np.abs(points - 0.5).sum(0) > 0.95).mean()  # a half of 0.05^2 each
        assert corner == pytest.approx(0.005 * (step == 0.5), abs=0.002)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_payments_swing_within_each_whole_month_that_is_shown(size: Size) -> None:
    """Reversed within its months a swing is its own negative: a month says nothing."""
    wave = payment_swing(size).reshape(-1, MONTH)
    np.testing.assert_allclose(wave, -wave[:, ::-1], atol=1e-12)
    shown = np.arange(0, HISTORY, MONTH) >= first_shown(size)
    assert shown.sum() >= 3
    assert not wave[~shown].any()
    assert (wave[shown, : MONTH // 2] > 0).all()
    assert wave[shown].max() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_sessions_swing_and_rest(size: Size) -> None:
    wave, steps = session_swing(size), size.steps[1]
    assert not wave[:-steps].any()
    assert not wave[-(steps // 2) :].any()
    assert wave.sum() == pytest.approx(0, abs=1e-12)
    first = HISTORY - steps
    assert (wave[first : first + steps // 4] > 0).all()


@pytest.mark.parametrize(
    ("first", "last", "loud"), [(EARLY, HISTORY, 1.2), (0, EARLY, 0.0)]
)
def test_amounts_swing_with_the_first_temporal_factor(
    block: Block, first: int, last: int, loud: float
) -> None:
    log, wave = block.logs.card, payment_swing(SMALL)
    wave = wave if loud else np.tile(wave[-MONTH:], HISTORY // MONTH)
    found = []
    for customer in range(500):
        own = slice(log.start[customer], log.start[customer + 1])
        seen = (log.day[own] >= first) & (log.day[own] < last)
        found.append(slopes(wave[log.day[own][seen]], np.log(log.amount[own][seen])))
    factor = block.who.lens("temporal")[:, 0]
    assert (np.corrcoef(found, factor)[0, 1] > 0.6) == (loud > 0)
    assert slopes(factor, np.array(found)) == pytest.approx(loud, abs=0.15)


def test_sessions_swing_with_the_second_temporal_factor(block: Block) -> None:
    log = block.logs.session.since(HISTORY - SMALL.steps[1])
    count = np.bincount(log.customer, minlength=500)
    wave = session_swing(SMALL)[log.day]
    late = np.bincount(log.customer, wave, minlength=500) / np.maximum(count, 1)
    factor, seen = block.who.lens("temporal")[:, 1], count > 9
    assert np.corrcoef(late[seen], factor[seen])[0, 1] > 0.6


def crowds(days_of: list[np.ndarray], length: int) -> np.ndarray:
    """Variance over mean of the numbers of events in each step, a customer each."""
    numbers = [np.bincount(day, minlength=length) for day in days_of]
    return np.array([n.var() / max(n.mean(), 0.05) for n in numbers])


def test_bursts_crowd_the_early_days_and_no_month(block: Block) -> None:
    log, share = block.logs.card, burst_share(block.who)
    each = [log.day[log.start[i] : log.start[i + 1]] for i in range(500)]
    early, late = [d[d < EARLY] for d in each], [d[d >= EARLY] - EARLY for d in each]
    assert np.corrcoef(crowds(early, EARLY), share)[0, 1] > 0.5
    assert abs(np.corrcoef(crowds(late, HISTORY - EARLY), share)[0, 1]) < 0.12
    months = crowds([day // MONTH for day in each], HISTORY // MONTH)
    assert abs(np.corrcoef(months, share)[0, 1]) < 0.12


def test_tastes_choose_categories_early_and_brands_late(bank: Bank) -> None:
    block, plan = bank.block(0), bank.plan
    wanted = {"unified_hgcn": (0, plan.branch), "lightgcn": (2, plan.taste)}
    for lens, (level, place) in wanted.items():
        found = []
        for log in (block.logs.card.until(EARLY), block.logs.card.since(EARLY)):
            at = place[plan.leaves[log.place - 1, level]]
            sums = np.stack([np.bincount(log.customer, x, 500) for x in at.T], 1)
            number = np.maximum(np.bincount(log.customer, minlength=500), 1)
            mean, factor = sums / number[:, None], block.who.lens(lens)
            found.append(np.corrcoef(mean[:, 0], factor[:, 0])[0, 1])
        loud, quiet = found if lens == "unified_hgcn" else found[::-1]
        assert loud > 0.8, lens
        assert abs(quiet) < 0.15, lens


def test_states_bring_their_number_and_their_size_of_payments() -> None:
    bank = Bank(4000, seed=7, size="small")
    counts, sizes = np.zeros((2, 6)), np.zeros((2, 6))
    for number in range(4):
        block = bank.block(number)
        log, month = block.logs.card, block.logs.card.day // MONTH
        cell = np.zeros((len(block.who), HISTORY // MONTH))
        np.add.at(cell, (log.customer, month), 1)
        life = block.who.regimes["lifecycle"]
        np.add.at(counts, (0, life), cell)
        np.add.at(counts, (1, life), 1)
        state = block.who.regimes["behavior"][log.customer, month]
        np.add.at(sizes, (0, state), np.log(log.amount))
        np.add.at(sizes, (1, state), 1)
    found = counts[0, :5] / counts[1, :5]
    np.testing.assert_allclose(found / found[2], COUNT["lifecycle"] / 1.2, rtol=0.1)
    level = sizes[0] / sizes[1]
    np.testing.assert_allclose(level - level[2], AMOUNT, atol=0.12)


def test_salaries_come_once_a_month_on_one_day(block: Block) -> None:
    log = block.logs.deposit
    salary = log.place == 1
    day = log.day[salary].reshape(500, HISTORY // MONTH)
    assert (log.customer[salary].reshape(day.shape) == np.arange(500)[:, None]).all()
    assert (np.diff(day, axis=1) == MONTH).all()
    ratio = np.log(log.amount[salary]).mean() - np.log(log.amount[~salary]).mean()
    assert ratio == pytest.approx(3.0, abs=0.1)


def test_some_customers_do_nothing(bank: Bank, block: Block) -> None:
    cards, sessions = (
        np.bincount(log.customer, minlength=500) for log in block.logs[:2]
    )
    assert 0 < (cards == 0).sum() < 20
    assert 5 < (sessions == 0).sum() < 60
    states = bank.rows(0).batch.states
    assert states is not None
    assert states[cards == 0][:, 1:].isnan().all()
    assert states[sessions == 0][:, 0].isnan().all()


def test_choices_follow_the_softmax_of_their_customer() -> None:
    logits = np.array([[0.0, 1.0, -1.0], [2.0, 0.0, 0.0]])
    customer = np.repeat([0, 1], 40_000)
    found = choices(logits, customer, np.random.default_rng(0))
    odds = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for row in (0, 1):
        share = np.bincount(found[customer == row], minlength=3) / 40_000
        np.testing.assert_allclose(share, odds[row], atol=0.01)


def test_days_of_events() -> None:
    counts = np.array([[0, 2, 0], [1, 0, 3]])
    customer, day = days(counts)
    assert customer.tolist() == [0, 0, 1, 1, 1, 1]
    assert day.tolist() == [1, 1, 0, 2, 2, 2]


def test_bursts_move_days_within_a_month() -> None:
    found = bursts(7, np.random.default_rng(0)).reshape(7, HISTORY // MONTH, MONTH)
    np.testing.assert_allclose(found.mean(2), 1)
    near = np.sort(found, axis=2)[..., -7:].sum(2) / MONTH  # in a week nearly all
    assert (near > 0.99).all()
