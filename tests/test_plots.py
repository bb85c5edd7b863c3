"""Figures show the numbers they are given, and are drawn the same each time."""

import io
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from ple_study import plots


@pytest.fixture(autouse=True)
def axes():
    with plt.rc_context(plots.STYLE):
        figure, axes = plt.subplots()
        yield axes
        plt.close(figure)


def heights(patch, x):
    """How tall a ribbon stands at its left (x = 0) or right (x = 1) end."""
    ends = [y for at, y in patch.get_path().vertices if at == x]
    return max(ends) - min(ends)


def test_a_ribbon_is_as_wide_as_its_gate_weight(axes):
    weights = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    plots.ribbons(axes, weights, ["a", "b", "c"], ["first", "second"])
    for x in (0, 1):
        found = np.array([heights(patch, x) for patch in axes.patches])
        expected = weights.flatten().numpy() / weights.sum().item()
        np.testing.assert_allclose(found / found.sum(), expected, atol=1e-6)


def test_ribbons_of_a_side_do_not_overlap(axes):
    weights = torch.softmax(torch.randn(5, 4, generator=torch.Generator()), dim=1)
    plots.ribbons(axes, weights, list("abcd"), list("vwxyz"))
    for x in (0, 1):
        bands = []
        for patch in axes.patches:
            ends = [y for at, y in patch.get_path().vertices if at == x]
            bands.append((min(ends), max(ends)))
        bands.sort()
        assert all(a[1] <= b[0] + 1e-6 for a, b in pairwise(bands))
        assert bands[0][0] >= -1e-6
        assert bands[-1][1] <= 1 + 1e-6


def test_intervals_draw_mean_low_and_high(axes):
    plots.intervals(axes, {"ctr": (0.1, -0.2, 0.3), "churn": (0.5, 0.4, 0.6)})
    (bars,) = axes.collections
    spans = [sorted(segment[:, 0]) for segment in bars.get_segments()]
    np.testing.assert_allclose(spans, [(-0.2, 0.3), (0.4, 0.6)])
    assert [t.get_text() for t in axes.get_yticklabels()] == ["ctr", "churn"]


def test_a_matrix_reads_from_the_top(axes):
    image = plots.matrix(axes, torch.tensor([[1.0, -1.0]]), ["r"], ["c", "d"])
    assert axes.yaxis_inverted()
    np.testing.assert_array_equal(image.get_array(), [[1.0, -1.0]])


def test_the_same_figure_is_the_same_bytes(axes):
    def drawn():
        buffer = io.BytesIO()
        axes.figure.savefig(buffer, format="svg", metadata={"Date": None})
        return buffer.getvalue()

    plots.intervals(axes, {"ctr": (0.1, -0.2, 0.3)})
    assert drawn() == drawn()
