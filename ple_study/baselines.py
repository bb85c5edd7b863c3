"""The models that a heterogeneous PLE must beat, under the same contract."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ple_study.batch import Batch, Model, ModelSpec, Output
from ple_study.experts.mlp import MLPSpec, ParallelMLP
from ple_study.experts.tabular import Tabular
from ple_study.gates.cgc import CGCLayer
from ple_study.gates.gate import stack_slots
from ple_study.gates.routing import SOFTMAX, GateSpec
from ple_study.schema import Schema
from ple_study.tasks.towers import TOWER, Towers

TRUNK = MLPSpec(dims=(256, 128, 64), activation="silu", norm="layer", dropout=0.1)
EXPERT = MLPSpec(dims=(128, 64))


@dataclass(frozen=True, kw_only=True)
class SharedBottomSpec(ModelSpec):
    """One trunk for all tasks, one tower each (Caruana 1997)."""

    trunk: MLPSpec = TRUNK
    tower: MLPSpec = TOWER

    def build(self, schema: Schema) -> "SharedBottom":
        return SharedBottom(schema, self)


class SharedBottom(Model):
    """h = trunk(x); y_k = tower_k(h)"""

    def __init__(self, schema: Schema, spec: SharedBottomSpec) -> None:
        super().__init__()
        self.tabular = Tabular.build(schema)
        self.trunk = ParallelMLP(1, self.tabular.dim, spec.trunk)
        self.towers = Towers(schema.tasks, self.trunk.dim, spec.tower)

    def forward(self, batch: Batch) -> Output:
        (trunk,) = self.trunk(self.tabular(batch))
        return Output(self.towers([trunk] * len(self.towers.names)), (), (trunk,))

    def shared_parameters(self) -> list[nn.Parameter]:
        return list(self.trunk.parameters())


@dataclass(frozen=True, kw_only=True)
class SingleTaskSpec(ModelSpec):
    """A model of its own for every task: what joint training must be compared with."""

    trunk: MLPSpec = TRUNK
    tower: MLPSpec = TOWER

    def build(self, schema: Schema) -> "SingleTask":
        return SingleTask(schema, self)


class SingleTask(Model):
    """One SharedBottom a task, with nothing shared, not even an embedding."""

    def __init__(self, schema: Schema, spec: SingleTaskSpec) -> None:
        super().__init__()
        alone = SharedBottomSpec(trunk=spec.trunk, tower=spec.tower)
        each = [replace(schema, tasks=(t,), transfers=()) for t in schema.tasks]
        self.models = nn.ModuleList(map(alone.build, each))
        self.names = schema.task_names

    def forward(self, batch: Batch) -> Output:
        outputs = [model(batch) for model in self.models]
        logits = {k: v for output in outputs for k, v in output.logits.items()}
        return Output(logits, (), tuple(e for o in outputs for e in o.experts))

    def parts(self) -> dict[str, str]:
        return {name: f"models.{i}." for i, name in enumerate(self.names)}


@dataclass(frozen=True, kw_only=True)
class MMoESpec(ModelSpec):
    """Multi-gate mixture of experts (Ma et al., KDD 2018)."""

    experts: int = 7
    expert: MLPSpec = EXPERT
    tower: MLPSpec = TOWER
    gate: GateSpec = SOFTMAX

    def build(self, schema: Schema) -> "PLE":
        return PLESpec(
            levels=1,
            shared=self.experts,
            private=0,
            expert=self.expert,
            tower=self.tower,
            gate=self.gate,
        ).build(schema)


@dataclass(frozen=True, kw_only=True)
class PLESpec(ModelSpec):
    """Progressive layered extraction (Tang et al., RecSys 2020).

    ``private`` counts the experts of each task: one number for all, or one a task.
    """

    levels: int = 2
    shared: int = 2
    private: int | tuple[int, ...] = 1
    expert: MLPSpec = EXPERT
    tower: MLPSpec = TOWER
    gate: GateSpec = SOFTMAX

    def __post_init__(self) -> None:
        if not isinstance(self.private, int):
            object.__setattr__(self, "private", tuple(self.private))
        counts = [self.private] if isinstance(self.private, int) else self.private
        if self.levels < 1 or self.shared < 0 or min(counts, default=-1) < 0:
            raise ValueError(
                f"PLE needs levels >= 1 and no negative number of experts. Found "
                f"levels={self.levels}, shared={self.shared}, private={self.private}."
            )

    def counts(self, schema: Schema) -> tuple[int, ...]:
        """The number of private experts of each task of this schema.

        Raises ValueError when there is not one count a task, or when a task would hear
        no expert at all.
        """
        names = schema.task_names
        counts = self.private
        if isinstance(counts, int):
            counts = (counts,) * len(names)
        if len(counts) != len(names):
            raise ValueError(
                f"private must be one number, or one a task. Found {len(counts)} "
                f"counts {counts} for {len(names)} tasks {list(names)}."
            )
        if not self.shared and not all(counts):
            deaf = [n for n, count in zip(names, counts, strict=True) if not count]
            raise ValueError(
                f"Without shared experts every task needs a private one. Found none "
                f"for {deaf}."
            )
        return tuple(counts)

    def build(self, schema: Schema) -> "PLE":
        return PLE(schema, self)


class PLE(Model):
    """Extraction levels, each refining one state a task and one shared, then towers."""

    def __init__(self, schema: Schema, spec: PLESpec) -> None:
        super().__init__()
        counts = spec.counts(schema)
        self.num_tasks = len(counts)
        self.tabular = Tabular.build(schema)
        dim, self.levels = self.tabular.dim, nn.ModuleList()
        for level in range(spec.levels):
            layer = CGCLayer(
                dim,
                counts,
                spec.shared,
                spec.expert,
                last=level == spec.levels - 1,
                gate=spec.gate,
            )
            self.levels.append(layer)
            dim = layer.dim
        self.towers = Towers(schema.tasks, dim, spec.tower)

    def forward(self, batch: Batch) -> Output:
        state: Tensor | list[Tensor] = self.tabular(batch)
        weights, penalties = [], []
        for level in self.levels:
            (state, gates, penalty), experts = level(state)
            weights.append(stack_slots(gates[: self.num_tasks]))
            penalties.append(penalty)
        return Output(
            self.towers(state[: self.num_tasks]),
            tuple(weights),
            tuple(experts),
            torch.stack(penalties).sum(),
        )

    def shared_parameters(self) -> list[nn.Parameter]:
        """The shared experts of every level; the rest of a level serves one task."""
        shared = [level.get_submodule("shared") for level in self.levels]
        return [p for experts in shared for p in experts.parameters()]
