"""Customised gate control: who is heard, task by task (Tang et al., RecSys 2020)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ple_study.experts.mlp import Lanes, MLPSpec, ParallelMLP, side_by_side


class Mixture(NamedTuple):
    """What a gate answers: the mixed experts and the weights that mixed them.

    mixed: one ``[batch, dim]`` a listener. weights: one ``[batch, slot]`` a listener;
    a slot is an expert as that listener sees it.
    """

    mixed: list[Float[Tensor, "batch dim"]]
    weights: list[Float[Tensor, "batch slot"]]


def mix(
    weights: Lanes,
    experts: Tensor | Lanes,
    listener: Int[Tensor, " slot"],
    place: Int[Tensor, " slot"],
) -> list[Float[Tensor, "batch dim"]]:
    """mixed[k] = sum_i weights[k][:, i] * expert of slot i, for every listener k.

    Experts are a list, or one ``[batch, expert, dim]``. Slots are numbered through:
    ``listener`` and ``place`` say whose each is and which expert it names. One product
    for all; whom a listener may not hear weighs zero, so an expert that is not finite
    spoils every listener, and all are NaN.
    """
    if not isinstance(experts, Tensor):
        experts = torch.stack(list(experts), dim=1)
    (batch, count, _), listeners = experts.shape, len(weights)
    closed = experts.new_zeros(batch, listeners * count)
    slots = torch.cat(list(weights), dim=1).to(experts.dtype)
    matrix = closed.index_copy(1, listener * count + place, slots)
    return list(torch.bmm(matrix.view(batch, listeners, count), experts).unbind(1))


class Gate(nn.Module):
    """Softmax gates of several listeners, each over the experts that it may hear.

    ``slots[k]`` names the experts of listener k by their place; the lists may differ in
    length. All gates are one product where the listeners read the same input.
    """

    def __init__(
        self,
        dim_in: int,
        slots: Sequence[Sequence[int]],
        *,
        bias: bool = False,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.slots = [list(places) for places in slots]
        self.counts = [len(places) for places in slots]
        if not all(self.counts):
            raise ValueError(
                f"Each listener needs at least one expert. Found counts {self.counts}."
            )
        self.linear = nn.Linear(dim_in, sum(self.counts), bias=bias)
        self.norm = nn.BatchNorm1d(sum(self.counts)) if norm else None
        whose = torch.arange(len(slots)).repeat_interleave(torch.tensor(self.counts))
        which = torch.tensor([place for places in self.slots for place in places])
        self.register_buffer("listener", whose, persistent=False)
        self.register_buffer("place", which, persistent=False)

    def scores(self, inputs: Tensor | Lanes) -> list[Float[Tensor, "slot batch"]]:
        """The logits of every listener's softmax, one row a slot."""
        weight, bias = self.linear.weight, self.linear.bias
        if isinstance(inputs, Tensor):
            rows = weight @ inputs.T
        else:
            parts = torch.split(weight, self.counts)
            rows = torch.cat([w @ x.T for w, x in zip(parts, inputs, strict=True)])
        rows = rows if bias is None else rows + bias[:, None]
        rows = rows if self.norm is None else self.norm(rows.T).T
        return list(torch.split(rows, self.counts))

    def forward(self, inputs: Tensor | Lanes, experts: Tensor | Lanes) -> Mixture:
        # Few slots and many rows: a softmax down the columns keeps a CPU's lanes full.
        weights = [scores.softmax(dim=0).T for scores in self.scores(inputs)]
        slots = self.get_buffer("listener"), self.get_buffer("place")
        return Mixture(mix(weights, experts, *slots), weights)


class CGCLayer(nn.Module):
    """One extraction level: private and shared experts, and a gate a task.

    Task k hears its own experts, then the shared ones. Unless it is the ``last``, the
    level also answers a shared state: a gate over all experts (Tang et al., equations
    1 to 6). Inputs: one ``[batch, dim]`` for all, or a list with one a task and, at its
    end, the shared state.
    """

    def __init__(
        self,
        dim_in: int,
        private: Sequence[int],
        shared: int,
        expert: MLPSpec,
        *,
        last: bool = True,
        gate_bias: bool = False,
        gate_norm: bool = False,
    ) -> None:
        super().__init__()
        self.owners = [task for task, count in enumerate(private) for _ in range(count)]
        self.private = ParallelMLP(len(self.owners), dim_in, expert)
        self.shared = ParallelMLP(shared, dim_in, expert)
        everyone = [*self.owners, *[None] * shared]
        slots = [
            [place for place, owner in enumerate(everyone) if owner in (task, None)]
            for task in range(len(private))
        ]
        if shared and not last:
            slots.append(list(range(len(everyone))))
        self.gate = Gate(dim_in, slots, bias=gate_bias, norm=gate_norm)

    @property
    def dim(self) -> int:
        return self.shared.dim

    def forward(self, inputs: Tensor | Lanes) -> tuple[Mixture, list[Tensor]]:
        """The mixture (tasks, then the shared state) and the experts' outputs."""
        own: Tensor | Lanes = inputs
        all_read = heard = inputs
        if not isinstance(inputs, Tensor):
            own = [inputs[owner] for owner in self.owners]
            all_read, heard = inputs[-1], inputs[: len(self.gate.counts)]
        experts, table = side_by_side((self.private, own), (self.shared, all_read))
        return self.gate(heard, table), experts
