"""What an adviser reads is what was found, and no more."""

import math
from dataclasses import replace

import pytest

from ple_study.interpret.wording import SOURCES, Wording, decimals, percent, shown
from ple_study.interpret.words import CAUTION, even, sentence
from ple_study.plots import EXPERTS
from tests.interpret.cases import TASKS, found

RAW = (1.0, -0.5, 0.3, 0.1, 0.1)
LEAVING = Wording(name="leaving within 30 days")
CHANNEL = Wording(classes=("app", "web", "branch"))
EUROS = Wording(name="the spend of the next month", unit="euros")


def test_a_probability_goes_from_the_average_to_the_answer() -> None:
    """sigmoid(-2) = 0.119, sigmoid(-1) = 0.269; pushes of 2.0 in all."""
    assert sentence(found(RAW), 1, "leaving_soon", wording=LEAVING) == (
        "The model puts the probability of leaving within 30 days at 27 %; its average "
        "for the customers compared with is 8.0 %. If every source said only what it "
        "says on average, the model would answer 12 % for this customer; with what "
        "they say of this customer, it answers 27 %. Of all that pushes the answer up "
        "or down: 50 % (up) from the course of the last months; 25 % (down) from the "
        "other customers who shop in similar places; 15 % (up) from the combination of "
        "the customer's key figures; 10 % from the other sources together. These are "
        f"shares of the pushes, not percentage points. {CAUTION}"
    )


def test_a_value_is_told_in_its_unit_and_adds_up() -> None:
    text = sentence(found(RAW), 1, "spend", wording=EUROS)
    assert text == (
        "The model puts the spend of the next month at 1,050.0 euros; its average for "
        "the customers compared with is 990.0 euros. If every source said only what it "
        "says on average, the model would answer 1,000.0 euros for this customer; with "
        "what they say of this customer, it answers 1,050.0 euros. What moves it: "
        "+50.0 euros from the course of the last months; -25.0 euros from the other "
        "customers who shop in similar places; +15.0 euros from the combination of the "
        "customer's key figures; +10.0 euros from the other sources together. "
        + CAUTION
    )
    assert "%" not in text


def test_what_is_read_of_a_value_adds_up_though_each_is_rounded() -> None:
    raw = (1.0049, -0.5051, 0.3047, 0.1009, 0.1008)
    text = sentence(found(raw), 1, "spend", wording=EUROS)
    told = text.split("What moves it: ")[1].split(". This")[0]
    parts = [float(part.split()[0]) for part in told.split("; ")]
    full = float(text.split(" at ")[1].split()[0].replace(",", ""))
    assert sum(parts) == pytest.approx(full - 1000.0)


def test_a_class_has_its_name() -> None:
    for wording, name in ((CHANNEL, "branch (channel)"), (Wording(), "class 2 (chan")):
        text = sentence(found(RAW), 1, "channel", wording=wording)
        assert f"The model puts the probability of {name}" in text
    text = sentence(found(RAW), 1, "leaving_soon")
    assert "the probability of leaving soon at 27 %" in text


def test_each_row_has_its_own_text() -> None:
    text = sentence(found(RAW), 0, "leaving_soon")
    assert "50 % (down) from the course of the last months" in text
    assert "would answer 99.3 % for this customer" in text
    assert "it answers 98.2 %" in text


@pytest.mark.parametrize("task", ["leaving_soon", "spend"])
def test_where_nothing_stands_out_none_is_named(task: str) -> None:
    text = sentence(found((0.3, -0.25, 0.3, 0.25, -0.28)), 1, task)
    assert (
        "No single source stands out: the pushes, up and down, are spread about evenly "
        "over 5 sources, and none has more than 22 % of them."
    ) in text
    assert not any(words in text for words in SOURCES.values())


def test_two_sources_are_named_though_they_are_even() -> None:
    text = sentence(found((0.5, 0.5)), 1, "leaving_soon")
    assert "50 % (up) from the course of the last months; 50 % (up) from the" in text
    assert "the other sources" not in text


def test_who_is_absent_counts_as_a_source_only_if_it_moves_something() -> None:
    raw = (0.3, 0.3, 0.3, 0.0, 0.0)
    present = (True, True, True, False, False)
    assert "over 3 sources" in sentence(found(raw, present=present), 1, "channel")
    assert "No single source" not in sentence(found(raw), 1, "channel")


@pytest.mark.parametrize("task", ["leaving_soon", "spend"])
def test_where_hardly_anything_moves_it_says_so(task: str) -> None:
    text = sentence(found((0.01, -0.01, 0.02, 0.0, 0.0)), 1, task)
    assert "None of the sources moves the answer noticeably." in text
    assert "from the" not in text


def test_pushes_that_cancel_leave_the_answer() -> None:
    text = sentence(found((1.0, -1.0, 0.0, 0.0, 0.0)), 1, "leaving_soon")
    assert "would answer 12 % for this customer; with what they say" in text
    assert "its answer is the same." in text
    assert "50 % (up) from the course" in text


def test_what_was_not_available_is_said() -> None:
    present = (False, True, True, True, False)
    text = sentence(found(RAW, present=present), 1, "leaving_soon")
    assert "50 % (up) from the lack of data on the course of the last months" in text
    assert (
        "Nothing was available on the course of the last months; my expert. There the "
        "model uses a fixed stand-in, which can move the answer too."
    ) in text
    assert "Nothing was available" not in sentence(found(RAW), 1, "leaving_soon")


def test_small_pushes_are_not_named() -> None:
    text = sentence(found((2.0, 0.05, 0.05, 0.05, 0.05)), 1, "leaving_soon")
    assert "91 % (up) from the course of the last months; 9 % from the other" in text


def test_shares_that_are_read_sum_to_a_hundred() -> None:
    raw = (0.105, 0.344, -0.334, 0.124, 0.093)
    text = sentence(found(raw), 1, "leaving_soon")
    told = text.split("up or down: ")[1].split(". These")[0].split("; ")
    shares = [int(part.split(" %")[0]) for part in told]
    assert shares == [34, 33, 12, 21]


def test_every_expert_of_the_study_has_words_and_may_have_others() -> None:
    assert set(SOURCES) == set(EXPERTS)
    mine = {"temporal": "the last half-year"}
    text = sentence(found(RAW), 1, "leaving_soon", sources=mine)
    assert "50 % (up) from the last half-year; 25 % (down) from lightgcn" in text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.5, "50 %"),
        (0.1, "10 %"),
        (0.0123, "1.2 %"),
        (0.957, "95.7 %"),
        (0.0004, "less than 0.1 %"),
        (0.0, "less than 0.1 %"),
        (0.9996, "more than 99.9 %"),
        (1.0, "more than 99.9 %"),
    ],
)
def test_percent_claims_neither_none_nor_all(share: float, text: str) -> None:
    assert percent(share) == text


def test_values_show_a_hundredth_of_their_deviation() -> None:
    for strays, digits in ((70.0, 1), (1.0, 2), (0.05, 4), (4000.0, 0), (100.0, 0)):
        assert decimals(replace(TASKS[2], scale=(0.0, strays))) == digits
    assert shown(TASKS[2], -0.01, "euros") == "0.0 euros"
    assert shown(TASKS[2], 1234567.89) == "1,234,567.9"
    assert shown(TASKS[0], math.log(3)) == "75 %"


def test_even_is_near_the_largest_entropy() -> None:
    assert even((0.25, 0.2, 0.15, 0.12, 0.1, 0.1, 0.08), 7)
    assert not even((0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05), 7)
    assert not even((0.5, 0.5), 2)
    assert not even((1.0, 0.0, 0.0), 3)


@pytest.mark.parametrize(
    ("options", "row", "task", "message"),
    [
        ({"readout": "loo"}, 1, "spend", "readout 'shapley'.* Found 'loo'"),
        ({"hold_gate": True}, 1, "spend", "Found 'shapley', hold_gate=True"),
        ({}, 2, "spend", "Rows are 0 .. 1. Found 2"),
        ({}, -1, "spend", "Rows are 0 .. 1. Found -1"),
        ({}, 1, "spent", "Found 'spent'. Did you mean 'spend'"),
        ({}, 1, "channel", "classes of task 'channel' have 3 names. Found 2"),
        ({}, 1, "leaving_soon", "'leaving_soon' have 0 names. Found 2"),
    ],
)
def test_what_cannot_be_said(
    options: dict[str, object], row: int, task: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sentence(found(RAW, **options), row, task, wording=Wording(classes=("a", "b")))
