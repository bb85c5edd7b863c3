"""What a fuzz test draws, and the two things that may come of it.

A call either answers, and the test checks the answer, or refuses with an error of ours:
a ValueError that ``ple_study`` itself raises and that says what was found. Whatever
else is raised fails the test.
"""

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import ple_study

T = TypeVar("T")
SAYS = ("ound", "Both: ", " has ")
OURS = str(Path(ple_study.__file__).parent)
COUNT: Counter[str] = Counter()  # of the cases so far, answered and refused


def cases(test: int, fuzz: int) -> settings:
    """How many cases a property is tried on, in ``make test`` and in ``make fuzz``."""
    whole = settings.get_current_profile_name() == "fuzz"
    return settings(
        max_examples=fuzz if whole else test,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class Refused:
    """An error of ours in the place of an answer."""

    def __init__(self, error: ValueError) -> None:
        frame = error.__traceback__
        assert frame is not None
        while frame.tb_next:
            frame = frame.tb_next
        raised = frame.tb_frame.f_code.co_filename
        if not raised.startswith(OURS):
            raise AssertionError(f"{raised} raised {error!r}, not ours.") from error
        if not any(word in str(error) for word in SAYS):
            raise AssertionError(f"What was found? {error}") from error
        self.error = error


def tried(call: Callable[..., T], *given: Any, **named: Any) -> T | Refused:
    """What the call answers, or its refusal; each counts as a case."""
    try:
        found = call(*given, **named)
    except ValueError as error:
        refused = Refused(error)
        COUNT["refused"] += 1
        return refused
    COUNT["answered"] += 1
    return found


WORDS = st.sampled_from(
    ["", "a", "age", "city", "churn", "binary", "regression", "x.y", "ä", "keys", "0"]
)
NUMBERS = st.one_of(
    st.integers(-3, 5),
    st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**400]),
    st.floats(width=32),
    st.sampled_from([0.5, 1e39, float("nan"), float("inf")]),
)
PLAIN = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS)
JSON: st.SearchStrategy[Any] = st.recursive(
    PLAIN,
    lambda part: st.lists(part, max_size=3) | st.dictionaries(WORDS, part, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every part of a JSON value."""
    yield path
    parts = {dict: dict.items, list: enumerate}.get(type(value), lambda _: ())
    for name, part in parts(value):
        yield from places(part, (*path, name))


def near(value: Any) -> st.SearchStrategy[Any]:
    """Another value of the same kind, often one that may stand there."""
    if isinstance(value, list):
        return st.permutations(value).map(list) | st.just(value[1:]) | st.just([])
    if isinstance(value, dict):
        return st.permutations(list(value.items())).map(dict) | st.just({})
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        return st.integers(-1, 9)
    if isinstance(value, float):
        return st.floats(-0.5, 2) | st.sampled_from([0.0, 1e39, float("nan")])
    return WORDS | st.none() | st.text(max_size=3)


@st.composite
def damaged(draw: st.DrawFn, whole: Any, most: int = 2) -> Any:
    """A JSON value of which parts were replaced, left out, doubled or renamed."""
    value = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, most))):
        found = [path for path in places(value) if path]
        if not found:
            return draw(JSON)
        *way, last = draw(st.sampled_from(found))
        inner = value
        for step in way:
            inner = inner[step]
        how = draw(st.sampled_from(["near"] * 4 + ["replace", "leave", "more"]))
        if how == "near":
            inner[last] = draw(near(inner[last]))
        elif how == "replace":
            inner[last] = draw(JSON)
        elif how == "leave":
            del inner[last]
        elif isinstance(inner, list):
            inner.append(copy.deepcopy(inner[last]))
        else:
            inner[draw(WORDS)] = draw(JSON)
    return value


@st.composite
def damaged_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file that was cut short, or in which a few bytes are others."""
    if draw(st.integers(0, 3)) == 0:
        return whole[: draw(st.integers(0, len(whole) - 1))]
    found = bytearray(whole)
    # The ends of a file say what the rest is.
    near = st.integers(0, min(200, len(whole) - 1))
    place = st.one_of(
        st.integers(0, len(whole) - 1), near, near.map(lambda x: len(whole) - 1 - x)
    )
    for at in draw(st.lists(place, min_size=1, max_size=4)):
        found[at] = draw(st.integers(0, 255))
    return bytes(found)


def toml(table: Any) -> str:
    """A JSON value as TOML, which knows no null: what is None is left out."""
    if not isinstance(table, dict):
        return f"{table}"
    return "".join(f"{_key(k)} = {_toml(v)}\n" for k, v in table.items() if _has(v))


def _has(value: Any) -> bool:
    return value is not None


def _key(name: Any) -> str:
    return json.dumps(str(name), ensure_ascii=False)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        parts = (f"{_key(k)} = {_toml(v)}" for k, v in value.items() if _has(v))
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(v) for v in value if _has(v)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)
