"""The waterfall shows the numbers it is given."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from ple_study import plots
from ple_study.interpret.picture import alt, waterfall
from ple_study.interpret.wording import SOURCES, Wording
from tests.interpret.cases import found

RAW = (0.3, -0.5, 1.0, 0.1, 0.0)
PRESENT = (True, False, True, True, True)


@pytest.fixture
def axes():
    with plt.rc_context(plots.STYLE):
        figure, axes = plt.subplots()
        yield axes
        plt.close(figure)


def words(axes: Axes) -> list[str]:
    return [text.get_text().strip() for text in axes.texts]


def test_bars_lead_from_the_average_to_the_answer(axes: Axes) -> None:
    waterfall(axes, found(RAW, present=PRESENT), 1, "leaving_soon")
    widths = [bar.get_width() for bar in axes.patches]
    lefts = [bar.get_x() for bar in axes.patches]
    np.testing.assert_allclose(widths, [1.0, -0.5, 0.3, 0.1, 0.0])
    np.testing.assert_allclose(lefts, [-2.0, -1.0, -1.5, -1.2, -1.1])
    assert words(axes) == ["every source at its average: 12 %", "answer: 25 %"]
    dots = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(dots, [-2.0, -1.1])
    assert axes.yaxis_inverted()


def test_bars_have_their_experts_colours_and_names(axes: Axes) -> None:
    waterfall(axes, found(RAW, present=PRESENT), 1, "leaving_soon")
    order = ["deepfm", "lightgcn", "temporal", "causal"]
    colours = [to_hex(bar.get_facecolor()).upper() for bar in axes.patches]
    assert colours == [*(plots.EXPERTS[name] for name in order), plots.COLOURS[4]]
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels == [*(SOURCES[name] for name in order), "my expert"]
    assert [bool(bar.get_hatch()) for bar in axes.patches] == [
        name == "lightgcn" for name in (*order, "my_expert")
    ]


def test_log_odds_are_named_by_their_probabilities(axes: Axes) -> None:
    waterfall(axes, found((3.0, -0.5, 1.0, 0.1, 0.0)), 1, "leaving_soon")
    ticks = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    named = {label.get_text(): place for place, label in ticks}
    assert 3 <= len(named) <= 7
    for text, place in named.items():
        share = float(text.split()[0]) / 100
        assert 1 / (1 + np.exp(-place)) == pytest.approx(share)
    assert axes.get_xlabel() == "probability"


def test_a_short_way_has_its_two_ends_as_ticks(axes: Axes) -> None:
    waterfall(axes, found((0.1, 0.0, 0.0)), 1, "leaving_soon")
    np.testing.assert_allclose(axes.get_xticks(), [-2.0, -1.9])


def test_a_value_has_its_unit(axes: Axes) -> None:
    waterfall(axes, found(RAW), 1, "spend", wording=Wording(unit="euros"))
    assert axes.get_xlabel() == "euros"
    assert words(axes)[1] == "answer: 1,045.0 euros"
    low, high = axes.get_xlim()
    assert low < 1000 < 1050 < high


def test_nothing_that_moves_is_drawn_all_the_same(axes: Axes) -> None:
    for task in ("spend", "channel"):
        waterfall(axes, found((0.0, 0.0)), 1, task)
        assert axes.get_xlim()[0] < axes.get_xlim()[1]


def test_words_stand_where_there_is_room_and_read_on_black(axes: Axes) -> None:
    waterfall(axes, found(RAW), 1, "leaving_soon")
    first, last = axes.texts
    assert (first.get_ha(), last.get_ha()) == ("left", "right")
    inks = [t.get_color() for t in (*axes.texts, axes._left_title, axes.xaxis.label)]
    ticks = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    assert {*inks, *(tick.get_color() for tick in ticks)} == {plots.INK}


def test_the_same_picture_is_the_same_bytes() -> None:
    def drawn() -> bytes:
        buffer = io.BytesIO()
        with plt.rc_context(plots.STYLE):
            figure, axes = plt.subplots()
            waterfall(axes, found(RAW, present=PRESENT), 1, "leaving_soon")
            figure.savefig(buffer, format="svg", metadata={"Date": None})
            plt.close(figure)
        return buffer.getvalue()

    assert drawn() == drawn()


def test_its_words_say_all_that_is_drawn() -> None:
    text = alt(found(RAW[:4], present=PRESENT), 1, "leaving_soon")
    assert text == (
        "Bars for leaving soon, from 12 % with every source at its average to the "
        "answer, 25 %. Direction and share of all pushes, the strongest first: the "
        "combination of the customer's key figures up, 53 %; the other customers who "
        "shop in similar places (nothing available) down, 26 %; the course of the last "
        "months up, 16 %; the way in which the customer's figures usually go together "
        "up, 5 %."
    )
    assert "my expert nowhere, 0 %." in alt(found(RAW), 1, "leaving_soon")


def test_only_exact_values_are_drawn(axes: Axes) -> None:
    with pytest.raises(ValueError, match="Found 'ig'"):
        waterfall(axes, found(RAW, readout="ig"), 1, "spend")
    with pytest.raises(ValueError, match="Did you mean 'spend'"):
        alt(found(RAW), 1, "spent")
