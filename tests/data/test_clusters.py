"""Posteriors against the densities written out, dead clusters, and bad input."""

import pytest
import torch
from torch.distributions import MultivariateNormal
from torch.testing import assert_close

from ple_study.data.clusters import GaussianClusters

CENTRES = torch.tensor([[0.0, 0.0], [40.0, 0.2], [0.0, 0.9]], dtype=torch.float64)
SCALE = torch.tensor([2.0, 0.03], dtype=torch.float64)


def planted(size: int = 300, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(3, (size,), generator=g)
    noise = torch.randn(size, 2, generator=g, dtype=torch.float64)
    return CENTRES[label] + SCALE * noise, label


def test_planted_clusters_are_found_and_none_is_dead() -> None:
    rows, label = planted()
    found = GaussianClusters(3).fit(rows)
    likeliest = found.posteriors(rows).argmax(1)
    pairs = {(a, b) for a, b in zip(label.tolist(), likeliest.tolist(), strict=True)}
    assert len(pairs) == 3
    assert found.converged
    assert found.dead == ()
    assert found.sizes == tuple(torch.bincount(likeliest, minlength=3).tolist())


def test_posteriors_and_density_are_bayes_rule_in_the_columns_units() -> None:
    rows, _ = planted()
    found = GaussianClusters(4, seed=1).fit(rows)
    mixture = found.mixture
    mean = torch.from_numpy(mixture.means_) * found.std + found.mean
    outer = found.std[:, None] * found.std
    normal = MultivariateNormal(mean, torch.from_numpy(mixture.covariances_) * outer)
    weights = torch.from_numpy(mixture.weights_)
    other = planted(7, seed=5)[0] + 0.1
    joint = weights.log() + normal.log_prob(other[:, None])
    assert_close(found.log_density(other), joint.logsumexp(1))
    assert_close(found.posteriors(other), joint.softmax(1))


def test_a_cluster_that_no_row_is_likeliest_in_is_told_dead() -> None:
    # k-means starts leave none in so small a world: one is starved of its weight.
    rows, _ = planted()
    found = GaussianClusters(3).fit(rows)
    found.mixture.weights_[0] = 1e-300
    again = found.posteriors(rows).argmax(1)
    sizes = tuple(torch.bincount(again, minlength=3).tolist())
    told = type(found)(found.mixture, found.mean, found.std, sizes)
    assert told.dead == (0,)


def test_one_row_alone_reads_as_among_others_and_fits_repeat() -> None:
    rows, _ = planted()
    found = GaussianClusters(3).fit(rows)
    whole = found.posteriors(rows.float())
    assert whole.dtype == torch.float32
    assert_close(found.posteriors(rows[4:5].float()), whole[4:5])
    assert_close(whole.sum(1), torch.ones(len(rows)))
    assert torch.equal(GaussianClusters(3).fit(rows).posteriors(rows.float()), whole)


def test_units_and_a_constant_column_change_nothing() -> None:
    rows, _ = planted()
    found = GaussianClusters(3).fit(rows).posteriors(rows)
    moved = torch.cat([rows * 1e3 - 7e4, torch.full((len(rows), 1), 0.1)], 1)
    again = GaussianClusters(3).fit(moved).posteriors(moved)
    assert_close(again, found, rtol=0, atol=1e-6)


def test_a_fit_cut_short_says_so() -> None:
    g = torch.Generator().manual_seed(2)
    assert (
        not GaussianClusters(5, iterations=1)
        .fit(torch.rand(200, 3, generator=g))
        .converged
    )


BAD = {
    "fewer rows than clusters": (torch.arange(6.0).reshape(3, 2), "Found 3 in 3"),
    "all rows equal": (torch.ones(9, 2), "Found 1 in 9"),
    "not a number": (torch.tensor([[1.0], [torch.nan]]), r"first \[1\]"),
    "infinite": (torch.tensor([[torch.inf], [1.0]]), r"first \[0\]"),
    "no row": (torch.zeros(0, 2), r"Found \[0, 2\]"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_bad_rows_are_refused(case: tuple[torch.Tensor, str]) -> None:
    with pytest.raises(ValueError, match=case[1]):
        GaussianClusters(4).fit(case[0])


def test_bad_settings_and_other_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        GaussianClusters(0)
    with pytest.raises(ValueError, match="above 0"):
        GaussianClusters(variance_floor=0.0)
    found = GaussianClusters(3).fit(planted()[0])
    with pytest.raises(ValueError, match=r"2 columns. Found 3"):
        found.posteriors(torch.ones(4, 3))
