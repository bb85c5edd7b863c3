"""The models that everyone is asked to run, and the rows that everyone is given."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ple_study.baselines import PLESpec
from ple_study.batch import Batch, Rows
from ple_study.experts.mlp import MLPSpec, Norm
from ple_study.gates.routing import GateSpec
from ple_study.schema import Feature, Schema, TaskSpec


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A PLE of a certain size on a table of a certain size; all tasks are binary."""

    name: str
    sparse: int
    dense: int
    tasks: int
    levels: int
    private: int
    shared: int
    expert: tuple[int, ...]
    tower: tuple[int, ...]
    vocabulary: int = 10_000
    dim: int = 16

    @property
    def width(self) -> int:
        """Columns of the embedded table."""
        return self.sparse * self.dim + self.dense

    @cached_property
    def schema(self) -> Schema:
        """Categorical columns c0.., numeric n0.., tasks t0..; no code is unknown."""
        known = tuple(range(self.vocabulary - 1))
        columns = [
            Feature(name=f"c{i}", kind="categorical", vocabulary=known, dim=self.dim)
            for i in range(self.sparse)
        ]
        columns += [Feature(name=f"n{i}") for i in range(self.dense)]
        tasks = tuple(TaskSpec(name=f"t{i}") for i in range(self.tasks))
        return Schema(features=tuple(columns), tasks=tasks)

    def spec(self, norm: Norm = "none") -> PLESpec:
        """Our model; with ``norm="batch"`` before every activation and every gate."""
        return PLESpec(
            levels=self.levels,
            private=self.private,
            shared=self.shared,
            expert=MLPSpec(dims=self.expert, norm=norm),
            tower=MLPSpec(dims=self.tower, norm=norm),
            gate=GateSpec(bias=norm == "batch", norm=norm == "batch"),
        )

    def labels(self, rows: Rows) -> Tensor:
        """The labels of all tasks as one matrix."""
        return torch.stack([rows.labels[f"t{i}"] for i in range(self.tasks)], dim=1)

    def rows(self, size: int, seed: int = 0) -> Rows:
        """Random customers; the labels lean on the numbers, so that AUC is defined."""
        draw = torch.Generator().manual_seed(seed)
        numeric = torch.randn(size, self.dense, generator=draw)
        codes = torch.randint(
            self.vocabulary, (size, self.sparse), generator=draw, dtype=torch.int64
        )
        noise = torch.randn(size, self.tasks, generator=draw)
        labels = (numeric[:, :1] + noise > 0.5).float()
        names = (f"t{i}" for i in range(self.tasks))
        return Rows(
            Batch(numeric, codes), dict(zip(names, labels.unbind(1), strict=True))
        )


SMALL = Shape(
    name="small",
    sparse=30,
    dense=8,
    tasks=2,
    levels=1,
    private=2,
    shared=1,
    expert=(16,),
    tower=(8,),
)
PAPER = Shape(
    name="paper",
    sparse=30,
    dense=8,
    tasks=2,
    levels=2,
    private=3,
    shared=3,
    expert=(256, 128),
    tower=(64,),
)
WIDE = Shape(
    name="wide",
    sparse=0,
    dense=644,
    tasks=13,
    levels=2,
    private=2,
    shared=4,
    expert=(128, 64),
    tower=(32,),
)
SHAPES = (SMALL, PAPER, WIDE)
