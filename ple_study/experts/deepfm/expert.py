"""DeepFM: fields of a customer's table, crossed in pairs and read by a deep branch.

Guo et al. (2017), "DeepFM: a factorization-machine based neural network for CTR
prediction". Its sum over pairs is kept as a vector, one number an embedding coordinate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ple_study.batch import Batch
from ple_study.experts.base import Ending, Expert, ExpertSpec
from ple_study.experts.deepfm.fields import CodeFields, NumericFields, bi_interaction
from ple_study.experts.mlp import MLPSpec, Norm, ParallelMLP
from ple_study.names import nearest, unique
from ple_study.schema import Schema

DEEP = MLPSpec(dims=(256, 128, 64), norm="layer", dropout=0.2)


class Places(NamedTuple):
    """Where the fields' columns lie in a batch, field after field."""

    numeric: Sequence[int]
    categorical: Sequence[int]


class DeepFM(Expert):
    """Fields crossed in pairs, beside an MLP that reads them all.

    ``[batch, field, embedding]`` -> bi_interaction ``[batch, embedding]`` and MLP
    ``[batch, deep]``, side by side -> ``[batch, dim]``. ``widths`` counts the numeric
    columns of a field by its name, ``sizes`` the codes of a categorical column; without
    ``places`` they lie end to end in that order, from the first on. With one field in
    all there is no pair, and only the MLP speaks.

    Raises ValueError for no field, one without a column, and a name used twice.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        sizes: Mapping[str, int],
        dim: int = 64,
        embedding: int = 16,
        deep: MLPSpec = DEEP,
        places: Places | None = None,
    ) -> None:
        super().__init__()
        self.dim, self.names = dim, [*widths, *sizes]
        unique("Names of fields", self.names)
        empty = [name for name, n in {**widths, **sizes}.items() if n < 1]
        if empty or not self.names:
            raise ValueError(
                "DeepFM reads one field or more, each with one column or more. Found "
                f"{len(self.names)} fields, without a column: {empty[:5]}."
            )
        where = places or (None, None)
        counts = zip((NumericFields, CodeFields), (widths, sizes), where, strict=True)
        self.parts = nn.ModuleList(
            kind([*count.values()], embedding, place)
            for kind, count, place in counts
            if count
        )
        self.deep = ParallelMLP(1, len(self.names) * embedding, deep)
        self.ending = Ending(embedding + self.deep.dim, dim)

    def fields(self, batch: Batch) -> Float[Tensor, "batch field embedding"]:
        return torch.cat([part(batch) for part in self.parts], 1)

    def forward(self, batch: Batch) -> Float[Tensor, "batch {self.dim}"]:
        fields = self.fields(batch)
        (deep,) = self.deep(fields.flatten(1))
        return self.ending(torch.cat([bi_interaction(fields), deep], 1))


class Pair(NamedTuple):
    """Two fields, and what their inner product <e_f, e_g> is over customers.

    ``strength`` is its mean absolute value, ``spread`` its standard deviation: a pair
    without spread says the same of every customer.
    """

    first: str
    second: str
    strength: float
    spread: float


@torch.no_grad()
def strongest_pairs(expert: DeepFM, batch: Batch, top: int = 10) -> list[Pair]:
    """The ``top`` pairs of fields that cross most strongly for these customers.

    They are the products that ``forward`` sums. A strength is of fields: which columns
    inside them cross is not told, nor which way a pair moves an answer.
    """
    fields, names = expert.fields(batch), expert.names
    first, second = torch.triu_indices(
        len(names), len(names), offset=1, device=fields.device
    )
    products = torch.einsum("bfd,bgd->fgb", fields, fields)[first, second]
    strength = products.abs().mean(1)
    spread = (products - products.mean(1, keepdim=True)).square().mean(1).sqrt()
    order = strength.argsort(descending=True, stable=True)[:top].tolist()
    return [
        Pair(names[first[i]], names[second[i]], float(strength[i]), float(spread[i]))
        for i in order
    ]


@dataclass(frozen=True, kw_only=True)
class DeepFMSpec(ExpertSpec):
    """A DeepFM whose fields are feature groups.

    Each of ``fields`` joins one group or more, as in ``(("rfm",), ("card", "app"))``; a
    group that is not named is not read. Left empty, every group is a field. Categorical
    columns never join: each of a group that is read is a field of its own. All fields
    have one width, ``embedding``, whatever the features' own.
    """

    dim: int = 64
    embedding: int = 16
    hidden: tuple[int, ...] = DEEP.dims
    norm: Norm = DEEP.norm
    dropout: float = DEEP.dropout
    fields: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        object.__setattr__(self, "fields", tuple(map(tuple, self.fields)))
        if min(self.dim, self.embedding) < 1:
            raise ValueError(
                "dim and embedding are widths of 1 or more. Found "
                f"{self.dim} and {self.embedding}."
            )
        unique("Groups in fields", (group for field in self.fields for group in field))
        self.deep()  # refuses what an MLP cannot be

    def deep(self) -> MLPSpec:
        return MLPSpec(dims=self.hidden, norm=self.norm, dropout=self.dropout)

    def build(self, schema: Schema) -> DeepFM:
        """Raises ValueError for a group that no column is of."""
        fields = self.fields or each_group(schema)
        read = [group for field in fields for group in field]
        check_groups(schema, read)
        numeric = {
            " + ".join(field): [
                i for i, column in enumerate(schema.numeric) if column.group in field
            ]
            for field in fields
        }
        numeric = {name: columns for name, columns in numeric.items() if columns}
        codes = [i for i, c in enumerate(schema.categorical) if c.group in read]
        return DeepFM(
            {name: len(columns) for name, columns in numeric.items()},
            {schema.categorical[i].name: schema.categorical[i].size for i in codes},
            self.dim,
            self.embedding,
            self.deep(),
            Places([i for columns in numeric.values() for i in columns], codes),
        )


def each_group(schema: Schema) -> tuple[tuple[str], ...]:
    """Every feature group alone, in the table's order."""
    groups = dict.fromkeys(feature.group for feature in schema.features)
    return tuple((group,) for group in groups)


def check_groups(schema: Schema, groups: Sequence[str]) -> None:
    known = [group for (group,) in each_group(schema)]
    for name in groups:
        if name not in known:
            raise ValueError(
                f"No column is of the group {name!r}. Groups are {known}."
                f"{nearest(name, known)}"
            )
