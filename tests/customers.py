"""A few customers with every input that an expert may read, and some without."""

import torch

from ple_study.batch import Batch, Diagrams, Events
from ple_study.schema import Feature, Schema, Sequence, TaskSpec, Vector
from tests.sizes import BATCH

STEPS, POINTS = 9, 11
SCHEMA = Schema(
    features=(
        *(Feature(name=f"rfm_{i}", group="rfm") for i in range(3)),
        *(Feature(name=f"day_{i}", kind="probability", group="day") for i in range(4)),
        *(Feature(name=f"card_{i}", group="card") for i in range(2)),
        Feature(name="city", kind="categorical", vocabulary=("a", "b"), group="where"),
    ),
    tasks=(TaskSpec(name="churn"),),
    sequences=(
        Sequence(name="txn", steps=STEPS, channels=("count", "amount", "gap")),
        Sequence(name="session", steps=6, channels=("count", "gap")),
    ),
    diagrams=("short", "long"),
    states=(3, 16),
    clusters=5,
    vectors=(Vector(name="graph", dim=7), Vector(name="hierarchy", dim=6)),
)


def customers(size: int = BATCH, seed: int = 0) -> Batch:
    """Customer 1 has no series, diagram or vector; customer 2 has short series.

    The columns of the group ``day`` are a histogram.
    """
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(size, *shape, generator=draw)

    short = torch.arange(size) == 2
    none = torch.arange(size) == 1
    events = {
        s.name: Events(normal(s.steps, len(s.channels)), _late(s.steps, none, short))
        for s in SCHEMA.sequences
    }
    numeric = normal(9)
    numeric[:, 3:7] = numeric[:, 3:7].softmax(1)
    return Batch(
        numeric=numeric,
        categorical=torch.randint(0, 3, (size, 1), generator=draw),
        events={
            k: Events(v.values * v.mask[..., None], v.mask) for k, v in events.items()
        },
        diagrams={name: _diagrams(size, none, draw) for name in SCHEMA.diagrams},
        states=normal(3, 16),
        clusters=normal(5).softmax(1),
        vectors={
            v.name: torch.where(none[:, None], torch.nan, normal(v.dim))
            for v in SCHEMA.vectors
        },
        customer=torch.arange(size),
    )


def _late(steps: int, none: torch.Tensor, short: torch.Tensor) -> torch.Tensor:
    """Real steps stand at the end."""
    place = torch.arange(steps).expand(len(none), -1)
    first = torch.where(short, steps - 2, 0) + steps * none
    return place >= first[:, None]


def _diagrams(size: int, none: torch.Tensor, draw: torch.Generator) -> Diagrams:
    birth, life = torch.rand(2, size, POINTS, generator=draw)
    kind = torch.arange(POINTS).expand(size, -1) % 3
    mask = (torch.rand(size, POINTS, generator=draw) < 0.8) & ~none[:, None]
    points = torch.stack([birth * (kind > 0), birth * (kind > 0) + life, kind], 2)
    return Diagrams(points * mask[..., None], mask)
