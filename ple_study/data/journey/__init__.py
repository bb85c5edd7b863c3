"""Real households as a study: six four-weekly snapshots, sixteen tasks, split by time.

A snapshot is a cut-off day: the 180 days before it are the input, the 28 days from it
on (56 for slow tasks) hold the labels, and every household with a purchase in the 180
days is a row. A month is four weeks, and all cut-offs fall on a Monday, so that each
window holds each weekday equally often. Day 0 is 2017-01-01, day 197 is 17 July.

====== ============ ===================== ========================
part   cut-off day  28-day labels end on  56-day labels end on
====== ============ ===================== ========================
train  197, 225     225, 253              253, (281, not observed)
val    253, 281     281, 309              309, (337, not observed)
test   309, 337     337, 365              365, (393, after the year)
====== ============ ===================== ========================

The gap: a label counts as observed only when its window has ended by the first cut-off
of the next part. So no label of training looks at a day that one of validation or test
looks at, and all that training and model choice need was known on the first test day.
The price is that slow tasks have one snapshot a part. Households are the same in all
parts, and the past of a test row reaches back over training days, as it does in use;
only ``life_stage``, which stays the same all year, shows a household in one part alone.
"""

from collections.abc import Collection

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ple_study.batch import Batch, Rows
from ple_study.data.checks import SPLITS
from ple_study.data.columns import encode, known_values
from ple_study.data.journey.events import sequences, series
from ple_study.data.journey.features import MONTH
from ple_study.data.journey.habits import PERSON, PROBABILITY, categories, numeric
from ple_study.data.journey.labels import Label
from ple_study.data.journey.lenses import LENSES, Lens, check_lenses, with_lenses
from ple_study.data.journey.snapshots import Snapshot, Values, label_values, snapshots
from ple_study.data.journey.tables import Purchases, read
from ple_study.data.journey.tasks import LABELS, TRANSFERS
from ple_study.data.loader import Study
from ple_study.data.thread import preferring
from ple_study.schema import Feature, Schema

__all__ = ["LENSES", "journey", "labels_table"]


def journey(
    *,
    purchases: Purchases | None = None,
    every: int = MONTH,
    seed: int = 0,
    lenses: Collection[Lens] = (),
) -> Study:
    """The study of real households: 14,457 rows, 262 columns and two series.

    ``every`` is the number of days between training cut-offs: 28, or 14 or 7 for more
    rows from the same days. ``seed`` deals the households with a survey to the parts.
    ``lenses`` names what else is made of each row's past: "diagrams", "states",
    "clusters", "vectors", or ``LENSES`` for all of them: some minutes of a core, most
    of it for diagrams and vectors. They change nothing of the rest.
    ``Batch.customer`` is the household's code in ``purchases.names["household"]``. Rows
    stand in the order of ``snapshots(purchases, every)``, which knows their cut-offs.
    The graphs of the households are in ``journey.graphs``.

    Raises ValueError for another ``every``, and for a lens of another name.
    """
    check_lenses(lenses)
    shots = snapshots(purchases if purchases is not None else read(), every)
    features, batch = _inputs(shots)
    schema = Schema(
        features=features,
        tasks=tuple(preferring(label.spec) for label in LABELS),
        sequences=sequences(shots[0].vocabulary),
        transfers=TRANSFERS,
    )
    labels = {}
    for label in LABELS:
        values = label_values(label, shots, seed).scaled
        labels[label.spec.name] = torch.from_numpy(values).float()
    study = Study(schema, Rows(batch, labels), _split(shots))
    return with_lenses(study, shots, lenses)


def labels_table(
    *, purchases: Purchases | None = None, every: int = MONTH, seed: int = 0
) -> pd.DataFrame:
    """One row a task: what is predicted, how often it is known, and its base rate.

    ``base`` is the share of ones of a binary task, the mean in ``unit`` of a regression
    task, the share of the commonest class of any other, over all observed rows. A
    regression label is trained on as (label - mean) / std.
    """
    shots = snapshots(purchases if purchases is not None else read(), every)
    rows = [_table_row(label, label_values(label, shots, seed)) for label in LABELS]
    return pd.DataFrame(rows)


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


def _inputs(shots: list[Snapshot]) -> tuple[tuple[Feature, ...], Batch]:
    numbers, values = _numeric(shots)
    texts = [categories(shot.past).iloc[shot.households] for shot in shots]
    coded, codes = _coded(texts, [shot.part == "train" for shot in shots])
    households = np.concatenate([shot.households for shot in shots])
    batch = Batch(
        numeric=values,
        categorical=codes,
        events=series(shots),
        customer=torch.from_numpy(households),
    )
    return numbers + coded, batch


def _numeric(shots: list[Snapshot]) -> tuple[tuple[Feature, ...], Tensor]:
    blocks = [numeric(shot.past, shot.vocabulary) for shot in shots]
    features = tuple(
        Feature(
            name=name,
            kind="probability" if group in PROBABILITY else "numeric",
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
    texts: list[pd.DataFrame], train: list[bool]
) -> tuple[tuple[Feature, ...], Tensor]:
    """Code text by the values seen in training; 0 where not among them."""
    seen = pd.concat([text for text, fit in zip(texts, train, strict=True) if fit])
    frame = pd.concat(texts)
    features = tuple(
        Feature(
            name=str(name),
            kind="categorical",
            group="person" if name in PERSON else "habit",
            vocabulary=known_values(seen[name]),
        )
        for name in frame.columns
    )
    codes = [encode(frame[f.name], f) for f in features]
    return features, torch.stack(codes, dim=1)
