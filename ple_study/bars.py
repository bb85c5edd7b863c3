"""What is promised before a run: the claim, and the bar that its numbers must reach."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from ple_study.metrics import paired_interval
from ple_study.names import check_kinds, filled

Outcome = Literal["met", "missed", "open"]
ONLY = "measured"  # the case of a claim that has but one
RULE = re.compile(r"(interval|every) (?:(above|below) (\S+)|within (\S+) (\S+))")


@dataclass(frozen=True)
class Rule:
    """A sentence such as ``interval below 0.3`` or ``every within 0 0``, as a check.

    ``interval`` looks at the ends of the 95 % interval over seeds, ``every`` at the
    least and the greatest value. ``above`` and ``below`` are strict; ``within`` admits
    its ends. Raises ValueError for any other sentence.
    """

    text: str
    bounds: tuple[float, float] = field(init=False)

    def __post_init__(self) -> None:
        match = RULE.fullmatch(self.text)
        try:
            if match is None:
                raise ValueError
            _, side, bound, low, high = match.groups()
            ends = (low, high) if side is None else (bound, bound)
            bounds = (float(ends[0]), float(ends[1]))
        except ValueError:
            bounds = (math.nan, math.nan)
        if not bounds[0] <= bounds[1]:
            raise ValueError(
                f"A rule says 'interval' or 'every', then 'above x', 'below x' or "
                f"'within x y' with x <= y. Found {self.text!r}."
            )
        object.__setattr__(self, "bounds", bounds)

    def outcome(self, values: Sequence[float]) -> Outcome:
        """Met, missed, or open: the interval lies partly on either side of the bar."""
        scope, relation, *_ = self.text.split()
        low, high = min(values), max(values)
        if scope == "interval":
            _, low, high, _ = paired_interval(values)
        least, most = self.bounds
        met, missed = {
            "above": (low > least, high <= least),
            "below": (high < most, low >= most),
            "within": (least <= low and high <= most, high < least or low > most),
        }[relation]
        if met or missed or scope == "every":
            return "met" if met else "missed"
        return "open"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """The bar in words and as a rule, for every case of the claim.

    ``seeds`` is how many values a case must have, no more and no fewer. ``given`` are
    conditions of the run: where one fails, the run says nothing about the claim.
    """

    words: str
    rule: str
    seeds: int
    given: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for rule in (self.rule, *self.given.values()):
            Rule(rule)
        if self.seeds < 2:
            raise ValueError(
                f"An interval needs two seeds or more. Found {self.seeds}."
            )


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement that can fail, and what will decide.

    ``measure`` says which number one seed yields. With several ``cases`` (name and
    description) the claim may hold in some only. With an ``argument``, mathematics
    refutes the claim, and the rule checks the argument's own consequence.
    """

    name: str
    statement: str
    source: str
    chapter: str
    measure: str
    bar: Bar
    cases: Mapping[str, str] = field(default_factory=lambda: {ONLY: ""})
    argument: str = ""

    @classmethod
    def from_toml(cls, name: str, table: Any) -> "Claim":
        """A claim from its table; raises ValueError that names what is wrong."""
        check_kinds(f"Claim {name}", table, {"bar": Mapping})
        parts = {"": dict(table), "bar": dict(table.get("bar", {}))}
        for part, kind in (("", cls), ("bar", Bar)):
            known = {f.name for f in fields(kind)} - {"name"}
            needed = known - {"cases", "argument", "given"}
            if not needed <= set(parts[part]) <= known:
                raise ValueError(
                    f"Claim {name} {part} needs {sorted(needed)} and knows "
                    f"{sorted(known)}. Found {sorted(parts[part])}."
                )
        bar = filled(Bar, parts["bar"])
        return filled(cls, parts[""] | {"name": name, "bar": bar})

    @property
    def hash(self) -> str:
        """A fingerprint of all that was promised."""
        promised = json.dumps(self, default=vars, sort_keys=True)
        return hashlib.sha256(promised.encode()).hexdigest()[:16]
