"""Counts in bins, the stability index, and how often chance alone does as much."""

import math

import pytest
import torch
from scipy import stats

from ple_study.drift import chance, counts, holm, quantile_edges, stability_index
from tests.sizes import BATCH


def test_bins_hold_equal_shares_and_every_row_lies_in_one() -> None:
    values = torch.randn(997, generator=torch.Generator().manual_seed(0))
    edges = quantile_edges(values, 7)
    found = counts(values, edges)
    assert (len(edges), found.sum(), found[-1]) == (6, 997, 0)
    assert found[:-1].max() - found[:-1].min() <= 2
    slow = [sum(float(v) > float(e) for e in edges) for v in values]
    assert found.tolist() == [slow.count(place) for place in range(8)]


def test_a_column_of_few_values_has_a_bin_for_each_and_one_for_none() -> None:
    values = torch.tensor([0.0, 0, 0, 1, 1, 3, torch.nan])
    edges = quantile_edges(values, 10)
    assert edges[1::2].tolist() == [0, 1, 3]
    assert torch.equal(edges[::2].float(), torch.tensor([0.0, 1, 3]))
    assert counts(values, edges).tolist() == [0, 3, 0, 2, 0, 1, 0, 1]
    other = torch.tensor([2.0, 9.0, -torch.inf, -1.0])
    assert counts(other, edges).tolist() == [2, 0, 0, 0, 1, 0, 1, 0]
    always = quantile_edges(torch.ones(BATCH))
    assert counts(torch.tensor([0.0, 1, 2]), always).tolist() == [1, 1, 1, 0]
    nobody = torch.full((BATCH,), torch.nan)
    assert counts(nobody, quantile_edges(nobody, 10)).tolist() == [0, BATCH]
    with pytest.raises(ValueError, match=r"two bins or more. Found 1"):
        quantile_edges(values, 1)


def test_a_value_that_many_have_does_not_hide_the_others() -> None:
    draw = torch.Generator().manual_seed(0)
    rows = torch.rand(1_000, generator=draw)
    values = torch.where(torch.arange(1_000) < 950, 0.0, 1 + rows)
    edges = quantile_edges(values, 10)
    found = counts(values, edges)
    assert found[1] == 950
    assert (found > 0).sum() == 10
    assert chance(found, counts(100 * values, edges)) < 1e-4
    assert stability_index(found, counts(100 * values, edges)) > 0.1


@pytest.mark.parametrize(
    ("before", "now", "merged"),
    [
        # The smaller sample, of 100, expects a row in eleven.
        ([500, 490, 6, 4], [50, 48, 0, 2], [[500, 500], [50, 50]]),
        ([500, 400, 60, 40], [50, 30, 15, 5], [[500, 400, 100], [50, 30, 20]]),
        ([500, 420, 40, 40], [50, 35, 9, 6], [[500, 420, 80], [50, 35, 15]]),
        ([500, 400, 60, 40], [5_000, 4_000, 700, 300], None),
    ],
)
def test_bins_of_few_rows_are_put_together(before, now, merged) -> None:
    wanted = stats.chi2_contingency(merged or [before, now], correction=False)
    assert wanted.expected_freq.min() >= 5
    assert chance(torch.tensor(before), torch.tensor(now)) == pytest.approx(
        wanted.pvalue
    )


def test_the_index_is_the_sum_over_bins_with_half_a_row_added() -> None:
    before, now = torch.tensor([30, 0, 9, 0]), torch.tensor([10, 4, 0, 0])
    p = [x / (39 + 1.5) for x in (30.5, 0.5, 9.5)]
    q = [x / (14 + 1.5) for x in (10.5, 4.5, 0.5)]
    slow = sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))
    assert stability_index(before, now) == pytest.approx(slow, rel=1e-12)
    both = sum(stats.entropy(*pair) for pair in ((p, q), (q, p)))
    assert stability_index(before, now) == pytest.approx(both, rel=1e-12)
    assert stability_index(now, before) == pytest.approx(slow, rel=1e-12)
    assert stability_index(now, now) == 0


def test_of_one_distribution_the_index_is_what_the_counts_allow() -> None:
    draw, bins, n, m = torch.Generator().manual_seed(0), 8, 900, 400
    found = []
    for _ in range(2_000):
        here, there = (torch.randint(bins, (k,), generator=draw) for k in (n, m))
        pair = [x.bincount(minlength=bins) for x in (here, there)]
        found.append(stability_index(*pair))
    wanted = (bins - 1) * (1 / n + 1 / m)
    assert sum(found) / 2_000 == pytest.approx(wanted, rel=0.07)


def test_chance_is_uniform_without_a_difference_and_small_with_one() -> None:
    draw = torch.Generator().manual_seed(1)
    found = []
    for _ in range(400):
        values, other = torch.randn(2, 500, generator=draw)
        edges = quantile_edges(values, 5)
        found.append(chance(counts(values, edges), counts(other, edges)))
    assert stats.kstest(found, "uniform").pvalue > 0.01
    moved = counts(other + 1, edges)
    assert chance(counts(values, edges), moved) < 1e-6
    assert chance(torch.tensor([3, 0]), torch.tensor([BATCH, 0])) == 1
    assert chance(torch.tensor([2, 1]), torch.tensor([0, BATCH])) == 1  # too few


def test_holm_multiplies_by_how_many_are_left() -> None:
    found = holm([0.03, 0.001, 0.02, 0.9])
    assert found == pytest.approx([0.06, 0.004, 0.06, 0.9])
    assert (holm([]), holm([0.7]), holm([0.6, 0.9])) == ([], [0.7], [1.0, 1.0])
