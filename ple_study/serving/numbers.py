"""Numbers of a raw record, each checked; what is wrong is named by its place.

Nothing here needs torch.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from numbers import Real
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ple_study.names import nearest

Path = tuple[str | int, ...]
Floats = NDArray[np.float32]
TRUTH = (bool, np.bool_)


class RecordError(ValueError):
    """What does not fit in a raw record: expected, found, and where.

    row: its place in the list of records, from zero; None where the list is wrong.
    path: the way to what is wrong, ``("events", "daily", "values", 3)``, and ``field``
    the same as text, ``events.daily.values[3]``; empty where the record itself is.
    kind: the word that pydantic has for such an error, such as ``missing``.
    """

    def __init__(
        self,
        expected: str,
        found: str,
        path: Path = (),
        kind: str = "value_error",
        row: int | None = None,
    ) -> None:
        super().__init__(expected, found, path, kind, row)
        self.expected, self.found = expected, found
        self.path, self.kind, self.row = path, kind, row

    @property
    def field(self) -> str:
        steps = (f"[{x}]" if isinstance(x, int) else f".{x}" for x in self.path)
        return "".join(steps).removeprefix(".")

    def of(self, row: int) -> "RecordError":
        """The same, of another row."""
        return RecordError(self.expected, self.found, self.path, self.kind, row)

    def __str__(self) -> str:
        where = "Records" if self.row is None else f"Record {self.row}"
        if self.path:
            where = f"{self.field!r} of {where.lower()}"
        return f"{where} must be {self.expected}. Found {self.found}"


def refuse(path: Path, kind: str, expected: str, found: object) -> NoReturn:
    """Raise RecordError."""
    raise RecordError(expected, f"{found!r:.60}.", path, kind)


def known(given: object, names: Collection[str], path: Path) -> Mapping[str, Any]:
    """A mapping of these names alone; what is None counts as an empty one."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        refuse(path, "dict_type", "a mapping of names", given)
    for name in given:
        if name not in names:
            hint = f".{nearest(name, names)}"
            expected = f"left out: the names here are {list(names)[:20]}"
            found = f"{given[name]!r:.60}{hint}"
            short = name[:60] if isinstance(name, str) else name
            raise RecordError(expected, found, (*path, short), "extra_forbidden")
    return given


def items(given: object, path: Path, expected: str) -> Sequence[Any]:
    """A list, also where an array was given."""
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if not isinstance(given, (list, tuple)):
        refuse(path, "list_type", expected, given)
    return given


def number(given: object, path: Path) -> float:
    """One finite number, as float32 has it."""
    if not isinstance(given, Real) or isinstance(given, TRUTH):
        refuse(path, "float_type", "a finite number", given)
    value = np.float32(np.inf)
    with suppress(OverflowError), np.errstate(over="ignore"):
        value = np.float32(float(given))
    if not np.isfinite(value):
        refuse(path, "finite_number", "a finite number (of float32)", given)
    return float(value)


def numbers(given: Sequence[Any], where: Callable[[int], Path]) -> Floats:
    """Finite numbers, in float32; ``where`` says the path of each place."""
    if {*map(type, given)} <= {int, float}:
        with suppress(OverflowError), np.errstate(over="ignore"):
            found = np.array(given, np.float64).astype(np.float32)
            if np.isfinite(found).all():
                return found
    slowly = [number(value, where(place)) for place, value in enumerate(given)]
    return np.array(slowly, np.float32)


def vector(given: object, width: int, path: Path) -> Floats:
    """``width`` numbers."""
    expected = f"a list of {width} numbers"
    values = items(given, path, expected)
    if len(values) != width:
        kind = "too_short" if len(values) < width else "too_long"
        refuse(path, kind, expected, f"{len(values)} of them")
    return numbers(values, lambda place: (*path, place))


def matrix(
    given: Sequence[Any], places: Sequence[int], width: int, path: Path
) -> Floats:
    """The rows at these places, ``[row, width]``."""
    chosen, expected = [], f"a list of {width} numbers"
    for place in places:
        row = items(given[place], (*path, place), expected)
        if len(row) != width:
            kind = "too_short" if len(row) < width else "too_long"
            refuse((*path, place), kind, expected, f"{len(row)} of them")
        chosen.append(row)
    flat = [*chain.from_iterable(chosen)]
    found = numbers(flat, lambda at: (*path, places[at // width], at % width))
    return found.reshape(len(chosen), width)
