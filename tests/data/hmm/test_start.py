"""Where states begin: the clusters' own means and variances, floored."""

import torch
from torch.testing import assert_close

from ple_study.batch import Events
from ple_study.data.hmm.start import kmeans_start


def test_kmeans_starts_from_the_clusters_moments() -> None:
    values = torch.tensor([[[0.0], [1.0], [99.0]], [[10.0], [10.0], [13.0]]]).double()
    mask = torch.tensor([[True, True, False], [True, True, True]])
    start = kmeans_start(Events(values, mask), 2, 0.3, 0)
    order = start.mean[:, 0].argsort()
    assert_close(start.mean[order, 0], torch.tensor([0.5, 11.0]).double())
    # 0.25 is below the floor of 0.3; (1 + 1 + 4) / 3 is not.
    assert_close(start.variance[order, 0], torch.tensor([0.3, 2.0]).double())
    assert_close(start.start, torch.full((2,), 0.5).double())
    assert_close(start.transition, torch.full((2, 2), 0.5).double())
