"""What is given: what is not known, or of another type, is refused at the door.

Names must be known, or used once; values from JSON or TOML are what a dataclass asks.
"""

import json
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
EXACT = (bool, int, str, NoneType)
MOST = sys.float_info.max


def nearest(found: object, known: Iterable[object]) -> str:
    """A question to end an error with: the known name that ``found`` resembles.

    Empty where none does.

    >>> nearest("jorney", ["census", "journey"])
    " Did you mean 'journey'?"
    """
    names = {str(name): name for name in known}
    close = get_close_matches(str(found), names, n=1)
    return f" Did you mean {names[close[0]]!r}?" if close else ""


def one_of(what: str, found: str, allowed: tuple[str, ...]) -> None:
    """Raises ValueError when ``found`` is no allowed name."""
    if found not in allowed:
        raise ValueError(
            f"{what} must be one of {allowed}. Found {found!r}."
            f"{nearest(found, allowed)}"
        )


def unique(what: str, names: Iterable[object]) -> None:
    """Raises ValueError when a name is there twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{what} must be unique. Found more than once: {twice[:5]}.")


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is what an annotation says; a list does for a tuple.

    Whole numbers do for fractions, and true and false for neither. Which words a
    ``Literal`` allows, its dataclass says itself.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if kind in EXACT or is_dataclass(kind):
        return type(value) is kind
    if kind is float:
        return type(value) is float or (type(value) is int and abs(value) <= MOST)
    if origin is Literal:
        return isinstance(value, str)
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is tuple:
        return isinstance(value, tuple | list) and _all_fit(value, *parts)
    if origin is Mapping:
        return (
            isinstance(value, Mapping)
            and _all_fit([*value], parts[0], ...)
            and _all_fit([*value.values()], parts[1], ...)
        )
    return isinstance(value, kind)


def _all_fit(values: tuple[Any, ...] | list[Any], *kinds: Any) -> bool:
    if kinds[-1] is not ...:
        return len(values) == len(kinds) and all(map(fits, values, kinds))
    union = get_origin(kinds[0]) in (Union, UnionType)
    allowed = get_args(kinds[0]) if union else kinds[:1]
    if all(kind in EXACT for kind in allowed):  # at once: a vocabulary may be long
        return {*map(type, values)} <= {*allowed}
    return all(fits(value, kinds[0]) for value in values)


def told(kind: Any) -> str:
    """An annotation as an error names it."""
    if isinstance(kind, type) and not get_origin(kind):
        return f"{'to be a' if is_dataclass(kind) else 'of type'} {kind.__name__}"
    return f"of type {kind}".replace("typing.", "").replace("collections.abc.", "")


def filled(part: type[T], given: Any) -> T:
    """A dataclass with these arguments; false stands for None, which TOML lacks.

    Raises ValueError when an argument does not exist, lacks, or is of another type.
    """
    name_of = part.__name__
    if not isinstance(given, Mapping):
        raise ValueError(f"{name_of} needs its arguments by name. Found {given!r}.")
    kinds = get_type_hints(part)
    given = {
        k: None if v is False and _none(kinds.get(k)) else v for k, v in given.items()
    }
    for name, value in given.items():
        if name not in kinds:
            raise ValueError(
                f"{name_of} takes {list(kinds)}. Found another argument {name!r}."
                f"{nearest(name, kinds)}"
            )
        if not fits(value, kinds[name]):
            raise ValueError(
                f"{name_of} needs {name} {told(kinds[name])}. Found {value!r}."
            )
    needed = [f.name for f in fields(part) if _needed(f)]  # type: ignore[arg-type]
    missing = [name for name in needed if name not in given]
    if missing:
        raise ValueError(f"{name_of} needs {needed}. Found no {missing[0]!r}.")
    lists = {k: tuple(v) for k, v in given.items() if isinstance(v, list)}
    floats = {k: float(v) for k, v in given.items() if kinds[k] is float}
    return part(**{**given, **lists, **floats})


def _none(kind: Any) -> bool:
    """Whether None may stand there, and no boolean."""
    return type(None) in get_args(kind) and bool not in get_args(kind)


def listed(name: str, given: Any) -> list[Any] | tuple[Any, ...]:
    """A list. Raises ValueError for anything else."""
    if not isinstance(given, list | tuple):
        raise ValueError(f"{name} must be a list. Found {given!r}.")
    return given


def _needed(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def object_of(what: str, text: str | bytes) -> dict[str, Any]:
    """The JSON object of this text. Raises ValueError where it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} must be JSON. Found: {error}.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{what} must be a JSON object. Found {found!r:.60}.")
    return found


def toml_of(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises ValueError where it is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be a TOML file. Found: {error}.") from error


def check_kinds(
    where: str, given: Any, kinds: Mapping[str, Any], *, needed: bool = False
) -> None:
    """Raises ValueError when something is no table, or a part of it of another type.

    Other parts may be there; with ``needed``, all of ``kinds`` must.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"{where} must be a table. Found {given!r}.")
    missing = [name for name in kinds if needed and name not in given]
    if missing:
        raise ValueError(f"{where} needs {[*kinds]}. Found no {missing[0]!r}.")
    for name, value in given.items():
        if name in kinds and not fits(value, kinds[name]):
            raise ValueError(
                f"{where} needs {name} {told(kinds[name])}. Found {value!r}."
            )
