"""Gates of several listeners over one set of experts."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ple_study.experts.mlp import Lanes
from ple_study.gates.freeze import Freezable
from ple_study.gates.routing import SOFTMAX, GateSpec

Slots = Sequence[Float[Tensor, "slot batch"]]


class Mixture(NamedTuple):
    """What a gate answers: what each listener hears, and the weights that decided it.

    mixed: one ``[batch, dim]`` a listener. weights: one ``[batch, slot]`` a listener;
    a slot is an expert as that listener sees it. penalty: what the gate asks the loss
    to add while it trains.
    """

    mixed: list[Float[Tensor, "batch dim"]]
    weights: list[Float[Tensor, "batch slot"]]
    penalty: Float[Tensor, ""]


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


class Gate(Freezable):
    """Gates of several listeners, each over the experts that it may hear.

    ``slots[k]`` names the experts of listener k by their place; the lists may differ in
    length. All gates are one product where the listeners read the same input.
    """

    def __init__(
        self,
        dim_in: int,
        slots: Sequence[Sequence[int]],
        spec: GateSpec = SOFTMAX,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.slots = [list(places) for places in slots]
        self.counts = [len(places) for places in slots]
        if not all(self.counts):
            raise ValueError(
                f"Each listener needs at least one expert. Found counts {self.counts}."
            )
        self.linear = nn.Linear(dim_in, sum(self.counts), bias=spec.bias)
        self.norm = nn.BatchNorm1d(sum(self.counts)) if spec.norm else None
        whose = torch.arange(len(slots)).repeat_interleave(torch.tensor(self.counts))
        which = torch.tensor([place for places in self.slots for place in places])
        self.register_buffer("listener", whose, persistent=False)
        self.register_buffer("place", which, persistent=False)

    def map(self) -> tuple[Float[Tensor, "slot dim_in"], Float[Tensor, " slot"]]:
        """Weight and bias of the linear map before the norm."""
        weight, bias = self.linear.weight, self.linear.bias
        if self.spec.scaled:
            weight = weight.shape[1] ** -0.5 * weight
        return weight, weight.new_zeros(len(weight)) if bias is None else bias

    def scores(self, inputs: Tensor | Lanes) -> Float[Tensor, "slot batch"]:
        """The logits of all listeners' slots, numbered through."""
        weight, bias = self.map()
        if isinstance(inputs, Tensor):
            rows = weight @ inputs.T
        else:
            # Not w @ x.T, whose gradient for an x cut from a table lies in columns.
            parts = zip(inputs, torch.split(weight, self.counts), strict=True)
            rows = torch.cat([(x @ w.T).T for x, w in parts])
        rows = rows if self.linear.bias is None else rows + bias[:, None]
        return self._normalised(rows)

    def forward(self, inputs: Tensor | Lanes, experts: Tensor | Lanes) -> Mixture:
        return self._answer(self.scores(inputs), experts)

    def after(self, mapped: Float[Tensor, "batch slot"], experts: Tensor) -> Mixture:
        """The same, of what ``map`` makes of the input."""
        return self._answer(self._normalised(mapped.T), experts)

    def _answer(self, rows: Tensor, experts: Tensor | Lanes) -> Mixture:
        scores = self._by_listener(rows)
        weights = [w.T for part in scores for w in self.spec.weights(part).unbind()]
        slots = self.get_buffer("listener"), self.get_buffer("place")
        mixed = mix(weights, experts, *slots)
        return Mixture(mixed, weights, self._penalty(scores))

    def _normalised(
        self, rows: Float[Tensor, "slot batch"]
    ) -> Float[Tensor, "slot batch"]:
        return rows if self.norm is None else self.norm(rows.T).T

    def _by_listener(
        self, rows: Float[Tensor, "_ batch"]
    ) -> list[Float[Tensor, "_ _ batch"]]:
        """All listeners at once where they hear equally many, else one by one."""
        if len(set(self.counts)) == 1:
            return [rows.view(len(self.counts), self.counts[0], -1)]
        return [part[None] for part in torch.split(rows, self.counts)]

    def _penalty(self, scores: list[Tensor]) -> Float[Tensor, ""]:
        if not (self.training and self.learns and self.spec.asks):
            return scores[0].new_zeros(())
        parts = [self.spec.penalty(part) * len(part) for part in scores]
        return torch.stack(parts).sum() / len(self.counts)


def stack_slots(
    weights: Sequence[Float[Tensor, "batch _"]],
) -> Float[Tensor, "batch task slot"]:
    """The tasks' gate weights as one tensor; where a task has fewer slots, zeros."""
    slots = max(w.shape[1] for w in weights)
    return torch.stack([F.pad(w, (0, slots - w.shape[1])) for w in weights], dim=1)
