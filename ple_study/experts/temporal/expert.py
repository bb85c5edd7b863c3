"""The temporal expert: three readings of a customer's series, and a gate over them.

A selective scan remembers what it chooses to, a liquid cell moves in real time, and a
patch transformer compares stretches with each other. All three read the same series.
"""

from collections.abc import Mapping
from collections.abc import Sequence as Names
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ple_study.batch import Batch
from ple_study.experts.base import Ending, Expert, ExpertSpec
from ple_study.experts.temporal.fusion import Fused, FusionGate
from ple_study.experts.temporal.mamba import Scan
from ple_study.experts.temporal.streams import Liquid, Stream, StreamSpec, gap_channel
from ple_study.names import nearest, unique
from ple_study.schema import Schema, Sequence


class TemporalExpert(Expert):
    """Series of events in scan, liquid cell and transformer, mixed by a gate.

    A customer is present who has a true step in one of the series. Each series is
    padded to a fixed number of steps; the liquid cell, and the scan of Mamba-1, loop
    over them, so a compiled or exported expert holds that number for good. A gap of
    zero days moves the liquid cell not at all.
    """

    def __init__(self, streams: Mapping[str, StreamSpec], dim: int = 64) -> None:
        super().__init__()
        if not streams:
            raise ValueError("A temporal expert reads one series or more. Found none.")
        self.dim = dim
        self.streams = nn.ModuleDict({k: Stream(spec) for k, spec in streams.items()})
        every = [cast(Stream, stream).dims for stream in self.streams.values()]
        self.gate = FusionGate(
            [sum(widths) for widths in zip(*every, strict=True)], dim
        )
        self.ending = Ending(dim, dim)

    def forward(self, batch: Batch) -> Float[Tensor, "batch {self.dim}"]:
        return self.ending(self.fused(batch).mixed)

    def fused(self, batch: Batch) -> Fused:
        """What the gate mixed of the branches scan, liquid, patch; and its weights."""
        read = [stream(batch.events[k]) for k, stream in self.streams.items()]
        return self.gate([torch.cat(parts, dim=1) for parts in zip(*read, strict=True)])

    def present(self, batch: Batch) -> Bool[Tensor, " batch"]:
        seen = [batch.events[name].mask.any(1) for name in self.streams]
        return torch.stack(seen).any(0)


@dataclass(frozen=True, kw_only=True)
class TemporalSpec(ExpertSpec):
    """Which series are read, how wide, and by what.

    sequences: by name; all of the schema without. widths: of their streams, in order,
    multiples of 32; the last serves for those that follow. gaps: names of channels with
    log(1 + days since the step before); a series that has none of them takes a step a
    day. scan: "ssd", a decay a head in chunks, or "mamba1", a decay a channel. liquid:
    "exponential", "closed_form", or "serial", the sources' later design: one Euler step
    of a day from zero on what the scan answers, so that no gap ever enters.
    """

    dim: int = 64
    sequences: tuple[str, ...] = ()
    widths: tuple[int, ...] = (128, 64)
    gaps: tuple[str, ...] = ("days_since", "days_since_last")
    scan: Scan = "ssd"
    liquid: Liquid = "exponential"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("sequences", "widths", "gaps"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        unique("Sequences of a temporal expert", self.sequences)
        if self.dim < 1 or not self.widths:
            raise ValueError(
                "A temporal expert needs dim >= 1 and one width or more. Found "
                f"dim={self.dim}, widths={self.widths}."
            )
        for width in self.widths:  # a stream's own checks
            self._stream(Sequence(name="any", steps=1, channels=("any",)), width)

    def build(self, schema: Schema) -> TemporalExpert:
        """Raises ValueError for a sequence that the schema has not, or none at all."""
        chosen = named_sequences(schema, self.sequences)
        widths = [*self.widths, *self.widths[-1:] * len(chosen)]
        pairs = zip(chosen, widths, strict=False)
        streams = {one.name: self._stream(one, width) for one, width in pairs}
        return TemporalExpert(streams, self.dim)

    def _stream(self, sequence: Sequence, width: int) -> StreamSpec:
        return StreamSpec(
            channels=len(sequence.channels),
            width=width,
            gap=gap_channel(sequence, self.gaps),
            scan=self.scan,
            liquid=self.liquid,
            dropout=self.dropout,
        )


def named_sequences(schema: Schema, names: Names[str]) -> list[Sequence]:
    """The sequences of these names, in this order; all of the schema without.

    Raises ValueError for a name that the schema has not.
    """
    known = {sequence.name: sequence for sequence in schema.sequences}
    for name in names:
        if name not in known:
            raise ValueError(
                f"No sequence is named {name!r}. Sequences are {list(known)}."
                f"{nearest(name, known)}"
            )
    return [known[name] for name in names or known]
