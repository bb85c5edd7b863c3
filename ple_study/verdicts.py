"""From the numbers of a run to a verdict, by the bar alone; and what is stored."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ple_study.bars import ONLY, Claim, Outcome, Rule
from ple_study.metrics import Interval, paired_interval

Values = Sequence[float]
DIGITS = 6  # of a stored value: far finer than any bar, coarser than rounding noise


@dataclass(frozen=True)
class Measured:
    """One number a seed, its mean and interval, and what the rule says of it."""

    values: tuple[float, ...]
    rule: Rule

    @property
    def interval(self) -> Interval:
        return paired_interval(self.values)

    @property
    def outcome(self) -> Outcome:
        return self.rule.outcome(self.values)

    def __str__(self) -> str:
        mean, low, high, _ = self.interval
        return f"{mean:.3g} [{low:.3g}, {high:.3g}]"


@dataclass(frozen=True)
class Finding:
    """What a chapter measured for a claim, and the verdict that follows."""

    claim: Claim
    cases: Mapping[str, Measured]
    given: Mapping[str, Measured]

    @property
    def verdict(self) -> str:
        """Holds, holds when, does not hold, not decided, or refuted.

        Not decided: the bar was reached in no case, and in one at least it lies inside
        the interval.
        """
        outcomes = {name: found.outcome for name, found in self.cases.items()}
        met = [name for name, outcome in outcomes.items() if outcome == "met"]
        if len(met) == len(outcomes):
            return "refuted" if self.claim.argument else "holds"
        if met:
            return "holds when " + ", or ".join(self.claim.cases[name] for name in met)
        return "not decided" if "open" in outcomes.values() else "does not hold"

    @property
    def conclusion(self) -> str:
        """The verdict, with the argument where there is one."""
        return ": ".join(filter(None, (self.verdict, self.claim.argument)))

    @property
    def measured(self) -> str:
        """Mean and 95 % interval, case by case."""
        named = (f"{name} {found}" for name, found in self.cases.items())
        return "; ".join(named).removeprefix(f"{ONLY} ")

    def __repr__(self) -> str:
        return f"Claim {self.claim.name}: {self.verdict} ({self.measured})"

    def _repr_markdown_(self) -> str:
        """Statement, bar, numbers and verdict, as a page shows them."""
        claim = self.claim
        parts = (
            f"**Claim {claim.name}.** {claim.statement} ({claim.source})",
            f"**Bar.** {claim.bar.words}",
            f"**Measured**, {claim.bar.seeds} seeds, 95 % intervals: {self.measured}",
            f"**Verdict: {self.verdict}.** {claim.argument}".rstrip(),
        )
        return "\n>\n".join(f"> {part}" for part in parts)


def judge(
    claim: Claim, cases: Mapping[str, Values], given: Mapping[str, Values]
) -> Finding:
    """What the numbers say of the claim; errors as in ``Ledger.record``."""
    bar = claim.bar
    found = Finding(
        claim,
        _measured(claim, "case", cases, dict.fromkeys(claim.cases, bar.rule)),
        _measured(claim, "condition", given, bar.given),
    )
    for name, condition in found.given.items():
        if condition.outcome != "met":
            raise ValueError(
                f"Claim {claim.name} is tested only where {name} is "
                f"{bar.given[name]!r}. Found {condition}."
            )
    if claim.argument and found.verdict != "refuted":
        raise ValueError(
            f"The argument against claim {claim.name} implies {bar.rule!r}. Found "
            f"{found.measured}: the argument or the measurement is wrong."
        )
    return found


def _measured(
    claim: Claim, what: str, found: Mapping[str, Values], rules: Mapping[str, str]
) -> dict[str, Measured]:
    if set(found) != set(rules):
        raise ValueError(
            f"Claim {claim.name} needs one list of values for each {what} of "
            f"{list(rules)}. Found {list(found)}."
        )
    measured = {}
    for name, rule in rules.items():
        # Adding zero makes a negative zero an ordinary one.
        values = tuple(float(f"{value:.{DIGITS}g}") + 0.0 for value in found[name])
        if len(values) != claim.bar.seeds or not all(map(math.isfinite, values)):
            raise ValueError(
                f"Claim {claim.name} promised {claim.bar.seeds} finite values, one a "
                f"seed. Found {list(values)} for {name!r}."
            )
        measured[name] = Measured(values, Rule(rule))
    return measured


def restore(claim: Claim, text: str) -> Finding:
    """A stored finding, judged again."""
    stored = json.loads(text)
    if stored["definition"] != claim.hash:
        raise ValueError(
            f"Claim {claim.name} was measured before its definition was changed. Run "
            f"{claim.chapter} again."
        )
    values = {case: part["values"] for case, part in stored["cases"].items()}
    found = judge(claim, values, stored["given"])
    if as_json(found) != stored:
        raise ValueError(
            f"The result of claim {claim.name} is not what its own numbers say. Run "
            f"{claim.chapter} again."
        )
    return found


def as_json(finding: Finding) -> dict[str, Any]:
    """What is stored of a finding: its numbers, and all that follows from them."""
    cases = {}
    for name, found in finding.cases.items():
        ends = zip(("mean", "low", "high"), found.interval, strict=False)
        interval = {end: float(f"{value:.{DIGITS}g}") for end, value in ends}
        values = {"values": list(found.values), **interval}
        cases[name] = values | {"outcome": found.outcome}
    return {
        "claim": finding.claim.name,
        "chapter": finding.claim.chapter,
        "definition": finding.claim.hash,
        "verdict": finding.verdict,
        "cases": cases,
        "given": {name: list(found.values) for name, found in finding.given.items()},
    }
