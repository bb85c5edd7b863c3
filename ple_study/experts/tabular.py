"""The table's columns as one vector: numbers as they are, categories embedded."""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ple_study.batch import Batch
from ple_study.schema import Schema


class Tabular(nn.Module):
    """Categorical embeddings, narrowest first, and then the numeric columns.

    ``sizes`` counts each column's codes. Columns with one embedding width share one
    table, each at its own offset, so that a batch needs one look-up a width.
    """

    def __init__(self, numeric: int, sizes: Sequence[int], dims: Sequence[int]) -> None:
        super().__init__()
        self.dim = numeric + sum(dims)
        widths = sorted(set(dims))
        members = [[i for i, d in enumerate(dims) if d == w] for w in widths]
        self.tables = nn.ModuleList()
        for group, (width, columns) in enumerate(zip(widths, members, strict=True)):
            counts = torch.tensor([0] + [sizes[c] for c in columns]).cumsum(0)
            self.register_buffer(f"offsets_{group}", counts[:-1], persistent=False)
            self.register_buffer(
                f"columns_{group}", torch.tensor(columns), persistent=False
            )
            table = nn.Embedding(int(counts[-1]), width)
            nn.init.normal_(table.weight, std=width**-0.5)
            self.tables.append(table)

    @classmethod
    def build(cls, schema: Schema) -> "Tabular":
        if not schema.features:
            raise ValueError("A model reads at least one column. Found none.")
        sizes = [f.size for f in schema.categorical]
        dims = [f.dim for f in schema.categorical]
        return cls(len(schema.numeric), sizes, dims)

    def forward(self, batch: Batch) -> Float[Tensor, "batch {self.dim}"]:
        parts = []
        for group, table in enumerate(cast(list[nn.Embedding], list(self.tables))):
            columns = self.get_buffer(f"columns_{group}")
            codes = batch.categorical.index_select(1, columns)
            codes = codes + self.get_buffer(f"offsets_{group}")
            parts.append(look_up(table, codes).flatten(1))
        return torch.cat([*parts, batch.numeric], dim=1) if parts else batch.numeric


def look_up(
    table: nn.Embedding, codes: Int[Tensor, "batch column"]
) -> Float[Tensor, "batch column dim"]:
    """The rows of the table at these codes."""
    rows = table.weight
    if rows.is_cuda or table.sparse:
        return F.embedding(codes, rows, sparse=table.sparse)
    # The same rows, but a gradient that is several times faster on a CPU.
    return rows.index_select(0, codes.flatten()).view(*codes.shape, rows.shape[1])
