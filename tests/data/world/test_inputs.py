"""Inputs are what their names say: against loops over the raw events."""

import numpy as np
import pytest

from ple_study.data.world import Bank
from ple_study.data.world.blocks import Block, join
from ple_study.data.world.inputs import clouds, series
from ple_study.data.world.sizes import HISTORY, MONTH


def test_modes_observe_what_their_docstring_says(bank: Bank, block: Block) -> None:
    found, card = series(bank.plan, block.logs), block.logs.card
    for customer in (1, 40, 333):
        own = card.customer == customer
        for month in range(HISTORY // MONTH):
            now = own & (card.day // MONTH == month)
            if not now.any():
                continue
            kinds = {int(bank.plan.leaves[place - 1, 1]) for place in card.place[now]}
            life = found["lifecycle"].values[customer, month]
            assert life.tolist() == pytest.approx([np.log1p(now.sum()), len(kinds)])
            size = np.log1p(card.amount[now].sum()) - np.log1p(now.sum())
            usual = found["behavior"].values[customer, month].item()
            assert usual == pytest.approx(size, rel=1e-5)
    assert list(found) == ["journey", "lifecycle", "behavior"]
    assert found["journey"].values.shape == (500, 90, 3)


def test_clouds_are_the_events_of_their_customer(block: Block) -> None:
    short, long = clouds(block.logs).values()
    session, card = block.logs.session, block.logs.card
    for customer in (0, 7, 499):
        own = session.customer == customer
        wanted = [session.hour[own], session.place[own]]
        assert np.array_equal(short.of(customer), np.stack(wanted, 1))
        own = card.customer == customer
        wanted = [card.day[own], np.log(card.amount[own]), card.hour[own]]
        assert np.array_equal(long.of(customer), np.stack(wanted, 1))


def test_joined_blocks_keep_every_customer_and_event(bank: Bank, block: Block) -> None:
    second = bank.block(1)
    both = join([block, second])
    assert len(both.who) == 600
    back = both.rows(np.arange(500, 600))
    for one, other in zip(back.logs, second.logs, strict=True):
        assert one.frame().equals(other.frame())
    assert np.array_equal(back.columns, second.columns)
    assert np.array_equal(back.who.factors, second.who.factors)
    np.testing.assert_array_equal(back.labels["churn"], second.labels["churn"])
