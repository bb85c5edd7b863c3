"""Which households are rows at which cut-off, and what is known of them afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ple_study.data.checks import SPLITS
from ple_study.data.journey.features import KEYS, MONTH, Vocabulary
from ple_study.data.journey.labels import Label, View
from ple_study.data.journey.tables import Array, Codes, Purchases
from ple_study.data.journey.windows import Window

PAST = 180  # days
FIRST = {"train": 197, "val": 253, "test": 309}  # first cut-off day of each part
END = {"train": 253, "val": 309, "test": 365}  # its labels are known by then
Days = Mapping[str, int]  # one a part of the split
SHARES = (0.6, 0.8)  # of the households with a survey: up to train, up to val


@dataclass(frozen=True)
class Snapshot:
    """The households that bought in the 180 days before a cut-off day."""

    part: str
    cutoff: int
    households: Codes
    past: Window
    vocabulary: Vocabulary

    def __len__(self) -> int:
        return len(self.households)


class Values(NamedTuple):
    """A task's labels over all rows: in their unit, and as trained on.

    scaled = (raw - mean) / std, with mean 0 and std 1 for classes.
    """

    raw: Array
    scaled: Array
    mean: float
    std: float


def snapshots(purchases: Purchases, every: int = MONTH) -> list[Snapshot]:
    """All cut-offs in order of time; training ones ``every`` so many days."""
    if every not in (7, 14, 28):
        raise ValueError(
            "every must be 7, 14 or 28 days, so that all cut-offs fall on one weekday. "
            f"Found {every}."
        )
    return taken(purchases, FIRST, END, every)


def taken(
    purchases: Purchases,
    first: Days,
    end: Days,
    every: int = MONTH,
    keys: tuple[str, ...] = KEYS,
) -> list[Snapshot]:
    """A snapshot every four weeks of each part, from its first cut-off to its end.

    The vocabulary ranks by each of ``keys`` what was bought before training ends.
    """
    vocabulary = Vocabulary.fit(purchases, end["train"], keys)
    days = [
        (part, day)
        for part, start in first.items()
        for day in range(start, end[part], every if part == "train" else MONTH)
        if day + MONTH <= end[part]
    ]
    return [_snapshot(part, day, purchases, vocabulary) for part, day in days]


def _snapshot(
    part: str, day: int, purchases: Purchases, vocabulary: Vocabulary
) -> Snapshot:
    past = Window(purchases, day - PAST, day)
    return Snapshot(part, day, np.flatnonzero(past.baskets_sum()), past, vocabulary)


def training_rows(shots: Sequence[Snapshot]) -> Codes:
    """The rows of the training cut-offs, all snapshots' rows one after the other."""
    fit = [np.full(len(shot), shot.part == "train") for shot in shots]
    return np.flatnonzero(np.concatenate(fit))


def label_values(
    label: Label, shots: list[Snapshot], seed: int, end: Days = END
) -> Values:
    """One label over all rows; NaN where not observed in time (see ``journey``)."""
    raw = np.concatenate([_raw(label, shot, end) for shot in shots])
    part = np.repeat([shot.part for shot in shots], [len(shot) for shot in shots])
    if not label.horizon:
        household = np.concatenate([shot.households for shot in shots])
        raw[_dealt(shots[0].past.purchases, seed)[household] != part] = np.nan
    train = raw[part == "train"]
    if label.buckets:
        inner = np.linspace(0, 1, label.buckets + 1)[1:-1]
        edges = np.nanquantile(train, inner)
        raw = np.where(np.isnan(raw), np.nan, np.searchsorted(edges, raw, side="right"))
        train = raw[part == "train"]
    mean, std = 0.0, 1.0
    if label.spec.kind == "regression":
        mean, std = float(np.nanmean(train)), float(np.nanstd(train))
    return Values(raw, (raw - mean) / std, mean, std)


def _raw(label: Label, shot: Snapshot, end: Days) -> Array:
    if shot.cutoff + label.horizon > end[shot.part]:
        return np.full(len(shot), np.nan)
    after = Window(shot.past.purchases, shot.cutoff, shot.cutoff + label.horizon)
    return label.raw(View(shot.past, after, shot.vocabulary))[shot.households]


def _dealt(purchases: Purchases, seed: int) -> npt.NDArray[np.object_]:
    """By household, the part in which its survey is shown."""
    known = np.flatnonzero(purchases.demographics["age"].notna())
    order = np.random.default_rng(seed).permutation(known)
    cuts = [round(len(order) * share) for share in SHARES]
    part = np.full(purchases.num_households, "", dtype=object)
    for name, dealt in zip(SPLITS, np.split(order, cuts), strict=True):
        part[dealt] = name
    return part
