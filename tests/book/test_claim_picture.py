"""A claim's picture says what its numbers say, by its own axis and in words."""

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from scipy import stats

from book._ext.claim_picture import EDGE, LETTER, WIDTH, Scale, picture, printed
from ple_study.bars import ONLY, Bar, Claim
from ple_study.claims import Ledger
from ple_study.verdicts import judge

LEDGER = Ledger(Path(__file__).parents[2] / "book" / "claims")
FOUND = LEDGER.findings()
LOW, HIGH = [0.10, 0.13, 0.11, 0.12], [0.80, 0.82, 0.84, 0.81]
WIDE = [0.0, 0.1, 0.5, 0.9]
SVG = "{http://www.w3.org/2000/svg}"


def claim(rule: str, cases: dict[str, str] | None = None, argument: str = "") -> Claim:
    bar = Bar(words="words", rule=rule, seeds=4)
    words = {"statement": "s", "source": "p", "chapter": "c", "measure": "m"}
    more = {"cases": cases} if cases else {}
    return Claim(name="7a", bar=bar, argument=argument, **words, **more)


def drawn(rule: str, values: dict[str, list[float]], argument: str = ""):
    """Draw the numbers and parse the drawing."""
    only = list(values) == [ONLY]
    made = claim(rule, None if only else dict.fromkeys(values, "when"), argument)
    return ElementTree.fromstring(picture(made, judge(made, values, {})))


def texts(svg) -> list[str]:
    return [text.text for text in svg.iter("text")]


def of_class(svg, name: str):
    return [shape for shape in svg.iter() if shape.get("class") == name]


def numbers(path) -> list[int]:
    return [int(number) for number in re.findall(r"-?\d+", path.get("d"))]


def by_axis(svg, number: float) -> float:
    """Where the numbers printed under the drawing say that a number lies."""
    ticks = of_class(svg, "number")
    where = [int(tick.get("x")) for tick in ticks]
    what = [float(tick.text.replace("\N{MINUS SIGN}", "-")) for tick in ticks]
    slope = (where[-1] - where[0]) / (what[-1] - what[0])
    return where[0] + slope * (number - what[0])


CASES = {"few": LOW, "many": HIGH, "any": WIDE}


@pytest.mark.parametrize(
    ("rule", "outcomes"),
    [
        ("interval below 0.3", ["met", "missed", "open"]),
        ("interval above 0.3", ["missed", "met", "open"]),
        ("interval within 0.05 0.3", ["met", "missed", "open"]),
    ],
)
def test_an_interval_lies_where_the_axis_says(rule, outcomes):
    svg = drawn(rule, CASES)
    marks = list(svg.iter("circle"))
    assert [mark.get("class") for mark in marks] == outcomes
    halves = [numbers(half)[0] for half in of_class(svg, "half")]
    opened = [int(mark.get("cx")) for mark in marks if mark.get("class") == "open"]
    assert halves == opened != []
    lines, ticks = of_class(svg, "interval"), of_class(svg, "seeds")
    for values, mark, line, seeds in zip(
        CASES.values(), marks, lines, ticks, strict=True
    ):
        mean = sum(values) / len(values)
        low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        left, y, right = numbers(line)
        assert int(mark.get("cx")) == pytest.approx(by_axis(svg, mean), abs=2)
        assert left == pytest.approx(by_axis(svg, low), abs=2)
        assert right == pytest.approx(by_axis(svg, high), abs=2)
        assert y == int(mark.get("cy"))
        expected = [by_axis(svg, value) for value in values]
        assert numbers(seeds)[::3] == pytest.approx(expected, abs=2)
        assert numbers(seeds)[1::3] == [y - 5] * 4
        assert numbers(seeds)[2::3] == [y + 5] * 4


def test_every_seed_stands_on_its_own_side():
    svg = drawn("every below 0.3", CASES)
    assert of_class(svg, "seeds") == []
    lines = of_class(svg, "interval")
    for values, line in zip(CASES.values(), lines, strict=True):
        left, y, right = numbers(line)
        marks = [c for c in svg.iter("circle") if int(c.get("cy")) == y]
        sides = ["met" if value < 0.3 else "missed" for value in values]
        assert [mark.get("class") for mark in marks] == sides
        expected = [by_axis(svg, value) for value in values]
        found = [int(mark.get("cx")) for mark in marks]
        assert found == pytest.approx(expected, abs=2)
        assert (left, right) == (min(found), max(found))


def test_seeds_at_one_place_are_drawn_once():
    svg = drawn("every within 0 0", {ONLY: [0.0, 0.0, 1.0, 0.0]})
    assert [c.get("class") for c in svg.iter("circle")] == ["met", "missed"]


def test_rows_stand_beside_their_names():
    svg = drawn("interval below 0.3", {"a & b": LOW, "<many>": HIGH})
    names = [text for text in svg.iter("text") if text.get("x") == "0"][-2:]
    assert [name.text for name in names] == ["a & b", "<many>"]
    rows = [int(mark.get("cy")) for mark in svg.iter("circle")]
    assert [int(name.get("y")) - 4 for name in names] == rows
    assert rows[0] < rows[1]
    assert ONLY not in texts(drawn("interval below 0.3", {ONLY: LOW}))


@pytest.mark.parametrize(
    ("rule", "words", "ends"),
    [
        ("interval below 0.3", "\N{LEFTWARDS ARROW} holds below 0.3", (None, 0.3)),
        ("interval above -0.3", "holds above \N{MINUS SIGN}0.3 \u2192", (-0.3, None)),
        ("interval within 0.2 0.6", "holds from 0.2 to 0.6", (0.2, 0.6)),
        ("every within 0.3 0.3", "holds at 0.3", (0.3, 0.3)),
    ],
)
def test_the_bar_and_its_side(rule, words, ends):
    svg = drawn(rule, CASES)
    assert texts(svg)[0] == words
    (side,), (bar,) = of_class(svg, "side"), of_class(svg, "bar")
    left = int(side.get("x"))
    right = left + int(side.get("width"))
    axis = numbers(of_class(svg, "axis")[0])
    edges = (axis[0], axis[2])
    for edge, bound, place in zip((left, right), ends, edges, strict=True):
        expected = place if bound is None else by_axis(svg, bound)
        assert edge == pytest.approx(expected, abs=2)
    bounds = sorted({end for end in ends if end is not None})
    expected = [by_axis(svg, bound) for bound in bounds]
    assert numbers(bar)[::3] == pytest.approx(expected, abs=2)
    assert edges[1] == WIDTH - EDGE


def test_the_words_say_all_numbers():
    svg = drawn("interval above 0.3", CASES)
    assert svg.get("role") == "img"
    assert svg.get("aria-label") == (
        "Claim 7a. Bar: holds above 0.3, for the whole interval. Found: few: mean "
        "0.115, 95 % interval from 0.0945 to 0.136, bar missed; many: mean 0.818, 95 % "
        "interval from 0.79 to 0.845, bar reached; any: mean 0.375, 95 % interval from "
        "\N{MINUS SIGN}0.279 to 1.03, not decided."
    )


def test_an_argument_turns_the_bar_into_a_refutation():
    svg = drawn("every below 0.3", {ONLY: LOW}, argument="It cannot be.")
    assert texts(svg)[0] == "\N{LEFTWARDS ARROW} refuted below 0.3"
    assert svg.get("aria-label") == (
        "Claim 7a. Bar: refuted below 0.3, for every seed. Found: 4 seeds from 0.1 to "
        "0.13, bar reached."
    )


def test_a_claim_to_come_shows_its_bar_over_empty_rows():
    made = claim("interval above 0.5", {"bank": "", "households": ""})
    svg = ElementTree.fromstring(picture(made, None))
    assert texts(svg)[-2:] == ["bank", "households"]
    assert list(svg.iter("circle")) == of_class(svg, "interval") == []
    assert svg.get("aria-label") == (
        "Claim 7a. Bar: holds above 0.5, for the whole interval. Not measured yet."
    )
    assert numbers(of_class(svg, "bar")[0])[0] == pytest.approx(
        by_axis(svg, 0.5), abs=1
    )


@pytest.mark.parametrize(
    ("values", "ends"),
    [([3.0, 1.0], (0.88, 3.12)), ([-2.0], (-4.0, 0.0)), ([0.0, 0.0], (-1.0, 1.0))],
)
def test_the_scale_leaves_a_margin(values, ends):
    scale = Scale.around(values, 20)
    assert (scale.low, scale.high) == pytest.approx(ends)
    assert (scale(scale.low), scale(scale.high)) == (20, WIDTH - EDGE)
    assert scale((scale.low + scale.high) / 2) == (20 + WIDTH - EDGE) / 2


@pytest.mark.parametrize("high", [1.0, 0.3, 7e-13, 12345.0])
def test_ticks_are_round_and_have_room(high):
    scale = Scale(low=-high / 3, high=high, left=160)
    ticks = scale.ticks()
    steps = {f"{b - a:.6e}" for a, b in pairwise(ticks)}
    assert len(steps) == 1
    assert float(steps.pop().split("e")[0]) in (1, 2, 5)
    assert scale.low <= ticks[0] < ticks[-1] <= scale.high
    assert scale(ticks[1]) - scale(ticks[0]) >= 30


def test_numbers_are_short():
    assert printed(0.1 + 0.2) == "0.3"
    assert printed(-1e-6) == "\N{MINUS SIGN}1e\N{MINUS SIGN}6"
    assert printed(2 / 3, 3) == "0.667"


@pytest.mark.parametrize("name", LEDGER.claims)
def test_every_claim_of_the_book_fits_its_frame(name):
    drawing = picture(LEDGER.claims[name], FOUND.get(name))
    svg = ElementTree.fromstring(drawing)
    height = int(svg.get("height"))
    assert svg.get("viewBox") == f"0 0 {WIDTH} {height}"
    assert svg.get("width") == str(WIDTH)
    for text in svg.iter("text"):
        assert 0 <= int(text.get("y")) <= height
        if text.get("class") is None:
            assert 0 <= int(text.get("x")) <= WIDTH - LETTER * len(text.text) + 1
        else:
            assert 8 <= int(text.get("x")) <= WIDTH - 8
    for circle in svg.iter("circle"):
        assert 0 < int(circle.get("cx")) < WIDTH
        assert 0 < int(circle.get("cy")) < height
    assert "." not in "".join(path.get("d") for path in svg.iter("path"))
    assert len(of_class(svg, "number")) >= 2
