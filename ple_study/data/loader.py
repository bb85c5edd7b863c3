"""From a study's rows to batches: split, scale on the training rows only, draw.

The rows stay whole tensors; a batch is an index into them, so no Python runs per row.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ple_study.batch import Batch, Diagrams, Events, Rows
from ple_study.data.checks import (
    SPLITS,
    check_batch,
    check_labels,
    check_lengths,
    check_real,
    check_shapes,
    check_split,
    check_weights,
)
from ple_study.data.scaler import Scaler as Scaler
from ple_study.data.scaler import hash_of
from ple_study.names import nearest
from ple_study.ranks import place_in_world
from ple_study.schema import Schema, Sequence, Vector


@dataclass(frozen=True)
class Study:
    """A schema, its rows and their split. Raises ValueError when they disagree."""

    schema: Schema
    rows: Rows
    split: Mapping[str, Int[Tensor, " row"]]

    def __post_init__(self) -> None:
        check_split(self.split, len(self.rows))
        check_lengths(self.schema, self.rows)
        check_weights(self.rows.weights)
        check_batch(self.schema, self.rows.batch)
        check_shapes(self.schema, self.rows.batch)
        check_real(self.rows.batch)
        for task in self.schema.tasks:
            check_labels(task, self.rows.labels, self.split["train"])

    def part(self, name: str) -> Rows:
        """The rows of ``train``, ``val`` or ``test``."""
        if name not in self.split:
            raise ValueError(
                f"A part is one of {list(self.split)}. Found {name!r}."
                f"{nearest(name, self.split)}"
            )
        return self.rows.rows(self.split[name])

    def with_inputs(
        self,
        *,
        events: Mapping[str, Events] | None = None,
        diagrams: Mapping[str, Diagrams] | None = None,
        states: Float[Tensor, "batch mode state"] | None = None,
        clusters: Float[Tensor, "batch cluster"] | None = None,
        vectors: Mapping[str, Float[Tensor, "batch _"]] | None = None,
        channels: Mapping[str, tuple[str, ...]] | None = None,
    ) -> "Study":
        """The same study with these inputs too, in the order of its rows.

        Of series, diagrams and vectors those of one name are replaced. ``channels``
        names those of a series; without it they are numbered. Raises ValueError as
        ``Study`` does, and where ``channels`` names a series that is not given.
        """
        old = self.rows.batch
        batch = replace(
            old,
            events={**old.events, **(events or {})},
            diagrams={**old.diagrams, **(diagrams or {})},
            states=old.states if states is None else states,
            clusters=old.clusters if clusters is None else clusters,
            vectors={**old.vectors, **(vectors or {})},
        )
        schema = described(self.schema, batch, events or {}, channels or {})
        return replace(self, schema=schema, rows=replace(self.rows, batch=batch))

    def scaled(self) -> "Study":
        """The same study with numeric columns scaled by the training rows."""
        scaler = self.scaler()
        return replace(self, rows=replace(self.rows, batch=scaler(self.rows.batch)))

    def scaler(self) -> Scaler:
        """Mean and deviation of the training rows."""
        return Scaler.fit(self.schema, self.part("train").batch)

    def loader(
        self,
        size: int,
        *,
        seed: int,
        scaler: Scaler,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
    ) -> "Loader":
        """The training rows, scaled and shuffled; one alone at the end is left out.

        Of several ranks, this one's part of every batch (``Loader``).
        """
        rows = scaler.ready(self.part("train"), device)
        alone = leaves_one(len(rows), size, world)
        return Loader(
            rows,
            size,
            shuffle=True,
            drop_last=alone,
            seed=seed,
            rank=rank,
            world=world,
        )

    def fingerprint(self) -> str:
        """A hash of the rows, and of their split."""
        return hash_of(self.rows, self.split)


def leaves_one(size: int, batch_size: int, world: int = 1) -> bool:
    """Whether a last batch has one row, for which batch normalisation has no use.

    Of several ranks, whether it has one row or none on any of them.
    """
    whole = batch_size * world
    return size > whole and 0 < size % whole < 2 * world


def described(
    schema: Schema,
    batch: Batch,
    events: Mapping[str, Events],
    channels: Mapping[str, tuple[str, ...]],
) -> Schema:
    """The schema of these tasks and columns, and of the inputs that the batch has."""
    unknown = sorted(set(channels) - set(events))
    if unknown:
        raise ValueError(
            f"Channels are named of the series {list(events)}. Found {unknown}."
        )
    known = {s.name: s for s in schema.sequences}
    for name, part in events.items():
        _, steps, count = part.values.shape
        numbered = tuple(f"channel_{i}" for i in range(count))
        named = channels.get(name, numbered)
        known[name] = Sequence(name=name, steps=steps, channels=named)
    states, clusters = batch.states, batch.clusters
    axes = {"states": (states, 3), "clusters": (clusters, 2)}
    for kind, (given, dims) in axes.items():
        if given is not None and given.ndim != dims:
            wanted = "batch, mode, state" if dims == 3 else "batch, cluster"
            raise ValueError(f"The {kind} are [{wanted}]. Found {list(given.shape)}.")
    return replace(
        schema,
        sequences=tuple(known.values()),
        diagrams=tuple(batch.diagrams),
        states=(0, 0) if states is None else (states.shape[1], states.shape[2]),
        clusters=0 if clusters is None else clusters.shape[1],
        vectors=tuple(Vector(name=k, dim=v.shape[1]) for k, v in batch.vectors.items()),
    )


def random_split(
    size: int, *, seed: int, val: float = 0.2, test: float = 0.2
) -> dict[str, Int[Tensor, " row"]]:
    """Shuffle the rows and cut them; the shares are of all rows."""
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    cuts = [size - round(size * (val + test)), round(size * val)]
    parts = order.tensor_split([cuts[0], cuts[0] + cuts[1]])
    return dict(zip(SPLITS, parts, strict=True))


@runtime_checkable
class Batches(Protocol):
    """Where a run draws its batches: in an order that can be saved and restored."""

    generator: torch.Generator

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Rows]: ...


class Loader:
    """Batches of rows, shuffled by an own generator that can be saved and restored.

    Iterating draws a new order each time. ``drop_last`` leaves out a short last batch.

    Of ``world`` ranks with one seed, all draw the same order; of every ``world`` times
    ``batch_size`` rows in it, ``rank`` gives its own run. A short last batch is dealt
    in runs that differ by one row at most; one of fewer rows than ranks is left out.
    Every rank gives the same number of batches.

    Raises ValueError for a batch of no row, a rank that is none of the world's, and
    fewer rows than ranks.
    """

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more. Found {batch_size}.")
        self.rank, self.world = place_in_world(rank, world)
        if len(rows) < world > 1:
            raise ValueError(f"Each of {world} ranks needs a row. Found {len(rows)}.")
        self.rows, self.batch_size = rows, batch_size
        self.shuffle, self.drop_last = shuffle, drop_last
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        whole, rest = divmod(len(self.rows), self.batch_size * self.world)
        return whole + (rest >= self.world and not self.drop_last)

    def __iter__(self) -> Iterator[Rows]:
        size = len(self.rows)
        if self.shuffle:
            order = torch.randperm(size, generator=self.generator)
        else:
            order = torch.arange(size)
        order = order.to(self.rows.batch.numeric.device)
        step = self.batch_size * self.world
        for batch in range(len(self)):
            whole = order[batch * step : (batch + 1) * step]
            first, last = (len(whole) * (self.rank + i) // self.world for i in (0, 1))
            yield self.rows.rows(whole[first:last])
