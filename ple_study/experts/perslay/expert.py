"""PersLay: persistence diagrams read point by point, in no order, by learned templates.

Carriere, Chazal, Ike, Lacombe, Royer, Umeda (AISTATS 2020), "PersLay: a neural network
layer for persistence diagrams and new graph topological signatures".
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ple_study.batch import Batch, Diagrams
from ple_study.experts.base import Ending, Expert, ExpertSpec
from ple_study.experts.perslay.blocks import BLOCK, Block, Weight, calibrate
from ple_study.experts.perslay.transforms import PoolName, TransformName
from ple_study.inputs import Vector
from ple_study.names import nearest, one_of, unique
from ple_study.schema import Schema

BLOCKS = (("short", 0), ("short", 1), ("long", 0), ("long", 1), ("long", 2))
BESIDE, JOINT = 32, 128  # widths: of statistics beside blocks, of all together
HOMOLOGY = (0, 1, 2)
ALONE = (128, 96, 64)  # widths of the path that reads statistics alone


class PersLay(Expert):
    """What shape a customer's behaviour has: [batch, dim] from her diagrams.

    Each block reads one homology of one diagram (``Block``); the blocks side by side,
    and with ``statistics`` 32 numbers made of that vector, go through one hidden layer.
    Without a block the vector alone is read, by the source's MLP 128 -> 96 -> 64.

    Diagrams and statistics are made offline, by ``data.diagrams`` and ``statistics``. A
    customer without a point in any block and without statistics is absent.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        dim: int = 64,
        statistics: Vector | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.dim, self.statistics = dim, statistics
        self.blocks = nn.ModuleList(blocks)
        width, dims = len(blocks) * BLOCK, (JOINT,) if blocks else ALONE
        if statistics is not None:
            beside = nn.Linear(statistics.dim, BESIDE) if blocks else nn.Identity()
            self.beside = nn.Sequential(beside, *([nn.SiLU()] if blocks else []))
            width += BESIDE if blocks else statistics.dim
        if not width:
            raise ValueError("PersLay reads one block or statistics. Found neither.")
        steps: list[nn.Module] = []
        for pair in zip((width, *dims), dims, strict=False):
            steps += [nn.Linear(*pair), nn.SiLU(), nn.Dropout(dropout)]
        self.head = nn.Sequential(*steps, Ending(dims[-1], dim))

    def forward(self, batch: Batch) -> Float[Tensor, "batch {self.dim}"]:
        read = [block(batch) for block in self.blocks]
        if self.statistics is not None:
            vector = batch.vectors[self.statistics.name]
            read.append(self.beside(vector.nan_to_num(0.0)))
        answer: Tensor = self.head(torch.cat(read, 1))
        return answer

    def present(self, batch: Batch) -> Bool[Tensor, " batch"]:
        blocks = cast(list[Block], list(self.blocks))
        seen = [block.mask(batch).any(1) for block in blocks]
        if self.statistics is not None:
            seen.append(~batch.vectors[self.statistics.name].isnan().all(1))
        return torch.stack(seen).any(0)

    def calibrate(self, diagrams: Mapping[str, Diagrams], seed: int = 0) -> None:
        """Start all blocks at the training customers' points: ``calibrate`` of each."""
        for block in cast(list[Block], list(self.blocks)):
            calibrate(block, diagrams[block.diagram], seed)


@dataclass(frozen=True, kw_only=True)
class PersLaySpec(ExpertSpec):
    """Which diagrams PersLay reads, and how.

    blocks: pairs (diagram, homology); none, and ``statistics`` alone are read.
    centres: template functions a block, of the kind ``transform``.
    weight: the power of a point's persistence that weighs it, or ``learned``.
    statistics: the vector of the schema that is read beside the blocks; empty for none.

    Raises ValueError for bad settings, and in ``build`` for a diagram or a vector that
    the schema does not name.
    """

    dim: int = 64
    blocks: tuple[tuple[str, int], ...] = BLOCKS
    centres: int = 32
    transform: TransformName = "gaussian"
    weight: Weight = 1.0
    how: PoolName = "sum"
    statistics: str = ""
    dropout: float = 0.1

    def __post_init__(self) -> None:
        pairs = tuple(tuple(block) for block in self.blocks)
        object.__setattr__(self, "blocks", pairs)
        wrong = [p for p in pairs if len(p) != 2 or p[1] not in HOMOLOGY]
        if wrong:
            raise ValueError(
                f"A block is a diagram's name and one of {HOMOLOGY}. Found {wrong[0]}."
            )
        one_of("Transform", self.transform, get_args(TransformName))
        one_of("Pooling", self.how, get_args(PoolName))
        unique("Blocks", pairs)
        power = self.weight == "learned" or (
            not isinstance(self.weight, str) and 0 <= self.weight < torch.inf
        )
        if not power:
            raise ValueError(
                "Weight must be a power, zero or more and finite, or 'learned'. Found "
                f"{self.weight!r}."
            )
        if self.dim < 1 or self.centres < 1 or not (pairs or self.statistics):
            raise ValueError(
                "PersLay needs dim and centres >= 1, and a block or statistics. Found "
                f"{self}."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"Dropout must lie in [0, 1). Found {self.dropout}.")

    def build(self, schema: Schema) -> PersLay:
        known = {vector.name: vector for vector in schema.vectors}
        named = dict.fromkeys(name for name, _ in self.blocks)
        _known("diagram", named, schema.diagrams)
        _known("vector", [self.statistics] if self.statistics else [], known)
        blocks = [
            Block(name, kind, self.centres, self.transform, self.weight, self.how)
            for name, kind in self.blocks
        ]
        return PersLay(blocks, self.dim, known.get(self.statistics), self.dropout)


def _known(what: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(
                f"PersLay reads the {what} {name!r}. The schema has {list(known)}."
                f"{nearest(name, known)}"
            )
