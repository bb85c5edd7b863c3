"""Scores against a slow sum, and labels against what the task table promises."""

import numpy as np
import pytest

from ple_study.data.world import Bank
from ple_study.data.world.blocks import Block
from ple_study.data.world.customers import customers
from ple_study.data.world.labels import parts, scores
from ple_study.data.world.tasks import LENSES, MODES

RANGES = {  # spec section 24
    "ctr": (0.03, 0.08),
    "cvr": (0.005, 0.03),
    "churn": (0.05, 0.15),
    "retention": (0.85, 0.95),
}


@pytest.fixture(scope="module")
def drawn() -> dict[str, np.ndarray]:
    """The labels of many customers; their events are not needed."""
    bank = Bank(6000)
    made = [bank.block(number).labels for number in range(len(bank))]
    return {name: np.concatenate([part[name] for part in made]) for name in made[0]}


def test_parts_equal_a_slow_definition(bank: Bank, block: Block) -> None:
    found = parts(bank.plan, bank.signal, block.who)
    for row in (0, 4, 11, 17):
        task, angle = bank.signal.tasks[row], bank.signal.angle[row]
        mode = MODES[task.spec.group]
        for customer in (0, 1, 499):
            state = block.who.regimes[mode][customer, -1]
            cluster = block.who.cluster[customer]
            pairs = [block.who.lens(name)[customer] for name in LENSES]
            pairs.append(bank.plan.regime_effect[mode][row, state])
            pairs.append(bank.plan.cluster_effect[row, cluster])
            for place, (first, second) in enumerate(pairs):
                turned = (first + 1j * second) * np.exp(-1j * angle)
                wanted = [turned.real, turned.imag]
                np.testing.assert_allclose(found[customer, row, place], wanted)


def test_scores_have_variance_one_and_hold_their_shares() -> None:
    bank = Bank(6000, seed=2, size="small")
    rng = np.random.default_rng(0)
    who, _ = customers(bank.plan, bank.widths, 20_000, rng)
    score = scores(bank.plan, bank.signal, who, rng)
    np.testing.assert_allclose(score.std(0), 1, atol=0.03)
    part = parts(bank.plan, bank.signal, who)
    shares = np.concatenate([bank.signal.shares, bank.signal.context], 1)
    covariance = np.einsum("ntf,ntsf->tsf", score, part) / len(score)
    np.testing.assert_allclose(covariance.mean(2), np.sqrt(shares), atol=0.04)


def test_no_noise_leaves_nothing_to_chance(block: Block) -> None:
    silent = Bank(600, seed=3, size="small", noise=0.0)
    one, other = (
        scores(silent.plan, silent.signal, block.who, np.random.default_rng(seed))
        for seed in (0, 1)
    )
    assert np.array_equal(one, other)


@pytest.mark.parametrize("name", RANGES)
def test_class_balances_lie_in_the_stated_ranges(
    drawn: dict[str, np.ndarray], name: str
) -> None:
    low, high = RANGES[name]
    assert low < np.nanmean(drawn[name]) < high


def test_labels_are_missing_as_often_as_the_table_says(
    bank: Bank, drawn: dict[str, np.ndarray]
) -> None:
    for task in bank.signal.tasks:
        known = 1 - np.isnan(drawn[task.spec.name]).mean()
        assert known == pytest.approx(task.observed, abs=0.03)


def test_only_clicks_convert_and_churners_are_lost(
    drawn: dict[str, np.ndarray],
) -> None:
    both = ~np.isnan(drawn["ctr"]) & ~np.isnan(drawn["cvr"])
    assert not (drawn["cvr"][both] > drawn["ctr"][both]).any()
    kept = (
        drawn["retention"][drawn["churn"] == 1],
        drawn["retention"][drawn["churn"] == 0],
    )
    assert np.nanmean(kept[0]) < np.nanmean(kept[1]) - 0.2
    worth = drawn["ltv"][drawn["cvr"] == 1], drawn["ltv"][drawn["cvr"] == 0]
    assert np.nanmean(worth[0]) > np.nanmean(worth[1]) + 1.5


def test_what_speaks_against_churn_speaks_for_retention() -> None:
    """Else the chain would take away what the score gives."""
    bank = Bank(6000, size="small")
    made = [bank.block(number) for number in range(len(bank))]
    retention = np.concatenate([block.labels["retention"] for block in made])
    churn = np.concatenate([block.labels["churn"] for block in made])
    row = [task.spec.name for task in bank.signal.tasks].index("retention")
    first = [parts(bank.plan, bank.signal, block.who)[:, row, 1, 0] for block in made]
    shape = np.concatenate(first)  # its first lens, as retention reads it
    kept, lost = (np.nanmean(shape[retention == value]) for value in (1, 0))
    assert kept - lost > 0.5
    assert np.nanmean(shape[churn == 0]) > np.nanmean(shape[churn == 1])


def test_categories_and_brands_follow_their_source(
    drawn: dict[str, np.ndarray],
) -> None:
    category = drawn["spending_category"]
    for source, target in (
        (drawn["nba"], category),
        (category, drawn["brand_prediction"]),
    ):
        both = ~np.isnan(source) & ~np.isnan(target)
        same = (source[both] == target[both] % 12).mean()
        assert 0.40 < same < 0.55  # 0.4 decided by it, and chance


def test_every_class_of_every_task_occurs(drawn: dict[str, np.ndarray]) -> None:
    for task in Bank(6000).signal.tasks:
        if task.spec.classes > 1:
            known = drawn[task.spec.name]
            found = np.unique(known[~np.isnan(known)])
            assert found.tolist() == list(range(task.spec.classes))
