"""The columns hold what was planted in them, to the digit."""

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import wasserstein_distance

from ple_study.data.world import Bank
from ple_study.data.world.blocks import Block
from ple_study.data.world.customers import (
    PURCHASES,
    causal_columns,
    customers,
    histogram_columns,
    places,
)
from ple_study.data.world.inputs import cluster_columns
from ple_study.data.world.plan import CROSSED, PERSONA_FIELDS


def test_products_of_crossed_columns_are_the_factor(bank: Bank, block: Block) -> None:
    first = places(bank.widths)
    pairs = [
        block.columns[:, first[a]] * block.columns[:, first[b]] for a, b in CROSSED
    ]
    wanted = np.stack([sum(pairs[:4]) / 2, sum(pairs[4:]) / 2], 1)
    np.testing.assert_allclose(block.who.lens("deepfm"), wanted, atol=1e-12)


def test_what_causes_leave_unexplained_is_the_factor(bank: Bank, block: Block) -> None:
    nodes = block.columns[:, causal_columns(bank.widths)]
    rest = nodes.copy()
    for effect in range(len(bank.plan.dag)):
        for cause in range(len(bank.plan.dag)):
            rest[:, effect] -= bank.plan.dag[cause, effect] * nodes[:, cause]
    found = rest[:, bank.plan.shocked]
    np.testing.assert_allclose(block.who.lens("causal"), found, atol=1e-9)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.8])
def test_histograms_lie_on_the_way_between_two_personas(share: float) -> None:
    """Mass moves: so far from the one, and the rest of the way from the other."""
    bank = Bank(600, seed=3, size="study")
    who, columns = customers(bank.plan, bank.widths, 8000, np.random.default_rng(4))
    first = places(bank.widths)
    for axis, name in enumerate(PERSONA_FIELDS):
        size = bank.widths.bins[axis]
        bins = columns[:, first[name] : first[name] + size]
        np.testing.assert_allclose(bins.sum(1), 1)
        bought = bins * PURCHASES
        np.testing.assert_allclose(bought, bought.round(), atol=1e-9)
        begin, end = bank.plan.personas[axis]
        place = np.arange(size)
        way = ndtr(who.lens("optimal_transport")[:, axis])
        mean = bins[np.abs(way - share) < 0.02].mean(0)
        whole = wasserstein_distance(place, place, begin, end)
        gone = wasserstein_distance(place, place, begin, mean) / whole
        left = wasserstein_distance(place, place, mean, end) / whole
        assert (gone, left) == pytest.approx((share, 1 - share), abs=0.03)


def test_only_histograms_are_shares(bank: Bank) -> None:
    shares = [f.name for f in bank.schema.features if f.kind == "probability"]
    names = [f.name for f in bank.schema.features]
    assert shares == [names[column] for column in histogram_columns(bank.widths)]


def test_clusters_lie_around_their_centres(bank: Bank, block: Block) -> None:
    away = block.columns[:, cluster_columns(bank.widths).numpy()]
    away = away - bank.plan.centres[block.who.cluster]
    np.testing.assert_allclose(away.mean(0), 0, atol=0.15)
    np.testing.assert_allclose(away.std(0), 1, atol=0.12)


def test_factors_are_standard_and_independent(bank: Bank) -> None:
    rng = np.random.default_rng(8)
    who, columns = customers(bank.plan, bank.widths, 20_000, rng)
    flat = who.factors.reshape(len(who), -1)
    np.testing.assert_allclose(flat.mean(0), 0, atol=0.03)
    np.testing.assert_allclose(flat.std(0), 1, atol=0.03)
    np.testing.assert_allclose(np.corrcoef(flat.T), np.eye(14), atol=0.04)
    assert columns.shape == (20_000, len(bank.schema.numeric))
    shares = np.bincount(who.cluster, minlength=5) / len(who)
    np.testing.assert_allclose(shares, bank.plan.cluster_shares, atol=0.015)


def test_columns_of_one_field_go_together_and_no_others(bank: Bank) -> None:
    rng = np.random.default_rng(9)
    _, columns = customers(bank.plan, bank.widths, 20_000, rng)
    first = places(bank.widths)
    field = [f.group for f in bank.schema.features]
    free = [i for i, name in enumerate(field) if name in ("rfm", "mamba", "tda_long")]
    free = [i for i in free if i not in first.values()]
    found = np.abs(np.corrcoef(columns[:, free].T))
    same = np.array([[field[i] == field[j] for j in free] for i in free])
    assert found[~same].max() < 0.04
    assert found[same & ~np.eye(len(free), dtype=bool)].mean() > 0.1
