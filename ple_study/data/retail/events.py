"""The past of a customer as two series: days and orders."""

import numpy as np

from ple_study.batch import Events
from ple_study.data.journey.events import (
    DEPARTMENTS,
    Bools,
    Floats,
    newest,
    schemas,
    stacked,
)
from ple_study.data.journey.features import Vocabulary
from ple_study.data.journey.snapshots import Snapshot
from ple_study.data.retail.tables import returned
from ple_study.schema import Sequence

DAILY = (
    "baskets",
    "spend",
    "lines",
    "pieces",
    "returned",
    "price",
    "weekday_sin",
    "weekday_cos",
)
BASKET = (
    "spend",
    "lines",
    "pieces",
    "price",
    "again_share",
    "days_since_last",
    "same_kind",
    "hour",
)


def sequences(vocabulary: Vocabulary) -> tuple[Sequence, Sequence]:
    """The two series as the schema states them; money is log(1 + pounds).

    daily: one step a day, the last is the day before the cut-off; six numbers of the
    day, two of the calendar, and the pounds in each of the eight largest kinds.
    baskets: one step an order, the last is the latest. Counts, days and the price a
    piece enter as log(1 + x) too. ``again_share`` is the share of the lines whose
    product stood in an earlier line of the 180 days, ``same_kind`` whether the order
    before had the same main kind, ``hour`` a share of the day.
    """
    return schemas(vocabulary, DAILY, BASKET)


def series(shots: list[Snapshot]) -> dict[str, Events]:
    """Both series of the customers of all cut-offs, one cut-off after the other.

    A day is real from the customer's first order in the window on, so that a day
    without an order is seen; a step that is not real is all zero.
    """
    return stacked(shots, sequences(shots[0].vocabulary), (_daily, _baskets))


def _daily(shot: Snapshot, values: Floats, mask: Bools) -> None:
    past = shot.past
    place = np.full(past.size, -1)
    place[shot.households] = np.arange(len(shot))
    frame = past.baskets
    row = place[frame["household"]], frame["day"].to_numpy() - past.start
    np.add.at(values[..., 0], row, 1)
    for channel, column in enumerate(("sales", "num_lines", "quantity")):
        np.add.at(values[..., channel + 1], row, frame[column].to_numpy(np.float32))
    back = returned(past)
    back = back[place[back["household"]] >= 0]
    row = place[back["household"]], back["day"].to_numpy() - past.start
    np.add.at(values[..., 4], row, back["sales"].to_numpy(np.float32))
    values[..., 5] = values[..., 1] / np.maximum(values[..., 3], 1)
    department = shot.vocabulary.place("department", DEPARTMENTS)
    column = department[past.lines["department"]]
    lines = past.lines[column >= 0]
    cell = place[lines["household"]], lines["day"].to_numpy() - past.start
    sales = lines["sales"].to_numpy(np.float32)
    np.add.at(values, (*cell, len(DAILY) + column[column >= 0]), sales)
    np.log1p(values, out=values)
    mask[:] = np.maximum.accumulate(values[..., 0] > 0, axis=1)
    angle = 2 * np.pi * (np.arange(past.start, past.stop) % 7) / 7
    values[..., 6], values[..., 7] = np.sin(angle), np.cos(angle)
    values *= mask[..., None]  # goods may come back before the first order of the past


def _baskets(shot: Snapshot, values: Floats, mask: Bools) -> None:
    """The last orders of each customer, the newest at the end."""
    lines = shot.past.lines
    seen = lines.duplicated(["household", "product"])
    again = seen.groupby(lines["basket"]).sum()
    frame = shot.past.baskets.sort_values("household", kind="stable")
    household, kind = frame["household"].to_numpy(), frame["department"].to_numpy()
    same = np.append(False, household[1:] == household[:-1])
    gap = np.where(same, frame["day"].diff().fillna(0), 0)
    alike = np.append(False, kind[1:] == kind[:-1]) & same
    columns = [np.log1p(frame[c]) for c in ("sales", "num_lines", "quantity")]
    columns += [np.log1p(frame["sales"] / frame["quantity"])]
    columns += [again.reindex(frame["basket"]).to_numpy() / frame["num_lines"]]
    columns += [np.log1p(gap), alike, frame["hour"] / 24]
    newest(shot, household, columns, values, mask)
