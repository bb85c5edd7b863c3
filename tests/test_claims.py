import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ple_study.bars import Bar, Claim, Rule
from ple_study.claims import Ledger
from ple_study.verdicts import judge

BOOK = Path(__file__).parents[1] / "book" / "claims"
DEFINITIONS = """
[claims.3]
statement = "Gates collapse & starve."
source = "PLE-1"
chapter = "ple1_mmoe"
measure = "Entropy ratio."
cases = { usual = "trained as usual", twins = "experts begin alike" }
[claims.3.bar]
words = "below 0.3"
rule = "interval below 0.3"
seeds = 4

[claims.1]
statement = "Both are hurt."
source = "PLE-1"
chapter = "ple1_conflict"
measure = "Share."
argument = "The changes add up to -|a + b|^2."
[claims.1.bar]
words = "0"
rule = "every within 0 0"
seeds = 3
given = { norm = "every above 0" }
"""
LOW, HIGH = [0.10, 0.12, 0.11, 0.13], [0.80, 0.82, 0.84, 0.81]
WIDE = [0.0, 0.1, 0.5, 0.9]


@pytest.fixture
def ledger(tmp_path):
    (tmp_path / "definitions.toml").write_text(DEFINITIONS, encoding="utf-8")
    return Ledger(tmp_path)


def edit(ledger, old, new):
    path = ledger.folder / "definitions.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return Ledger(ledger.folder)


@pytest.mark.parametrize(
    ("rule", "values", "outcome"),
    [
        ("interval below 0.3", LOW, "met"),
        ("interval below 0.3", HIGH, "missed"),
        ("interval below 0.3", WIDE, "open"),
        ("interval above 0.3", HIGH, "met"),
        ("interval above 0.3", LOW, "missed"),
        ("interval above 0.3", WIDE, "open"),
        ("interval within 0 0.3", LOW, "met"),
        ("interval within 0 0.3", HIGH, "missed"),
        ("interval within 0.9 1", HIGH, "missed"),
        ("interval within 0 0.3", WIDE, "open"),
        ("every within 0 0.9", WIDE, "met"),
        ("every within 0.1 0.9", WIDE, "missed"),
        ("every below 0.9", WIDE, "missed"),
        ("every above -1e-3", WIDE, "met"),
        ("every within 0 0", [0.0, 0.0], "met"),
        ("every within 0 0", [0.0, 1e-9], "missed"),
    ],
)
def test_outcomes(rule, values, outcome):
    assert Rule(rule).outcome(values) == outcome


def test_an_interval_rule_turns_where_scipy_puts_the_interval():
    interval = stats.ttest_1samp(LOW, 0).confidence_interval(0.95)
    for end, rule in ((float(interval.high), "below"), (float(interval.low), "above")):
        away = 1e-9 if rule == "below" else -1e-9
        assert Rule(f"interval {rule} {end + away!r}").outcome(LOW) == "met"
        assert Rule(f"interval {rule} {end - away!r}").outcome(LOW) == "open"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "below 0.3",
        "interval under 0.3",
        "interval below",
        "interval below x",
        "interval below nan",
        "interval below 1 2",
        "every within 1",
        "every within 2 1",
    ],
)
def test_other_sentences_are_no_rule(text):
    with pytest.raises(ValueError, match=f"Found {re.escape(repr(text))}"):
        Rule(text)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({"usual": LOW, "twins": LOW}, "holds"),
        ({"usual": HIGH, "twins": LOW}, "holds when experts begin alike"),
        ({"usual": LOW, "twins": WIDE}, "holds when trained as usual"),
        ({"usual": HIGH, "twins": HIGH}, "does not hold"),
        ({"usual": HIGH, "twins": WIDE}, "not decided"),
    ],
)
def test_verdict_follows_from_the_cases(ledger, values, verdict):
    assert ledger.record("3", values).verdict == verdict
    assert ledger.findings()["3"].verdict == verdict


def test_result_holds_the_numbers_and_their_interval(ledger):
    ledger.record("3", {"usual": LOW, "twins": HIGH})
    stored = json.loads((ledger.folder / "results" / "3.json").read_text())
    assert stored["claim"] == "3"
    assert stored["chapter"] == "ple1_mmoe"
    assert stored["verdict"] == "holds when trained as usual"
    assert stored["cases"]["usual"]["values"] == LOW
    assert stored["cases"]["usual"]["outcome"] == "met"
    low, high = stats.ttest_1samp(LOW, 0).confidence_interval(0.95)
    found = [stored["cases"]["usual"][end] for end in ("mean", "low", "high")]
    assert found == pytest.approx([np.mean(LOW), low, high], rel=1e-5)


def test_noise_in_the_last_digits_changes_no_byte(ledger):
    path = ledger.folder / "results" / "3.json"
    ledger.record("3", {"usual": LOW, "twins": HIGH})
    before = path.read_bytes()
    noisy = {"usual": [v * (1 + 1e-12) for v in LOW], "twins": np.array(HIGH)}
    ledger.record("3", noisy)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["3.json"]


def test_a_check_records_elsewhere(ledger, tmp_path, monkeypatch):
    ledger.record("3", {"usual": LOW, "twins": LOW})
    monkeypatch.setenv("PLE_STUDY_CLAIMS", str(tmp_path / "a" / "check"))
    assert ledger.record("3", {"usual": HIGH, "twins": HIGH}).verdict != "holds"
    assert ledger.findings()["3"].verdict == "holds"
    assert [p.name for p in (tmp_path / "a" / "check").iterdir()] == ["3.json"]


def test_refuted_with_its_argument(ledger):
    finding = ledger.record("1", [0.0, -0.0, 0.0], {"norm": [0.1, 0.2, 0.3]})
    assert repr(finding) == "Claim 1: refuted (0 [0, 0])"
    assert finding.conclusion == "refuted: The changes add up to -|a + b|^2."


def test_a_page_shows_statement_bar_numbers_and_verdict(ledger):
    finding = ledger.record("1", [0.0] * 3, given={"norm": [1.0] * 3})
    assert finding._repr_markdown_().split("\n>\n") == [
        "> **Claim 1.** Both are hurt. (PLE-1)",
        "> **Bar.** 0",
        "> **Measured**, 3 seeds, 95 % intervals: 0 [0, 0]",
        "> **Verdict: refuted.** The changes add up to -|a + b|^2.",
    ]
    plain = ledger.record("3", {"usual": LOW, "twins": HIGH})._repr_markdown_()
    assert plain.endswith("> **Verdict: holds when trained as usual.**")


def test_numbers_against_an_argument_are_an_error(ledger):
    with pytest.raises(ValueError, match=r"against claim 1 implies 'every within 0 0'"):
        ledger.record("1", [0.0, 0.1, 0.0], {"norm": [0.1, 0.2, 0.3]})
    assert not (ledger.folder / "results").exists()


def test_a_run_that_does_not_meet_the_conditions_is_refused(ledger):
    with pytest.raises(
        ValueError, match=r"only where norm is 'every above 0'. Found 0.1"
    ):
        ledger.record("1", [0.0, 0.0, 0.0], {"norm": [0.1, 0.2, 0.0]})


@pytest.mark.parametrize(
    ("name", "values", "given", "message"),
    [
        ("2", LOW, {}, r"Found no claim '2' in \['3', '1'\]"),
        ("3", LOW, {}, r"each case of \['usual', 'twins'\]. Found \['measured'\]"),
        ("3", {"usual": LOW}, {}, r"each case of .* Found \['usual'\]"),
        ("1", [0.0] * 3, {}, r"each condition of \['norm'\]. Found \[\]"),
        ("1", [0.0] * 2, {"norm": [1.0] * 3}, r"promised 3 finite values"),
        ("1", [0.0] * 4, {"norm": [1.0] * 3}, r"promised 3 finite values"),
        ("1", [0.0] * 3, {"norm": [1.0] * 2}, r"promised 3 finite .* for 'norm'"),
        ("1", [0.0, 0.0, math.nan], {"norm": [1.0] * 3}, r"Found \[0.0, 0.0, nan\]"),
        ("1", [0.0, 0.0, math.inf], {"norm": [1.0] * 3}, r"Found \[0.0, 0.0, inf\]"),
    ],
)
def test_what_is_refused(ledger, name, values, given, message):
    with pytest.raises(ValueError, match=message):
        ledger.record(name, values, given)
    assert ledger.findings() == {}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('rule = "interval below 0.3"', 'rule = "interval below 0.9"'),
        ("seeds = 4", "seeds = 5"),
        ("Gates collapse", "Gates may collapse"),
        ("experts begin alike", "experts are alike"),
    ],
)
def test_a_definition_changed_after_the_run_is_found_out(ledger, old, new):
    ledger.record("3", {"usual": LOW, "twins": HIGH})
    moved = edit(ledger, old, new)
    for read in (moved.findings, moved.table, moved._repr_html_):
        with pytest.raises(ValueError, match=r"Claim 3 .* Run ple1_mmoe again\."):
            read()


@pytest.mark.parametrize(
    ("old", "new"),
    [("does not hold", "holds"), ("0.8,", "0.1,"), ('"missed"', '"met"')],
)
def test_a_result_changed_by_hand_is_found_out(ledger, old, new):
    ledger.record("3", {"usual": HIGH, "twins": HIGH})
    path = ledger.folder / "results" / "3.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match="claim 3 is not what its own numbers say"):
        ledger.findings()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('source = "PLE-1"\nchapter = "ple1_mmoe"\n', "", r"needs .*'source'.* Found"),
        ("words = ", "wrods = ", r"Claim 3 bar needs .* Found .*'wrods'"),
        ("interval below 0.3", "about 0.3", r"Found 'about 0.3'"),
        ("every above 0", "big", r"Found 'big'"),
        ("seeds = 4", "seeds = 1", r"two seeds or more. Found 1"),
    ],
)
def test_malformed_definitions_are_named(ledger, old, new, message):
    with pytest.raises(ValueError, match=message):
        edit(ledger, old, new)


def test_table_and_page(ledger):
    ledger.record("3", {"usual": LOW, "twins": HIGH})
    table = ledger.table()
    assert table["claim"].tolist() == ["3", "1"]
    assert table["verdict"].tolist() == ["holds when trained as usual", "to come"]
    expected = "usual 0.115 [0.0945, 0.136]; twins 0.818 [0.79, 0.845]"
    assert table["measured"].tolist() == [expected, ""]
    assert repr(ledger) == f"Claim 3: holds when trained as usual ({expected})"
    page = ledger._repr_html_()
    assert "Gates collapse &amp; starve." in page
    assert '<a href="ple1_mmoe.html#claim-3">ple1_mmoe</a>' in page
    assert page.count("<tr>") == 3
    assert page.count("<th ") == len(table.columns)
    assert page.count("<td>") == table.size


BOOK_CLAIMS = Ledger(BOOK).claims


def test_the_book_defines_the_claims_of_its_parts():
    shared = ["1", "2", "3", "4", "5", "6", "7", "9", "10", "16"]
    gates = "11 12 13 14 17 18a 18b 18c 19a 19b 20a 20b 21".split()
    experts = [str(number) for number in range(23, 39)]
    modes = ["39", "40a", "40b", "41a", "41b"]
    task_side = "42a 42b 43 44a 44b 45 46 47a 47b 47c 48a 48b 49a 49b".split()
    losses = "50 51 52 53a 53b 54 55a 55b 55c 56 57a 57b 58 59 60 63".split()
    whole = "8 22a 22b 22c 61 62 64 65a 65b 66 67 68 69".split()
    whole += [str(number) for number in range(70, 78)]
    parts = (shared, gates, experts, modes, task_side, losses, whole)
    assert list(BOOK_CLAIMS) == [claim for part in parts for claim in part]


@pytest.mark.parametrize("claim", BOOK_CLAIMS.values(), ids=list(BOOK_CLAIMS))
def test_the_words_of_a_bar_name_its_numbers(claim):
    for rule in (claim.bar.rule, *claim.bar.given.values()):
        for number in rule.split()[2:]:
            assert re.search(
                rf"(?<![\d.]){re.escape(number)}(?![\d.]\d)", claim.bar.words
            )
    assert claim.bar.seeds >= 5
    assert claim.bar.words.startswith("Refuted if" if claim.argument else "Holds ")


def test_the_results_in_the_book_are_those_of_its_definitions():
    assert set(Ledger(BOOK).findings()) <= set(BOOK_CLAIMS)


def test_a_claim_needs_no_file():
    bar = Bar(words="above 0", rule="interval above 0", seeds=2)
    claim = Claim(
        name="x", statement="s", source="p", chapter="c", measure="m", bar=bar
    )
    assert judge(claim, {"measured": [1.0, 1.1]}, {}).verdict == "holds"
