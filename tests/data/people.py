"""A small table of one's own, a column of each kind, and its schema."""

import numpy as np
import pandas as pd

from ple_study.schema import Feature, Schema, TaskSpec

SIZE = 50
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
