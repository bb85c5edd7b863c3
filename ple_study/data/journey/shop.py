"""From the snapshots of a shop's customers to a study: columns, series, labels, split.

    study = study_of(HOUSEHOLDS, snapshots(read()))  # data.journey

What a shop has of its own is a ``Shop``: its columns, its series, its tasks, its days.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ple_study.batch import Batch, Events, Rows
from ple_study.data.checks import SPLITS
from ple_study.data.columns import encode, known_values
from ple_study.data.journey.features import Columns, Vocabulary
from ple_study.data.journey.labels import Label
from ple_study.data.journey.snapshots import Days, Snapshot, Values, label_values
from ple_study.data.journey.windows import Window
from ple_study.data.loader import Study
from ple_study.data.thread import TRANSFERS, preferring
from ple_study.schema import Feature, Schema, Sequence


class Shop(NamedTuple):
    """What a shop's study is made of.

    numeric, categories: the columns of a past, those of numbers by group.
    probability: the groups whose rows sum to one. person: the categories that say who
    somebody is; the others are habits. sequences, series: the schemas of the series,
    and the series. labels: the tasks. end: the day by which a part's labels are known.
    """

    numeric: Callable[[Window, Vocabulary], dict[str, Columns]]
    categories: Callable[[Window], pd.DataFrame]
    probability: Collection[str]
    person: Collection[str]
    sequences: Callable[[Vocabulary], tuple[Sequence, ...]]
    series: Callable[[list[Snapshot]], dict[str, Events]]
    labels: tuple[Label, ...]
    end: Days


def study_of(shop: Shop, shots: list[Snapshot], seed: int = 0) -> Study:
    """The rows of all snapshots, one after the other; the thread's edges between tasks.

    ``seed`` deals out a survey (see ``label_values``).
    """
    features, batch = _inputs(shop, shots)
    tasks = tuple(preferring(label.spec) for label in shop.labels)
    names = {task.name for task in tasks}
    schema = Schema(
        features=features,
        tasks=tasks,
        sequences=shop.sequences(shots[0].vocabulary),
        transfers=tuple(t for t in TRANSFERS if {t.source, t.target} <= names),
    )
    labels = {}
    for label in shop.labels:
        values = label_values(label, shots, seed, shop.end).scaled
        labels[label.spec.name] = torch.from_numpy(values).float()
    return Study(schema, Rows(batch, labels), _split(shots))


def labels_frame(shop: Shop, shots: list[Snapshot], seed: int = 0) -> pd.DataFrame:
    """One row a task: what is predicted, how often it is known, and its base rate.

    ``base`` is the share of ones of a binary task, the mean in ``unit`` of a regression
    task, the share of the commonest class of any other, over all observed rows. A
    regression label is trained on as (label - mean) / std.
    """
    return pd.DataFrame(
        [
            _table_row(label, label_values(label, shots, seed, shop.end))
            for label in shop.labels
        ]
    )


def _table_row(label: Label, values: Values) -> dict[str, str | float]:
    known = values.raw[~np.isnan(values.raw)]
    commonest = np.unique(known, return_counts=True)[1].max() / len(known)
    spec = label.spec
    return {
        "task": spec.name,
        "group": spec.group,
        "kind": spec.kind,
        "classes": spec.classes,
        "predicts": label.words,
        "unit": label.unit,
        "horizon_days": label.horizon,
        "observed": len(known) / len(values.raw),
        "base": commonest if spec.classes > 1 else known.mean(),
        "mean": values.mean,
        "std": values.std,
    }


def _split(shots: list[Snapshot]) -> dict[str, Tensor]:
    part = np.repeat([shot.part for shot in shots], [len(shot) for shot in shots])
    return {name: torch.from_numpy(np.flatnonzero(part == name)) for name in SPLITS}


def _inputs(shop: Shop, shots: list[Snapshot]) -> tuple[tuple[Feature, ...], Batch]:
    numbers, values = _numeric(shop, shots)
    texts = [shop.categories(shot.past).iloc[shot.households] for shot in shots]
    coded, codes = _coded(shop, texts, [shot.part == "train" for shot in shots])
    households = np.concatenate([shot.households for shot in shots])
    batch = Batch(
        numeric=values,
        categorical=codes,
        events=shop.series(shots),
        customer=torch.from_numpy(households),
    )
    return numbers + coded, batch


def _numeric(shop: Shop, shots: list[Snapshot]) -> tuple[tuple[Feature, ...], Tensor]:
    blocks = [shop.numeric(shot.past, shot.vocabulary) for shot in shots]
    features = tuple(
        Feature(
            name=name,
            kind="probability" if group in shop.probability else "numeric",
            group=group,
        )
        for group, columns in blocks[0].items()
        for name in columns
    )
    parts = []
    for shot, block in zip(shots, blocks, strict=True):
        columns = [c for group in block.values() for c in group.values()]
        parts.append(np.stack(columns, axis=1)[shot.households])
    return features, torch.from_numpy(np.concatenate(parts)).float()


def _coded(
    shop: Shop, texts: list[pd.DataFrame], train: list[bool]
) -> tuple[tuple[Feature, ...], Tensor]:
    """Code text by the values seen in training; 0 where not among them."""
    seen = pd.concat([text for text, fit in zip(texts, train, strict=True) if fit])
    frame = pd.concat(texts)
    features = tuple(
        Feature(
            name=str(name),
            kind="categorical",
            group="person" if name in shop.person else "habit",
            vocabulary=known_values(seen[name]),
        )
        for name in frame.columns
    )
    codes = [encode(frame[f.name], f) for f in features]
    return features, torch.stack(codes, dim=1)
