"""Each part of a raw record as arrays: codes, series, diagrams, states, clusters.

Nothing here needs torch.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ple_study.inputs import Feature
from ple_study.inputs import Sequence as Series
from ple_study.serving.numbers import (
    TRUTH,
    Floats,
    Path,
    RecordError,
    items,
    known,
    matrix,
    refuse,
    vector,
)

Arrays = dict[str, NDArray[Any]]

ROUNDING = 1e-4  # as ple_study.data.checks, which needs torch
POINTS = 2  # of a diagram in the arrays, at least

_KINDS: dict[type, tuple[str, str]] = {
    str: ("string_type", "a text"),
    bool: ("bool_type", "true or false"),
    int: ("int_type", "a number"),
}


def code(given: Any, feature: Feature, codes: Mapping[Any, int]) -> int:
    """As ``data.columns.encode``: the value's place from 1; 0 where it has none."""
    if given is None or (isinstance(given, float) and np.isnan(given)):
        return 0
    wanted = type(feature.vocabulary[0])
    fits = {
        str: isinstance(given, str),
        bool: isinstance(given, TRUTH),
        int: isinstance(given, Real) and not isinstance(given, TRUTH),
    }
    if not fits[wanted]:
        kind, what = _KINDS[wanted]
        such = f"{what} such as {feature.vocabulary[0]!r}, or None"
        refuse((feature.name,), kind, such, given)
    return codes.get(given, 0)


def series(given: object, spec: Series) -> Arrays:
    """Values and mask of all steps, the given ones at the end."""
    path: Path = ("events", spec.name)
    values = np.zeros((spec.steps, len(spec.channels)), np.float32)
    mask = np.zeros(spec.steps, bool)
    parts = known(given, ("values", "mask"), path)
    if parts:
        if "values" not in parts:
            raise RecordError(
                "a list of steps", "nothing.", (*path, "values"), "missing"
            )
        steps = items(parts["values"], (*path, "values"), "a list of steps")
        if len(steps) > spec.steps:
            expected = f"a list of at most {spec.steps} steps"
            refuse((*path, "values"), "too_long", expected, f"{len(steps)} of them")
        real = _mask(parts.get("mask"), len(steps), (*path, "mask"))
        places = [place for place, here in enumerate(real) if here]
        start = spec.steps - len(steps)
        rows = matrix(steps, places, values.shape[1], (*path, "values"))
        at = np.array(places, np.int64) + start
        values[at], mask[at] = rows, True
    return {"values": values, "mask": mask}


def _mask(given: object, steps: int, path: Path) -> Sequence[bool]:
    if given is None:
        return [True] * steps
    expected = f"a list of {steps} times true or false, one a step"
    mask = items(given, path, expected)
    for place, value in enumerate(mask):
        if not isinstance(value, TRUTH):
            refuse((*path, place), "bool_type", "true or false", value)
    if len(mask) != steps:
        kind = "too_short" if len(mask) < steps else "too_long"
        refuse(path, kind, expected, f"{len(mask)} of them")
    return mask


def points(given: object, path: Path) -> Floats:
    """``[point, 3]``; none where nothing is given."""
    rows = items([] if given is None else given, path, "a list of points")
    found = matrix(rows, range(len(rows)), 3, path)
    wrong = (found[:, 2] < 0) | (found[:, 2] != found[:, 2].round())
    if wrong.any():
        place = int(wrong.argmax())
        expected = "a homology, a whole number from zero"
        refuse((*path, place, 2), "int_type", expected, float(found[place, 2]))
    return found


def padded(name: str, column: Sequence[Floats]) -> Arrays:
    """Points and mask of one diagram a record."""
    most = max(POINTS, *map(len, column))
    points = np.zeros((len(column), most, 3), np.float32)
    mask = np.zeros((len(column), most), bool)
    for row, found in enumerate(column):
        points[row, : len(found)], mask[row, : len(found)] = found, True
    return {f"{name}_points": points, f"{name}_mask": mask}


def or_nan(given: object, width: int, path: Path) -> Floats:
    if given is None:
        return np.full(width, np.nan, np.float32)
    return vector(given, width, path)


def states(given: object, modes: int, width: int) -> Floats:
    expected = f"a list of {modes} modes"
    rows = [None] * modes if given is None else items(given, ("states",), expected)
    if len(rows) != modes:
        kind = "too_short" if len(rows) < modes else "too_long"
        refuse(("states",), kind, expected, f"{len(rows)} of them")
    read = partial(or_nan, width=width)
    return np.stack([read(row, path=("states", at)) for at, row in enumerate(rows)])


def clusters(given: object, count: int) -> Floats:
    shares = or_nan(given, count, ("clusters",))
    if given is not None and (
        (shares < 0).any() or abs(float(shares.sum()) - 1) > ROUNDING
    ):
        expected = f"shares, zero or more, that add up to 1 within {ROUNDING}"
        refuse(("clusters",), "value_error", expected, shares.tolist())
    return shares
