"""What comes from JSON or TOML is what a dataclass asks for, or it is refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from ple_study.names import check_kinds, filled, fits, listed, object_of, toml_of

Number = int | float


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int


@dataclass(frozen=True, kw_only=True)
class Outer:
    names: tuple[str, ...]
    pair: tuple[int, float] = (0, 0.0)
    inner: Inner | None = None
    rate: float = 0.5


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (int, [0, -3, 10**400], [True, 1.0, "1", None]),
        (float, [0.5, 3, float("nan"), -(10**300)], [True, "1", None, 10**400]),
        (bool, [True], [1, "true", None]),
        (str, ["", "a"], [1, b"a", None]),
        (Literal["a", "b"], ["a", "c"], [1, None, ["a"]]),
        (int | None, [1, None], [True, 1.0, "1"]),
        (Number, [1, 1.5], [True, "1"]),
        (tuple[str, ...], [(), ["a", "b"], ("a",)], ["ab", {"a": 1}, ["a", 1], None]),
        (tuple[str | int | bool, ...], [[1, "a", True]], [[1.0], [None], [["a"]]]),
        (tuple[float, ...], [[1, 0.5]], [[True], [10**400]]),
        (tuple[int, float], [(1, 0.5), [1, 2]], [(1,), (1, 2, 3), (0.5, 1), ("1", 2)]),
        (
            tuple[tuple[str, int], ...],
            [[("a", 1), ["b", 2]]],
            [[("a", "b")], [["a"]], ["a"]],
        ),
        (Mapping[str, int], [{}, {"a": 1}], [{1: 1}, {"a": "b"}, [("a", 1)], None]),
        (Mapping, [{}], [[], None]),
        (Inner, [Inner(size=1)], [{"size": 1}, 3]),
        (Path, [Path()], ["."]),
        (Any, [None, object()], []),
    ],
)
def test_a_value_fits_its_kind(kind: Any, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not fits(value, kind)] == []
    assert [value for value in bad if fits(value, kind)] == []


def test_lists_become_tuples_and_whole_numbers_fractions() -> None:
    given = {"names": ["a", "b"], "pair": [1, 2], "rate": 2, "inner": Inner(size=3)}
    found = filled(Outer, given)
    assert found == Outer(names=("a", "b"), pair=(1, 2), rate=2.0, inner=Inner(size=3))
    assert (type(found.rate), type(found.names)) == (float, tuple)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, r"Outer needs its arguments by name. Found None\."),
        ([1], r"Outer needs its arguments by name. Found \[1\]\."),
        ({}, r"Outer needs \['names'\]. Found no 'names'\."),
        ({"names": "ab"}, r"needs names of type tuple\[str, \.\.\.\]. Found 'ab'\."),
        ({"names": [], "rates": 1}, r"Outer takes \['names'.*'rates'.*mean 'rate'"),
        ({"names": [], "rate": True}, r"Outer needs rate of type float. Found True\."),
        ({"names": [], "inner": {}}, r"needs inner of type .*Inner \| None. Found {}"),
    ],
)
def test_other_arguments_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        filled(Outer, given)


def test_a_part_is_asked_for_by_its_name() -> None:
    @dataclass(frozen=True)
    class Whole:
        inner: Inner

    with pytest.raises(ValueError, match=r"Whole needs inner to be a Inner. Found 3\."):
        filled(Whole, {"inner": 3})


def test_tables_are_checked_part_by_part() -> None:
    kinds = {"a": int, "b": str}
    check_kinds("data", {"a": 1, "c": None}, kinds)
    check_kinds("data", {"a": 1, "b": "x", "c": None}, kinds, needed=True)
    with pytest.raises(ValueError, match=r"data needs \['a', 'b'\]. Found no 'b'\."):
        check_kinds("data", {"a": 1}, kinds, needed=True)
    with pytest.raises(ValueError, match=r"data needs a of type int. Found '1'\."):
        check_kinds("data", {"a": "1"}, kinds)
    with pytest.raises(ValueError, match=r"data must be a table. Found \[\]\."):
        check_kinds("data", [], kinds)
    assert listed("names", ("a",)) == ("a",)
    with pytest.raises(ValueError, match=r"names must be a list. Found 'ab'\."):
        listed("names", "ab")


def test_json_is_an_object() -> None:
    assert object_of("It", b'{"a": [1]}') == {"a": [1]}
    for text in ("", "{", "[" * 99999, b"\xff"):
        with pytest.raises(ValueError, match=r"It must be JSON. Found: "):
            object_of("It", text)
    with pytest.raises(ValueError, match=r"It must be a JSON object. Found \[1\]\."):
        object_of("It", "[1]")


def test_toml_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[a]\nb = 1", encoding="utf-8")
    assert toml_of(path) == {"a": {"b": 1}}
    for content in (b"[a", b"a = \xff", b"a = " + b"[" * 9999):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.toml must be a TOML file. Found: "):
            toml_of(path)
    with pytest.raises(ValueError, match=r"b\.toml must be a TOML file. Found: "):
        toml_of(tmp_path / "b.toml")
