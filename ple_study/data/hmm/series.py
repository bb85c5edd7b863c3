"""Customers' series made ready for a hidden Markov model, or refused."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ple_study.batch import Events


class Steps(NamedTuple):
    """Series with time first, in float64, zero where nothing was observed.

    observed: an observation is there. begun: the first one has come. ended: the last
    one has passed. Between the two a step may be missing.
    """

    values: Float[Tensor, "time batch channel"]
    observed: Bool[Tensor, "time batch"]
    begun: Bool[Tensor, "time batch"]
    ended: Bool[Tensor, "time batch"]

    @classmethod
    def of(cls, events: Events) -> "Steps":
        mask = events.mask.T.contiguous()
        values = events.values.double().transpose(0, 1)
        left = mask.flip(0).cumsum(0).flip(0)  # observations from this step on
        return cls(
            values.masked_fill(~mask[..., None], 0.0).contiguous(),
            mask,
            mask.cumsum(0) > 0,
            left == 0,
        )


def present(events: Events) -> Bool[Tensor, " batch"]:
    """The customers with at least one observed step."""
    return events.mask.any(1)


def in_parts(events: Events, size: int) -> list[Events]:
    """Customers in parts of at most ``size``, the longest first, padding cut off."""
    order = events.mask.int().argmax(1).argsort(stable=True)
    parts = [events.rows(rows) for rows in torch.split(order, size)]
    firsts = [int(p.mask.int().argmax(1).min()) for p in parts]
    return [
        Events(p.values[:, first:], p.mask[:, first:])
        for p, first in zip(parts, firsts, strict=True)
    ]


def check_events(events: Events, channels: int | None = None) -> None:
    """Raise ValueError unless every customer has a series of finite numbers."""
    values, mask = events.values, events.mask
    if values.ndim != 3 or mask.shape != values.shape[:2] or 0 in values.shape:
        raise ValueError(
            "Series must be values [batch, time, channel] and a mask [batch, time], "
            f"none of them empty. Found {list(values.shape)} and {list(mask.shape)}."
        )
    if channels is not None and values.shape[2] != channels:
        raise ValueError(
            f"The model was fitted on {channels} channels. Found {values.shape[2]}."
        )
    refuse(~present(events), "Every customer needs at least one observed step")
    broken = (~values.isfinite()).any(2) & mask
    refuse(broken.any(1), "Observed values must be finite")


def refuse(customers: Bool[Tensor, " batch"], rule: str) -> None:
    """Raise ValueError with the rule and the first customers that break it."""
    found: Int[Tensor, " row"] = customers.nonzero()[:, 0]
    if len(found):
        raise ValueError(
            f"{rule}. Found {len(found)} without, first rows {found[:5].tolist()}."
        )


def check_training(events: Events, num_states: int) -> None:
    """Raise ValueError when these customers cannot teach ``num_states`` states."""
    check_events(events)
    values = events.values[events.mask].double()
    if len(values) < num_states:
        raise ValueError(
            f"num_states={num_states} needs as many observed steps. "
            f"Found {len(values)}."
        )
    constant = values.std(0, correction=0) <= 1e-7 * values.abs().amax(0)
    if constant.any():
        raise ValueError(
            "Every channel must vary over the training steps. "
            f"Found constant channels {torch.where(constant)[0].tolist()}."
        )
