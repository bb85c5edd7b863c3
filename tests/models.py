"""Small baselines, ready to answer, and customers for them."""

import torch
from torch import Tensor

from ple_study.batch import Batch, Model, ModelSpec
from ple_study.experts.mlp import MLPSpec
from ple_study.schema import Feature, Schema, TaskSpec
from tests.sizes import BATCH, DIMS, TASKS
from tests.studies import SCHEMA

HIDDEN = MLPSpec(dims=DIMS[1:], activation="silu")
TOWER = MLPSpec(dims=DIMS[:1], activation="silu", norm="layer", dropout=0.2)
BINARY = Schema(
    features=tuple(Feature(name=f"x{i}") for i in range(DIMS[0])),
    tasks=tuple(TaskSpec(name=f"t{i}") for i in range(TASKS)),
)


def built(spec: ModelSpec, schema: Schema = SCHEMA, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return spec.build(schema).eval()


def customers(schema: Schema = SCHEMA, rows: int = BATCH) -> Batch:
    draw = torch.Generator().manual_seed(1)
    sizes = [feature.size for feature in schema.categorical]
    codes = [torch.randint(size, (rows,), generator=draw) for size in sizes]
    numeric = torch.randn(rows, len(schema.numeric), generator=draw)
    none = torch.zeros(rows, 0, dtype=torch.long)
    return Batch(numeric, torch.stack(codes, 1) if codes else none)


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)
