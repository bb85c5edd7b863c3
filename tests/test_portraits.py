"""Portraits show the numbers they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from ple_study import plots, portraits


@pytest.fixture(autouse=True)
def axes():
    with plt.rc_context(plots.STYLE):
        figure, axes = plt.subplots()
        yield axes
        plt.close(figure)


def test_a_dot_grows_with_its_amount(axes):
    amount = np.array([1.0, 2.0, 4.0])
    portraits.events(axes, np.arange(3), amount, amount, colour="#228833")
    area = axes.collections[0].get_sizes()
    np.testing.assert_allclose(area - 3, [15, 30, 60])
    assert axes.yaxis_inverted()


def test_a_barcode_has_its_homologies_apart_and_the_longest_last(axes):
    points = np.array([[0.5, 0.9, 1], [0, 0.7, 0], [0, 0.2, 0]])
    portraits.barcode(axes, points, ("#000000", "#ffffff"))
    bars = [c.get_segments()[0] for c in axes.collections]
    assert [bar[:, 0].tolist() for bar in bars] == [[0, 0.2], [0, 0.7], [0.5, 0.9]]
    colours = [to_hex(c.get_color()[0]) for c in axes.collections]
    assert colours == ["#000000", "#000000", "#ffffff"]


def test_a_diagram_shows_births_and_deaths_by_homology(axes):
    points = np.array([[0.5, 0.9, 1], [0, 0.7, 0], [0, 0.2, 0]])
    portraits.diagram(axes, points, ("#000000", "#ffffff"))
    diagonal, parts, loops = axes.lines
    np.testing.assert_allclose(diagonal.get_xdata(), diagonal.get_ydata())
    np.testing.assert_allclose(parts.get_xydata(), [[0, 0.7], [0, 0.2]])
    np.testing.assert_allclose(loops.get_xydata(), [[0.5, 0.9]])


def test_a_star_has_the_customers_who_share_a_merchant(axes):
    counts = np.array([[2.0, 1, 0], [1, 0, 4], [0, 0, 3]])
    portraits.star(axes, counts, 0, colour="#66CCEE")
    grey, own = axes.lines[0], axes.lines[1:3]
    # Customer 1 shares merchant 0, customer 2 none.
    assert grey.get_color() == plots.GREY
    assert [line.get_linewidth() for line in own] == [3.0, 1.75]
    assert len(axes.lines[3].get_xdata()) == 1


def test_a_ribbon_has_each_stretch_twice_in_its_state(axes):
    portraits.regimes(axes, np.array([-1, 2, 2, 0, 2]), 3)
    spans = [
        sorted((path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in paths)
        for paths in (bars.get_paths() for bars in axes.collections)
    ]
    upper = [(1.0, 3.0), (4.0, 5.0)]
    assert spans == [[(3.0, 4.0)], [(3.0, 4.0)], [], [], upper, upper]


def test_a_mirror_ends_at_the_cutoff_and_has_both_series_whole(axes):
    up, down = np.array([0.0, 2.0, 4.0]), np.array([5.0, 0.0, 1.0])
    portraits.mirror(axes, up, down, colour="#CCBB44")
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(heights, [0, 0.5, 1, -1, 0, -0.2])
    assert axes.patches[2].get_x() + axes.patches[2].get_width() == 0


def test_a_histogram_has_one_customers_bars_and_everyones_line(axes):
    shares, usual = np.array([0.2, 0.5, 0.3]), np.array([0.1, 0.1, 0.8])
    portraits.histogram(axes, shares, usual, colour="#EE7733")
    assert [bar.get_height() for bar in axes.patches] == [0.2, 0.5, 0.3]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), usual)


def test_a_crowd_enlarges_the_alike_and_rings_one(axes):
    places = np.array([[0.0, 1], [2, 3], [4, 5]])
    portraits.crowd(axes, places, np.array([True, False, True]), 2)
    everyone, alike, ring, dot = (line.get_xydata().tolist() for line in axes.lines)
    assert everyone == places.tolist()
    assert alike == [[0, 1], [4, 5]]
    assert ring == dot == [[4, 5]]


def test_a_tint_ends_in_its_colour():
    assert to_hex(portraits.tint("#4477AA", 1.0)) == "#4477aa"
    assert to_hex(portraits.tint("#4477AA", 0.0)) == "#dbdbdb"


def test_a_customer_without_a_merchant_is_a_star_without_rays(axes):
    portraits.star(axes, np.zeros((3, 5)), 1, colour="#000000")
    assert len(axes.collections[0].get_offsets()) == 0
