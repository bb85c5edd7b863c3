"""One answer to one customer in words that one may read to her.

    found = contributions(fitted, batch, background)
    print(sentence(found, 0, "churn", wording=Wording(name="leaving within 30 days")))

The text says what the model answers and what moves it, and never why a customer does
what she does. Probabilities are told as they are with nobody heard and with all; what a
single source does to one is told as its share of all pushes, which are log-odds and no
percentage points.
"""

import math
from collections.abc import Mapping, Sequence

from ple_study.interpret.contributions import Contributions
from ple_study.interpret.wording import (
    PLAIN,
    SOURCES,
    Case,
    Wording,
    case,
    decimals,
    shown,
    shown_answer,
)

NAMED, LEAST = 3, 0.1  # sources named, and the share that one needs
EVEN = 0.95  # of the largest entropy: from here on no source stands out
FAINT = 0.05  # all pushes together that move nothing: log-odds, or usual deviations
CAUTION = (
    "This describes how the model arrives at its answer, not why the customer acts in "
    "one way or another."
)


def sentence(
    found: Contributions,
    row: int,
    task: str,
    *,
    wording: Wording = PLAIN,
    sources: Mapping[str, str] = SOURCES,
) -> str:
    """What the model answers to one customer, what moves it, and what was missing.

    ``sources`` names experts for the reader, as things that one can hear from. Where
    the pushes are spread evenly none is named. Raises ValueError as ``case`` does.
    """
    one = case(found, row, task, sources)
    subject = wording.subject(one.task, one.chosen)
    base, full = (shown(one.task, z, wording.unit) for z in (one.base, one.full))
    usual = shown_answer(one.task, one.usual, wording.unit)
    begin = f"the probability of {subject}"
    if one.task.kind == "regression":
        begin = subject
    moved = f"it answers {full}" if base != full else "its answer is the same"
    parts = [
        f"The model puts {begin} at {full}; its average for the customers compared "
        f"with is {usual}.",
        "If every source said only what it says on average, the model would answer "
        f"{base} for this customer; with what they say of this customer, {moved}.",
        _movers(one, wording.unit),
        _missing(one),
        CAUTION,
    ]
    return " ".join(part for part in parts if part)


def even(shares: Sequence[float], count: int) -> bool:
    """Whether shares of so many sources, more than two, hardly differ: H / log n."""
    entropy = -sum(s * math.log(s) for s in shares if s > 0)
    return count > 2 and entropy >= EVEN * math.log(count)


def _movers(one: Case, unit: str) -> str:
    total, regression = sum(map(abs, one.raw)), one.task.kind == "regression"
    if total < FAINT * one.task.scale[1]:
        return "None of the sources moves the answer noticeably."
    pairs = zip(one.share, one.present, strict=True)
    count = sum(share >= 0.01 or there for share, there in pairs)
    if even(one.share, count):
        most = max(one.share)
        return (
            f"No single source stands out: the pushes, up and down, are spread about "
            f"evenly over {count} sources, and none has more than "
            f"{math.ceil(100 * most)} % of them."
        )
    named = [i for i in one.order[:NAMED] if one.share[i] >= LEAST] or one.order[:1]
    return _values(one, named, unit) if regression else _shares(one, named)


def _shares(one: Case, named: Sequence[int]) -> str:
    found = [round(100 * one.share[i]) for i in named]
    parts = [
        f"{share} % ({'up' if one.raw[i] > 0 else 'down'}) from {_source(one, i)}"
        for i, share in zip(named, found, strict=True)
    ]
    if len(named) < len(one.raw):
        parts.append(f"{max(0, 100 - sum(found))} % from the other sources together")
    return (
        f"Of all that pushes the answer up or down: {'; '.join(parts)}. These are "
        "shares of the pushes, not percentage points."
    )


def _values(one: Case, named: Sequence[int], unit: str) -> str:
    digits = decimals(one.task)
    found = [round(one.raw[i], digits) + 0.0 for i in named]

    def told(value: float) -> str:
        return f"{value:+,.{digits}f} {unit}".rstrip()

    pairs = zip(named, found, strict=True)
    parts = [f"{told(v)} from {_source(one, i)}" for i, v in pairs if v]
    if len(parts) < len(one.raw):  # the rest, so that what is read adds up
        whole = round(one.full, digits) - round(one.base, digits)
        rest = round(whole - sum(found), digits) + 0.0
        parts.append(f"{told(rest)} from the other sources together")
    return f"What moves it: {'; '.join(parts)}."


def _source(one: Case, expert: int) -> str:
    name = one.names[expert]
    return name if one.present[expert] else f"the lack of data on {name}"


def _missing(one: Case) -> str:
    pairs = zip(one.names, one.present, strict=True)
    lacking = [name for name, there in pairs if not there]
    if not lacking:
        return ""
    return (
        f"Nothing was available on {'; '.join(lacking)}. There the model uses a fixed "
        "stand-in, which can move the answer too."
    )
