"""One series, three branches: selective scan, liquid cell and patch transformer."""

from collections.abc import Sequence as Names
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ple_study.batch import Events
from ple_study.experts.temporal.liquid import (
    ClosedFormCell,
    LiquidCell,
    days_between,
    drive,
)
from ple_study.experts.temporal.mamba import MambaBlock, Scan, last
from ple_study.experts.temporal.patches import PatchTransformer
from ple_study.names import one_of
from ple_study.schema import Sequence

Liquid = Literal["exponential", "closed_form", "serial"]
# Customers whose scan runs at once on a CPU: for larger tensors the allocator goes to
# the system each time, and the pages that it brings cost half of a step.
SLICE = 64
UNIT = 32  # of a stream's width: one attention head of 16, a whole head of the scan


class Branches(NamedTuple):
    """What the scan, the liquid cell and the transformer read: each ``[batch, _]``."""

    scan: Float[Tensor, "batch _"]
    liquid: Float[Tensor, "batch _"]
    patch: Float[Tensor, "batch _"]


@dataclass(frozen=True, kw_only=True)
class StreamSpec:
    """How wide one series is read, and by what: as in a ``TemporalSpec``.

    ``gap`` is the place of the channel with log(1 + days), None for a step a day.
    """

    channels: int
    width: int = 128
    gap: int | None = None
    scan: Scan = "ssd"
    liquid: Liquid = "exponential"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        one_of("Scan", self.scan, get_args(Scan))
        one_of("Liquid cell", self.liquid, get_args(Liquid))
        if self.width < UNIT or self.width % UNIT:
            raise ValueError(
                f"The width of a stream is a multiple of {UNIT}. Found {self.width}."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"Dropout must lie in [0, 1). Found {self.dropout}.")


class Stream(nn.Module):
    """One series in three branches, of ``width``, half of it and half of it.

    Steps where the mask is false change nothing, on either side of the true ones and
    whatever they hold.
    """

    def __init__(self, spec: StreamSpec) -> None:
        super().__init__()
        width, half = spec.width, spec.width // 2
        self.spec, self.dims = spec, (width, half, half)
        self.embed = nn.Linear(spec.channels, width)
        self.block = MambaBlock(width, scan=spec.scan)
        self.scan_norm, self.liquid_norm = nn.LayerNorm(width), nn.LayerNorm(half)
        self.cell: LiquidCell | ClosedFormCell
        if spec.liquid == "closed_form":
            self.cell = ClosedFormCell(spec.channels, half)
        elif spec.liquid == "serial":
            self.cell = LiquidCell(width, half, solver="euler")
        else:
            self.cell = LiquidCell(spec.channels, half)
        self.transformer = PatchTransformer(
            spec.channels, half, heads=half // 16, dropout=spec.dropout
        )
        self.drop = nn.Dropout(spec.dropout)

    def forward(self, events: Events) -> Branches:
        mask = events.mask
        values = torch.where(mask[..., None], events.values, 0.0)
        memory = self.memory(values, mask)
        if self.spec.liquid == "serial":
            one = torch.ones_like(mask[:, :1])
            states = drive(self.cell, memory[:, None], one.to(memory), one)
        else:
            states = drive(self.cell, values, self.gaps(values, mask), mask)
        return Branches(
            self.scan_norm(memory),
            self.drop(self.liquid_norm(states[:, -1])),
            self.transformer(values, mask),
        )

    def memory(
        self,
        values: Float[Tensor, "batch time channel"],
        mask: Bool[Tensor, "batch time"],
    ) -> Float[Tensor, "batch width"]:
        """What the scan holds after each customer's last true step."""
        if values.is_cuda or torch.compiler.is_compiling():
            return last(self.block(self.embed(values), mask), mask)
        slices = torch.split(values, SLICE), torch.split(mask, SLICE)
        parts = zip(*slices, strict=True)
        return torch.cat([last(self.block(self.embed(v), m), m) for v, m in parts])

    def gaps(
        self,
        values: Float[Tensor, "batch time channel"],
        mask: Bool[Tensor, "batch time"],
    ) -> Float[Tensor, "batch time"]:
        """Days before each step, zero on padding."""
        if self.spec.gap is None:
            return mask.to(values)
        return days_between(values[..., self.spec.gap], mask)


def gap_channel(sequence: Sequence, names: Names[str]) -> int | None:
    """The place of the channel with one of these names; None where there is none.

    Raises ValueError where there are two.
    """
    named = [k for k, name in enumerate(sequence.channels) if name in names]
    if len(named) > 1:
        raise ValueError(
            f"One channel of sequence {sequence.name!r} holds its time gaps. Found "
            f"{[sequence.channels[k] for k in named]}."
        )
    return named[0] if named else None
