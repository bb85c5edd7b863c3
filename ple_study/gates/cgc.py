"""Customised gate control: who is heard, task by task (Tang et al., RecSys 2020)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ple_study.experts.mlp import (
    Lanes,
    MLPSpec,
    ParallelMLP,
    at_once,
    run_together,
    side_by_side,
)
from ple_study.gates.gate import Gate, Mixture
from ple_study.gates.routing import SOFTMAX, GateSpec


class CGCLayer(nn.Module):
    """One extraction level: private and shared experts, and a gate a task.

    Task k hears its own experts, then the shared ones. Unless it is the ``last``, the
    level also answers a shared state: a gate over all experts (Tang et al., equations
    1 to 6). Inputs: one ``[batch, dim]`` for all, or a list with one a task and, at its
    end, the shared state.

    ``blocks`` are the widths of further shared experts, of any kind, that are made
    elsewhere and handed to ``forward``. A width other than that of the layer's own
    experts is mapped to it, since a sum needs equal widths; and the gates then read the
    blocks side by side, since no one input fits them all.
    """

    def __init__(
        self,
        dim_in: int,
        private: Sequence[int],
        shared: int,
        expert: MLPSpec,
        *,
        blocks: Sequence[int] = (),
        last: bool = True,
        gate: GateSpec = SOFTMAX,
    ) -> None:
        super().__init__()
        self.owners = [task for task, count in enumerate(private) for _ in range(count)]
        self.private = ParallelMLP(len(self.owners), dim_in, expert)
        self.shared = ParallelMLP(shared, dim_in, expert)
        self.adapters = nn.ModuleList(
            nn.Identity() if width == self.dim else nn.Linear(width, self.dim)
            for width in blocks
        )
        everyone = [*self.owners, *[None] * (shared + len(blocks))]
        slots = [
            [place for place, owner in enumerate(everyone) if owner in (task, None)]
            for task in range(len(private))
        ]
        if len(everyone) > len(self.owners) and not last:
            slots.append(list(range(len(everyone))))
        self.gate = Gate(sum(blocks) or dim_in, slots, gate)

    @property
    def dim(self) -> int:
        return self.shared.dim

    def forward(
        self, inputs: Tensor | Lanes, blocks: Lanes = (), read: Lanes | None = None
    ) -> tuple[Mixture, list[Float[Tensor, "batch dim"]]]:
        """The mixture (tasks, then the shared state) and the experts' outputs.

        ``read`` is what the gates decide by, if not the blocks that they weigh.
        """
        if isinstance(inputs, Tensor) and self._one_product(inputs):
            experts, (mapped,) = at_once(inputs, self._made(), self.gate.map())
            return self.gate.after(mapped, torch.stack(experts, dim=1)), experts
        own: Tensor | Lanes = inputs
        all_read = heard = inputs
        if not isinstance(inputs, Tensor):
            own = [inputs[owner] for owner in self.owners]
            all_read, heard = inputs[-1], inputs[: len(self.gate.counts)]
        experts, tables = [], []
        if self.private.lanes or self.shared.lanes:
            made = side_by_side((self.private, own), (self.shared, all_read))
            experts, tables = made[0], [made[1]]
        if self.adapters:
            pairs = zip(self.adapters, blocks, strict=True)
            others = [adapter(block) for adapter, block in pairs]
            experts = [*experts, *others]
            heard = torch.cat(list(blocks if read is None else read), dim=1)
            tables.append(torch.stack(others, dim=1))
        table = torch.cat(tables, dim=1) if self.adapters else tables[0]
        return self.gate(heard, table), experts

    def _made(self) -> list[ParallelMLP]:
        return [mlp for mlp in (self.private, self.shared) if mlp.lanes]

    def _one_product(self, inputs: Tensor) -> bool:
        """Whether experts and gates are fastest with one first product for all."""
        made = [] if self.adapters else self._made()
        first = [mlp.layers[0].get_parameter("weight") for mlp in made if mlp.spec.dims]
        together = [run_together(weight, inputs) for weight in first]
        return len(made) == len(together) > 0 and all(together)
