"""A study with every input that a schema may promise, small enough to read."""

import torch

from ple_study.batch import Batch, Diagrams, Events, Rows
from ple_study.data.loader import Study
from ple_study.schema import Feature, Schema, Sequence, TaskSpec, Vector

SIZE = 23
SCHEMA = Schema(
    features=(
        Feature(name="income"),
        Feature(name="share", kind="probability"),
        Feature(name="constant"),
        Feature(name="city", kind="categorical", vocabulary=("a", "b", "c")),
    ),
    tasks=(
        TaskSpec(name="churn"),
        TaskSpec(name="stage", kind="multiclass", classes=4),
        TaskSpec(name="spend", kind="regression"),
    ),
    sequences=(Sequence(name="days", steps=6, channels=("visits", "spend")),),
    diagrams=("app",),
    states=(3, 16),
    clusters=5,
    vectors=(Vector(name="graph", dim=4),),
)


def rows_of() -> Rows:
    draw = torch.Generator().manual_seed(0)
    numeric = torch.rand(SIZE, 3, generator=draw) * torch.tensor([900.0, 1.0, 0.0])
    batch = Batch(
        numeric=numeric + torch.tensor([50.0, 0.0, 0.1]),
        categorical=torch.arange(SIZE)[:, None] % 4,
        events={"days": Events(torch.rand(SIZE, 6, 2), torch.ones(SIZE, 6) > 0)},
        diagrams={"app": Diagrams(torch.rand(SIZE, 7, 3), torch.ones(SIZE, 7) > 0)},
        states=torch.rand(SIZE, 3, 16),
        clusters=torch.rand(SIZE, 5).softmax(1),
        vectors={"graph": torch.rand(SIZE, 4)},
        customer=torch.arange(SIZE),
    )
    labels = {
        "churn": (torch.arange(SIZE) % 2).float(),
        "stage": (torch.arange(SIZE) % 4).float(),
        "spend": torch.rand(SIZE, generator=draw),
    }
    return Rows(batch, labels, {"spend": torch.ones(SIZE)})


def study_of(rows: Rows | None = None, **split: list[int]) -> Study:
    parts = {"train": range(11), "val": range(11, 16), "test": range(16, SIZE), **split}
    index = {name: torch.tensor(list(part)) for name, part in parts.items()}
    return Study(SCHEMA, rows or rows_of(), index)
