"""A small study of every kind of task, with holes in labels and weights on rows."""

import torch

from ple_study.batch import Batch, Rows
from ple_study.data.loader import Study, random_split
from ple_study.schema import Feature, Schema, TaskSpec

SCHEMA = Schema(
    features=(
        Feature(name="age"),
        Feature(name="visits", group="habit"),
        Feature(name="share", kind="probability"),
        Feature(name="city", kind="categorical", vocabulary=("a", "b", "c"), dim=3),
        Feature(name="store", kind="categorical", vocabulary=(7, 8), dim=2),
    ),
    tasks=(
        TaskSpec(name="churn"),
        TaskSpec(name="channel", kind="multiclass", classes=3),
        TaskSpec(name="spend", kind="regression"),
        TaskSpec(name="brand", kind="contrastive", classes=12, dim=4, weight=0.5),
    ),
)


def mixed(rows: int = 301, seed: int = 0) -> Study:
    """Labels that follow the columns, with noise; a third of ``spend`` not observed."""
    draw = torch.Generator().manual_seed(seed)
    numeric = torch.randn(rows, 3, generator=draw) * torch.tensor([9.0, 2.0, 0.1])
    numeric = numeric + torch.tensor([40.0, 5.0, 0.5])
    codes = [torch.randint(0, size, (rows,), generator=draw) for size in (4, 3)]
    signal = (numeric[:, 0] - 40) / 9 + codes[0]
    noise = torch.randn(rows, 4, generator=draw)
    spend = (signal + noise[:, 0] / 3).where(noise[:, 3] < 0.5, torch.nan)
    labels = {
        "churn": (signal + noise[:, 1] > 1.5).float(),
        "channel": ((numeric[:, 1] - 4 + noise[:, 2] / 2).clamp(0, 2)).round(),
        "spend": spend,
        "brand": (codes[0] * 3 + codes[1]).float(),
    }
    weights = {"churn": 0.5 + torch.rand(rows, generator=draw)}
    batch = Batch(numeric, torch.stack(codes, dim=1))
    split = random_split(rows, seed=seed)
    return Study(SCHEMA, Rows(batch, labels, weights), split)
