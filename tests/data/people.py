"""A small table of one's own, a column of each kind, and its schema."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ple_study.schema import Feature, Schema, TaskSpec

SIZE = 50
OPTIONS: dict[str, Any] = {"weights": {"spend": "weight"}, "customer": "id"}
SCHEMA = Schema(
    features=(
        Feature(name="visits"),
        Feature(name="city", kind="categorical", vocabulary=("Bonn", "Oslo")),
        Feature(name="income"),
        Feature(name="member", kind="categorical", vocabulary=(False, True)),
    ),
    tasks=(
        TaskSpec(name="bought"),
        TaskSpec(name="stage", kind="multiclass", classes=4),
        TaskSpec(name="spend", kind="regression"),
    ),
)


def people() -> pd.DataFrame:
    """A table of each kind of column: 2 numeric, 2 categorical, 3 tasks, id and day."""
    rng = np.random.default_rng(0)
    return pd.DataFrame({
        "income": rng.normal(size=SIZE),
        "visits": rng.integers(0, 9, SIZE),
        "city": rng.choice(["Oslo", "Rome", "Bonn"], SIZE),
        "member": rng.random(SIZE) < 0.5,
        "bought": rng.integers(0, 2, SIZE).astype(float),
        "stage": rng.permutation(SIZE) % 4,
        "spend": rng.normal(size=SIZE),
        "weight": rng.random(SIZE) + 0.5,
        "id": rng.permutation(SIZE) + 2**60,
        "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(SIZE), unit="D"),
    })  # fmt: skip


def write(folder: Path, *frames: pd.DataFrame, group: int = 7) -> Path:
    """A folder of Parquet files, one a frame."""
    folder.mkdir(exist_ok=True)
    for number, frame in enumerate(frames):
        frame.to_parquet(folder / f"part-{number}.parquet", row_group_size=group)
    return folder
