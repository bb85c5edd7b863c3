"""The past of a household as two series: its days and its baskets."""

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from ple_study.batch import Events
from ple_study.data.journey.features import Vocabulary
from ple_study.data.journey.snapshots import Snapshot
from ple_study.data.journey.tables import Codes
from ple_study.schema import Sequence

DAYS, BASKETS, DEPARTMENTS = 180, 90, 8
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Fill = Callable[[Snapshot, Floats, Bools], None]

DAILY = (
    "baskets",
    "spend",
    "lines",
    "discount",
    "coupon",
    "private_share",
    "weekday_sin",
    "weekday_cos",
)
BASKET = (
    "spend",
    "lines",
    "discount",
    "coupon",
    "private_share",
    "days_since_last",
    "same_store",
    "hour",
)


def sequences(vocabulary: Vocabulary) -> tuple[Sequence, Sequence]:
    """The two series as the schema states them; money is log(1 + dollars).

    daily: one step a day, the last is the day before the cut-off; six numbers of the
    day, two of the calendar, and the dollars in each of the eight largest departments.
    baskets: one step a visit, the last is the latest. Counts and days enter as log(1 +
    x) too; ``private_share`` is of the lines, ``hour`` a share of the day.
    """
    return schemas(vocabulary, DAILY, BASKET)


def schemas(
    vocabulary: Vocabulary, daily: tuple[str, ...], basket: tuple[str, ...]
) -> tuple[Sequence, Sequence]:
    """Days, with the spend in the largest departments behind, and baskets."""
    spend = (f"spend:{name}" for name in vocabulary.names("department", DEPARTMENTS))
    return (
        Sequence(name="daily", steps=DAYS, channels=(*daily, *spend)),
        Sequence(name="baskets", steps=BASKETS, channels=basket),
    )


def series(shots: list[Snapshot]) -> dict[str, Events]:
    """Both series of the households of all cut-offs, one cut-off after the other.

    A day is real from the household's first basket in the window on, so that a day
    without shopping is seen; a step that is not real is all zero.
    """
    return stacked(shots, sequences(shots[0].vocabulary), (_daily, _baskets))


def stacked(
    shots: list[Snapshot], schemas: Iterable[Sequence], fills: Iterable[Fill]
) -> dict[str, Events]:
    """Each series filled by its function, one snapshot's rows after the other."""
    rows = sum(len(shot) for shot in shots)
    built = {}
    for schema, fill in zip(schemas, fills, strict=True):
        values = torch.zeros(rows, schema.steps, len(schema.channels))
        mask = torch.zeros(rows, schema.steps, dtype=torch.bool)
        start = 0
        for shot in shots:
            part = slice(start, start + len(shot))
            fill(shot, values[part].numpy(), mask[part].numpy())
            start += len(shot)
        built[schema.name] = Events(values=values, mask=mask)
    return built


def _daily(shot: Snapshot, values: Floats, mask: Bools) -> None:
    past = shot.past
    place = np.full(past.size, -1)
    place[shot.households] = np.arange(len(shot))
    frame = past.baskets
    row = place[frame["household"]], frame["day"].to_numpy() - past.start
    for channel, column in enumerate(("sales", "num_lines", "discount", "coupon")):
        np.add.at(values[..., channel + 1], row, frame[column].to_numpy(np.float32))
    np.add.at(values[..., 0], row, 1)
    np.add.at(values[..., 5], row, frame["private"].to_numpy(np.float32))
    department = shot.vocabulary.place("department", DEPARTMENTS)
    column = department[past.lines["department"]]
    lines = past.lines[column >= 0]
    cell = place[lines["household"]], lines["day"].to_numpy() - past.start
    sales = lines["sales"].to_numpy(np.float32)
    np.add.at(values, (*cell, len(DAILY) + column[column >= 0]), sales)
    values[..., 5] /= np.maximum(values[..., 2], 1)
    mask[:] = np.maximum.accumulate(values[..., 0] > 0, axis=1)
    for logged in (slice(5), slice(len(DAILY), None)):
        np.log1p(values[..., logged], out=values[..., logged])
    angle = 2 * np.pi * (np.arange(past.start, past.stop) % 7) / 7
    values[..., 6] = np.sin(angle) * mask
    values[..., 7] = np.cos(angle) * mask


def _baskets(shot: Snapshot, values: Floats, mask: Bools) -> None:
    """The last baskets of each household, the newest at the end."""
    frame = shot.past.baskets.sort_values("household", kind="stable")
    household, store = frame["household"].to_numpy(), frame["store"].to_numpy()
    same = np.append(False, household[1:] == household[:-1])
    gap = np.where(same, frame["day"].diff().fillna(0), 0)
    again = np.append(False, store[1:] == store[:-1]) & same
    lines = frame["num_lines"].to_numpy()
    columns = [np.log1p(frame[c]) for c in ("sales", "num_lines", "discount", "coupon")]
    columns += [frame["private"] / lines, np.log1p(gap), again, frame["hour"] / 24]
    newest(shot, household, columns, values, mask)


def newest(
    shot: Snapshot,
    household: Codes,
    columns: list[pd.Series | npt.NDArray[np.generic]],
    values: Floats,
    mask: Bools,
) -> None:
    """Write the last baskets of each household, which come one after the other."""
    last = np.bincount(household, minlength=shot.past.size).cumsum()
    step = BASKETS - (last[household] - np.arange(len(household)))
    place = np.full(shot.past.size, -1)
    place[shot.households] = np.arange(len(shot))
    kept = step >= 0
    cell = place[household[kept]], step[kept]
    values[cell] = np.stack(columns, axis=-1)[kept]
    mask[cell] = True
