"""Customised gate control: who is heard, task by task (Tang et al., RecSys 2020)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ple_study.experts.mlp import Lanes, MLPSpec, ParallelMLP


class Mixture(NamedTuple):
    """What a gate answers: the mixed experts and the weights that mixed them.

    mixed: one ``[batch, dim]`` a listener. weights: one ``[batch, slot]`` a listener;
    a slot is an expert as that listener sees it.
    """

    mixed: list[Float[Tensor, "batch dim"]]
    weights: list[Float[Tensor, "batch slot"]]


def mix(
    weights: Float[Tensor, "batch slot"], experts: Lanes
) -> Float[Tensor, "batch dim"]:
    """sum_i weights[:, i] * experts[i]"""
    mixed = weights[:, :1] * experts[0]
    for slot, expert in enumerate(experts[1:], start=1):
        mixed = mixed.addcmul_(weights[:, slot, None], expert)
    return mixed


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

    def scores(self, inputs: Tensor | Lanes) -> list[Float[Tensor, "batch slot"]]:
        """The logits of every listener's softmax."""
        if isinstance(inputs, Tensor):
            wide = self.linear(inputs)
        else:
            weights = torch.split(self.linear.weight, self.counts)
            wide = torch.cat(list(map(F.linear, inputs, weights)), dim=1)
            wide = wide if self.linear.bias is None else wide + self.linear.bias
        wide = wide if self.norm is None else self.norm(wide)
        return list(wide.split(self.counts, dim=1))

    def forward(self, inputs: Tensor | Lanes, experts: Lanes) -> Mixture:
        weights = [score.softmax(dim=1) for score in self.scores(inputs)]
        heard = [[experts[place] for place in places] for places in self.slots]
        return Mixture(list(map(mix, weights, heard)), weights)


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
        if isinstance(inputs, Tensor):
            experts = self.private(inputs) + self.shared(inputs)
            return self.gate(inputs, experts), experts
        own = self.private([inputs[owner] for owner in self.owners])
        experts = own + self.shared(inputs[-1])
        return self.gate(inputs[: len(self.gate.counts)], experts), experts
