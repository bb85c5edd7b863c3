"""Both gate stages, and which of them a prediction passes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ple_study.experts.mlp import MLPSpec
from ple_study.gates.attention import (
    ATTENTION,
    CGCAttention,
    CGCAttentionSpec,
    prior_table,
)
from ple_study.gates.cgc import CGCLayer
from ple_study.gates.freeze import Freezable
from ple_study.gates.gate import stack_slots
from ple_study.gates.routing import GateSpec
from ple_study.names import one_of
from ple_study.schema import TaskSpec

Which = Literal["both", "stage1_only", "stage2_only", "neither"]
PRIVATE = MLPSpec(dims=(128, 64))
SCALED = GateSpec(scaled=True)
BRIDGE = 32  # numbers through which stage 1 enters beside stage 2


@dataclass(frozen=True, kw_only=True)
class StagesSpec:
    """Stage 1, a ``CGCLayer``, and stage 2, a ``CGCAttention``.

    With ``both``, a task reads the blocks as stage 2 recolours them and, beside them,
    what stage 1 mixed, through a projection that starts at zero. With ``neither``, all
    tasks read the blocks as they are.

    ``private`` counts each task's own experts; they have ``expert``'s shape, read the
    columns, and stage 1 mixes them with the shared ones. ``gate`` is stage 1's. After
    ``freeze_epoch`` epochs the gates of both stages stop learning; 0 is never.
    """

    which: Which = "both"
    private: int = 1
    expert: MLPSpec = PRIVATE
    gate: GateSpec = SCALED
    attention: CGCAttentionSpec = ATTENTION
    freeze_epoch: int = 0

    def __post_init__(self) -> None:
        one_of("which", self.which, get_args(Which))
        if self.private < 0 or self.freeze_epoch < 0:
            raise ValueError(
                "private and freeze_epoch must be 0 or more. Found "
                f"private={self.private}, freeze_epoch={self.freeze_epoch}."
            )

    def build(
        self, dim_in: int, blocks: Mapping[str, int], tasks: Sequence[TaskSpec]
    ) -> "Stages":
        """``dim_in``: width of the columns; ``blocks``: of each expert, by name."""
        return Stages(dim_in, blocks, tasks, self)


STAGES = StagesSpec()


class Heard(NamedTuple):
    """What each task has heard, the weights of each stage, and what they ask for."""

    inputs: list[Float[Tensor, "batch dim"]]
    weights: tuple[Float[Tensor, "batch task slot"], ...]
    penalty: Float[Tensor, ""]


class Stages(nn.Module):
    """From the experts' blocks to what each task reads, ``[batch, dim]`` a task."""

    def __init__(
        self,
        dim_in: int,
        blocks: Mapping[str, int],
        tasks: Sequence[TaskSpec],
        spec: StagesSpec,
    ) -> None:
        super().__init__()
        dims, counts = list(blocks.values()), [spec.private] * len(tasks)
        self.tasks = len(tasks)
        self.stage1: CGCLayer | None = None
        self.stage2: CGCAttention | None = None
        self.bridge: nn.Linear | None = None
        self.dim = sum(dims)
        if spec.which in ("both", "stage1_only"):
            self.stage1 = CGCLayer(
                dim_in, counts, 0, spec.expert, blocks=dims, gate=spec.gate
            )
            self.dim = self.stage1.dim
        if spec.which in ("both", "stage2_only"):
            prior = torch.zeros(len(tasks), len(blocks))
            if spec.attention.prior:
                prior = prior_table(tasks, list(blocks))
            self.stage2 = CGCAttention(dims, prior, spec.attention)
            self.dim = sum(dims)
        if self.stage1 and self.stage2:
            self.bridge = nn.Linear(self.stage1.dim, BRIDGE)
            nn.init.zeros_(self.bridge.weight)
            nn.init.zeros_(self.bridge.bias)
            self.dim += BRIDGE

    def forward(
        self,
        columns: Float[Tensor, "batch numeric"],
        blocks: Sequence[Float[Tensor, "batch _"]],
        present: Bool[Tensor, "batch expert"] | None = None,
        read: Sequence[Float[Tensor, "batch _"]] | None = None,
    ) -> Heard:
        """``read`` is what the gates decide by, if not the blocks that they weigh."""
        weights, penalties = [], []
        if not (self.stage1 or self.stage2):
            inputs = [torch.cat(list(blocks), dim=1)] * self.tasks
        if self.stage1:
            mixture, _ = self.stage1(columns, blocks, read)
            inputs = mixture.mixed
            weights.append(stack_slots(mixture.weights))
            penalties.append(mixture.penalty)
        if self.stage2:
            mixture = self.stage2(blocks, present, read)
            weights.append(stack_slots(mixture.weights))
            penalties.append(mixture.penalty)
            parts = [mixture.mixed]
            if self.bridge:
                wide = self.bridge(torch.stack(inputs))
                parts.append(list(wide.unbind()))
            inputs = [torch.cat(own, dim=1) for own in zip(*parts, strict=True)]
        penalty = torch.stack(penalties).sum() if penalties else inputs[0].new_zeros(())
        return Heard(inputs, tuple(weights), penalty)

    def freeze(self) -> None:
        """Both stages' gates stop learning."""
        for module in self.modules():
            if isinstance(module, Freezable):
                module.freeze()
