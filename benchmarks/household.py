"""Two households from beginning to end: ``python -m benchmarks.household --keep DIR``.

Who is shown is settled here, before anybody has looked. Candidates are test rows with
an observed ``retention``, so those of the first test cut-off. A task doubts a row by
the share of candidates of whom its epistemic part is smaller; a row's doubt is the mean
over all tasks with evidential heads. ``usual`` is the row of middle doubt, ``doubtful``
that of most; of equals the first. Kept are tenths among training rows of the columns in
``SHOWN``, the answers, readouts, doubts and labels; no key, no row, no place in a file.

The first model, seed 1, is explained. All five answer, and explain ``churn``. What is
moved: ``MOVED`` alone, to the training rows' ``GRID``, each column to its median,
and all columns together.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.clock import machine
from benchmarks.whole_model import RESULTS, WHOLE, households, rounded
from ple_study.batch import Batch, concat
from ple_study.data.journey import labels_table
from ple_study.data.journey.snapshots import snapshots
from ple_study.data.journey.tables import read
from ple_study.data.journey.tasks import class_names
from ple_study.data.loader import Study
from ple_study.export import load
from ple_study.fitted import Fitted
from ple_study.interpret.contributions import contributions

SEEDS, TASK, MOVED = (1, 2, 3, 4, 5), "churn", "recency"
GRID = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95)
READOUTS = ("gate", "loo", "shapley")
FIELDS = ("raw", "base", "full", "usual", "private", "classes", "present")
SHOWN = (
    *("recency", "baskets_28d", "spend_28d", "baskets_180d", "spend_180d"),
    *("spend_change_month", "gap_mean", "discount_share_180d", "coupon_baskets_180d"),
    *("campaigns_running", "home_share_180d", "category_distinct"),
)


def doubts(fitted: Fitted, batch: Batch) -> tuple[list[str], Tensor]:
    """By task with a head and row, the share of rows that it doubts less."""
    found = {k: o.epistemic for k, o in fitted.uncertainty(batch).items()}
    ranks = [torch.searchsorted(e.sort().values, e) for e in found.values()]
    return list(found), torch.stack(ranks).double() / len(batch)


def predicted(fitted: Fitted, batch: Batch) -> dict[str, Any]:
    return {k: rounded(p) for k, p in fitted.predict(batch).items()}


def told(fitted: Fitted, batch: Batch, background: Batch, **asked: Any) -> Any:
    """The fields of ``Contributions``, as numbers."""
    found = contributions(fitted, batch, background, **asked)
    return {name: rounded(getattr(found, name)) for name in FIELDS}


def moved(study: Study, fitted: Fitted, row: Batch) -> dict[str, Any]:
    """What the model says of a household one of whose columns is another."""
    train = study.part("train").batch
    names = [feature.name for feature in study.schema.numeric]
    place = names.index(MOVED)
    grid = train.numeric[:, place].quantile(torch.tensor(GRID))
    steps = concat([_with(row, place, value) for value in grid])
    middle = train.numeric.median(0).values
    each = concat([_with(row, i, value) for i, value in enumerate(middle)])
    all_of_them = replace(row, numeric=middle[None])
    own, other, together = (
        fitted.output(x).logits[TASK][:, 0] for x in (row, each, all_of_them)
    )
    change = other - own
    order = change.abs().argsort(descending=True)[:8].tolist()
    return {
        "days": rounded(grid.expm1()),
        "answers": predicted(fitted, steps),
        "steps": told(fitted, steps, train, tasks=[TASK]),
        "median": {names[i]: rounded(change[i]) for i in order},
        "together": rounded(together[0] - own[0]),
        "small": int((change.abs() < 0.02).sum()),
    }


def _with(row: Batch, place: int, value: Tensor) -> Batch:
    numeric = row.numeric.clone()
    numeric[:, place] = value
    return replace(row, numeric=numeric)


def tenths(study: Study, row: Batch) -> dict[str, int]:
    """In which tenth, 1 to 10, of the training rows a column is: the middle of ties."""
    train = study.part("train").batch.numeric
    below = (train < row.numeric).double() + (train <= row.numeric).double()
    share = (below.mean(0) / 2).tolist()
    pairs = zip(study.schema.numeric, share, strict=True)
    own = {feature.name: min(10, 1 + int(10 * s)) for feature, s in pairs}
    return {name: own[name] for name in SHOWN}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULTS / "household.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    study = households()
    models = [load(asked.keep / f"journey_{seed}") for seed in SEEDS]
    train, test = study.part("train").batch, study.part("test")
    able = test.rows((~test.labels["retention"].isnan()).nonzero()[:, 0])
    heads, doubt = doubts(models[0], able.batch)
    order = doubt.mean(0).argsort(stable=True)
    chance = models[0].predict(able.batch)[TASK][:, 0]
    pairs = torch.stack([chance, able.labels[TASK]], 1)[chance.argsort()]
    about: dict[str, Any] = {
        "rows": len(able.batch),
        "tasks": list(study.schema.task_names),
        "experts": list(WHOLE.experts),
        "heads": heads,
        "scale": {r.task: [r.mean, r.std] for r in labels_table().itertuples()},
        "classes": class_names(snapshots(read())[0].vocabulary),
        "fifths": [rounded(part.mean(0)) for part in pairs.chunk(5)],
        "machine": machine("cpu"),
        "households": {},
    }
    for name, place in {"usual": len(order) // 2, "doubtful": -1}.items():
        own = able.rows(order[[place]])
        row = own.batch
        about["households"][name] = {
            "tenths": tenths(study, row),
            "diagrams": {k: bool(d.mask.any()) for k, d in row.diagrams.items()},
            "vectors": {k: not v.isnan().any().item() for k, v in row.vectors.items()},
            "doubt": rounded(doubt[:, order[place]]),
            "answers": [predicted(model, row) for model in models],
            "told": {r: told(models[0], row, train, readout=r) for r in READOUTS},
            "five": [told(model, row, train, tasks=[TASK]) for model in models],
            "moved": moved(study, models[0], row),
            "labels": {k: rounded(v[0]) for k, v in own.labels.items()},
        }
    asked.out.write_text(json.dumps(about).replace("NaN", "null") + "\n")


if __name__ == "__main__":
    main()
