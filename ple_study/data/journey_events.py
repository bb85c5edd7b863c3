"""The past of a household as two series: its days and its baskets."""

import numpy as np
import numpy.typing as npt
import torch

from ple_study.batch import Events
from ple_study.data.journey_features import Vocabulary
from ple_study.data.journey_tables import Codes
from ple_study.data.journey_windows import Window, total
from ple_study.schema import Sequence

DAYS, BASKETS, DEPARTMENTS = 180, 90, 8
Floats = npt.NDArray[np.float32]

DAILY = (
    "baskets",
    "lines",
    "spend",
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

    daily: one step a day, the last is the day before the cut-off; eight totals of the
    day and the dollars in each of the eight largest departments. baskets: one step a
    visit; ``hour`` is of 24, ``days_since_last`` is log(1 + days).
    """
    names = vocabulary.names("department", DEPARTMENTS)
    daily = (*DAILY, *(f"spend:{name}" for name in names))
    return (
        Sequence(name="daily", steps=DAYS, channels=daily),
        Sequence(name="baskets", steps=BASKETS, channels=BASKET),
    )


def events(
    past: Window, vocabulary: Vocabulary, households: Codes
) -> dict[str, tuple[Floats, npt.NDArray[np.bool_]]]:
    """Values ``[row, time, channel]`` and mask ``[row, time]`` of both series.

    A day is real from the household's first basket in the window on, so that a day
    without shopping is seen; a step that is not real is all zero.
    """
    return {
        "daily": _daily(past, vocabulary, households),
        "baskets": _baskets(past, households),
    }


def stack(
    parts: list[dict[str, tuple[Floats, npt.NDArray[np.bool_]]]],
) -> dict[str, Events]:
    """The series of several cut-offs as tensors, one after the other."""
    return {
        name: Events(
            values=torch.from_numpy(np.concatenate([part[name][0] for part in parts])),
            mask=torch.from_numpy(np.concatenate([part[name][1] for part in parts])),
        )
        for name in parts[0]
    }


def _daily(
    past: Window, vocabulary: Vocabulary, households: Codes
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    day = past.baskets["day"].to_numpy() - past.start

    def by_day(column: str = "") -> Floats:
        sums = total(past.baskets, past.size, column, day, DAYS)
        return sums[households].astype(np.float32)

    lines = by_day("num_lines")
    place = vocabulary.place("department", DEPARTMENTS)[past.lines["department"]]
    cell = (past.lines["day"].to_numpy() - past.start) * DEPARTMENTS + place
    cell[place < 0] = -1
    sums = total(past.lines, past.size, "sales", cell, DAYS * DEPARTMENTS)
    spend = sums.reshape(-1, DAYS, DEPARTMENTS)[households].astype(np.float32)
    angle = 2 * np.pi * (np.arange(past.start, past.stop) % 7) / 7
    clock = np.broadcast_to(angle, lines.shape).astype(np.float32)
    logs = [
        np.log1p(by_day(c)) for c in ("", "num_lines", "sales", "discount", "coupon")
    ]
    share = by_day("private") / np.maximum(lines, 1)
    values = np.stack([*logs, share, np.sin(clock), np.cos(clock)], axis=-1)
    values = np.concatenate([values, np.log1p(spend)], axis=-1)
    mask = np.maximum.accumulate(lines > 0, axis=1)
    return values * mask[..., None], mask


def _baskets(past: Window, households: Codes) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The last baskets of each household, the newest at the end."""
    frame = past.baskets.sort_values("household", kind="stable")
    household, store = frame["household"].to_numpy(), frame["store"].to_numpy()
    same = np.append(False, household[1:] == household[:-1])
    gap = np.where(same, frame["day"].diff().fillna(0), 0)
    again = np.append(False, store[1:] == store[:-1]) & same
    lines = frame["num_lines"].to_numpy()
    columns = [np.log1p(frame[c]) for c in ("sales", "num_lines", "discount", "coupon")]
    columns += [frame["private"] / lines, np.log1p(gap), again, frame["hour"] / 24]
    number = np.bincount(household, minlength=past.size).cumsum()
    step = BASKETS - (number[household] - np.arange(len(frame)))
    kept = step >= 0
    values = np.zeros((past.size, BASKETS, len(BASKET)), np.float32)
    mask = np.zeros((past.size, BASKETS), dtype=bool)
    values[household[kept], step[kept]] = np.stack(columns, axis=-1)[kept]
    mask[household[kept], step[kept]] = True
    return values[households], mask[households]
