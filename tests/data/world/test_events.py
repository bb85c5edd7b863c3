"""What is planted in events can be seen in them."""

import numpy as np
import pytest

from ple_study.data.world import Bank
from ple_study.data.world.blocks import Block
from ple_study.data.world.draws import choices, days, kernel
from ple_study.data.world.events import AMOUNT, COUNT, burst_share, hole_radius
from ple_study.data.world.sizes import HISTORY, MONTH


def slopes(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.polyfit(x, y, 1)[0]) if len(x) > 5 else 0.0


def test_sessions_leave_their_hole_empty(block: Block) -> None:
    """Each lies on the ring from hole * R to R, where 1 is the mean square."""
    log = block.logs.session
    radius = np.hypot((log.hour - 13) / 5, np.log(log.amount) - 1)
    hole = hole_radius(block.who)[log.customer]
    outer = np.sqrt(2 / (1 + hole**2))
    assert (radius >= hole * outer - 1e-9).all()
    assert (radius <= outer + 1e-9).all()
    assert (radius**2).mean() == pytest.approx(1, abs=0.02)
    for low, high in ((0.0, 0.3), (0.7, 1.0)):  # the hole is not to be seen by size
        some = radius[(hole >= low) & (hole < high)]
        assert (some**2).mean() == pytest.approx(1, abs=0.04)


def test_amounts_drift_with_the_first_temporal_factor(block: Block) -> None:
    log, begin = block.logs.card, HISTORY - 90
    found = []
    for customer in range(500):
        own = slice(log.start[customer], log.start[customer + 1])
        shown = log.day[own] >= begin
        found.append(slopes(log.day[own][shown] / 90, np.log(log.amount[own][shown])))
    factor = block.who.lens("temporal")[:, 0]
    assert np.corrcoef(found, factor)[0, 1] > 0.6
    assert slopes(factor, np.array(found)) == pytest.approx(2.5, abs=0.8)


def test_sessions_come_late_with_the_second_temporal_factor(block: Block) -> None:
    log = block.logs.session.since(HISTORY - 30)
    count = np.bincount(log.customer, minlength=500)
    late = np.bincount(log.customer, log.day, minlength=500) / np.maximum(count, 1)
    factor, seen = block.who.lens("temporal")[:, 1], count > 9
    assert np.corrcoef(late[seen], factor[seen])[0, 1] > 0.6


def test_bursty_customers_crowd_their_days(block: Block) -> None:
    log = block.logs.card
    crowd = []
    for customer in range(500):
        day = log.day[log.start[customer] : log.start[customer + 1]]
        per_day = np.bincount(day, minlength=HISTORY)
        crowd.append(per_day.var() / max(per_day.mean(), 0.05))
    assert np.corrcoef(crowd, burst_share(block.who))[0, 1] > 0.5


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
    assert not states[cards == 0][:, 1:].any()
    assert not states[sessions == 0][:, 0].any()


def test_choices_follow_the_softmax_of_their_customer() -> None:
    logits = np.array([[0.0, 1.0, -1.0], [2.0, 0.0, 0.0]])
    customer = np.repeat([0, 1], 40_000)
    found = choices(logits, customer, np.random.default_rng(0))
    odds = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for row in (0, 1):
        share = np.bincount(found[customer == row], minlength=3) / 40_000
        np.testing.assert_allclose(share, odds[row], atol=0.01)


def test_days_and_kernel() -> None:
    counts = np.array([[0, 2, 0], [1, 0, 3]])
    customer, day = days(counts)
    assert customer.tolist() == [0, 0, 1, 1, 1, 1]
    assert day.tolist() == [1, 1, 0, 2, 2, 2]
    found = kernel(np.array([[10, 300], [0, 363]]))
    np.testing.assert_allclose(found.mean(1), 1)
    assert found[0].argmax() in (10, 300)
    assert found[0, 150] < 1e-9
