"""Customised gate control: who is heard, task by task (Tang et al., RecSys 2020)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

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
    if weights.is_cuda:
        return torch.einsum("bs,sbd->bd", weights, torch.stack(list(experts)))
    mixed = weights[:, :1] * experts[0]
    for slot, expert in enumerate(experts[1:], start=1):
        mixed = mixed.addcmul_(weights[:, slot, None], expert)
    return mixed


class MixEach(torch.autograd.Function):
    """``mix`` for several listeners; ``slots[k]`` are the places that listener k hears.

    An expert that many hear has its gradient summed in one place, where autograd would
    write down each listener's share. The backward can be differentiated in turn.
    """

    @staticmethod
    def forward(
        ctx: Any, slots: list[list[int]], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.slots = slots
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        weights, experts = tensors[: len(slots)], tensors[len(slots) :]
        heard = [[experts[place] for place in places] for places in slots]
        return tuple(map(mix, weights, heard))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        weights, experts = tensors[: len(grads)], tensors[len(grads) :]
        to_weights: list[Tensor | None] = [None] * len(weights)
        to_experts: list[Tensor | None] = [None] * len(experts)
        for listener, grad in enumerate(grads):
            if grad is None:
                continue
            # d/dw_ki = <g_k, e_i>; d/de_i = sum_k w_ki g_k
            rows = []
            for slot, place in enumerate(ctx.slots[listener]):
                weight, so_far = weights[listener][:, slot, None], to_experts[place]
                rows.append((grad * experts[place]).sum(1))
                to_experts[place] = (
                    weight * grad if so_far is None else so_far.addcmul_(weight, grad)
                )
            to_weights[listener] = torch.stack(rows).T
        return None, *to_weights, *to_experts


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

    def forward(self, inputs: Tensor | Lanes, experts: Lanes) -> Mixture:
        # Few slots and many rows: a softmax down the columns keeps a CPU's lanes full.
        weights = [scores.softmax(dim=0).T for scores in self.scores(inputs)]
        plain = torch.compiler.is_compiling() or not torch.is_grad_enabled()
        if plain or weights[0].is_cuda:
            heard = [[experts[place] for place in places] for places in self.slots]
            return Mixture(list(map(mix, weights, heard)), weights)
        mixed = MixEach.apply(self.slots, *weights, *experts)  # type: ignore[no-untyped-call]
        return Mixture(list(mixed), weights)


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
