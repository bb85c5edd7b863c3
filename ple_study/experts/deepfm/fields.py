"""Fields: groups of columns as one vector each, and their products in pairs."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ple_study.batch import Batch
from ple_study.experts.tabular import look_up


def bi_interaction(
    fields: Float[Tensor, "batch field dim"],
) -> Float[Tensor, "batch dim"]:
    """The sum over all pairs of fields of their elementwise product.

    Linear in the number of fields. A single field has no pair and answers zero: columns
    inside one field are never crossed. He and Chua (2017), "Neural factorization
    machines for sparse predictive analytics", equations 4 and 5.
    """
    # sum_{f<g} e_f * e_g = ((sum_f e_f)^2 - sum_f e_f^2) / 2
    return (fields.sum(1).square() - fields.square().sum(1)) / 2


class NumericFields(nn.Module):
    """Fields of numeric columns, each by a linear map of its own.

    ``widths`` counts the columns of each field, ``places`` says where they lie in the
    batch, field after field. Row i of ``factors`` is the factor v_i of column i, so
    that a field is e_f = sum_{i in f} x_i v_i + b_f.
    """

    def __init__(
        self, widths: Sequence[int], dim: int, places: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.widths = list(widths)
        num_columns = sum(widths)
        wide = torch.tensor([width for width in widths for _ in range(width)])
        # A field of standardised columns begins about one long, as a code does.
        start = torch.randn(num_columns, dim) * (wide * dim).rsqrt()[:, None]
        self.factors = nn.Parameter(start)
        self.bias = nn.Parameter(torch.zeros(len(widths), dim))
        places = range(num_columns) if places is None else places
        index = torch.tensor(list(places), dtype=torch.long)
        self.register_buffer("places", index, persistent=False)
        self.in_order = list(places) == list(range(num_columns))

    def forward(self, batch: Batch) -> Float[Tensor, "batch field dim"]:
        numbers = batch.numeric
        if not self.in_order or numbers.shape[1] > len(self.factors):
            numbers = numbers.index_select(1, self.get_buffer("places"))
        parts = zip(
            self.bias.unbind(),
            torch.split(numbers, self.widths, 1),
            torch.split(self.factors, self.widths),
            strict=True,
        )
        # A product a field: for 28 fields of 1,024 customers, on a CPU, three times as
        # fast as one block-diagonal product or a batched one with padded fields.
        return torch.stack([torch.addmm(b, x, v) for b, x, v in parts], 1)


class CodeFields(nn.Module):
    """Fields of one categorical column each: the vector of its code.

    ``sizes`` counts the codes of each column, ``places`` says where it lies in the
    batch. All columns share one table, each at its own offset.
    """

    def __init__(
        self, sizes: Sequence[int], dim: int, places: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(sum(sizes), dim)
        nn.init.normal_(self.table.weight, std=dim**-0.5)
        offsets = torch.tensor([0, *sizes]).cumsum(0)[:-1]
        self.register_buffer("offsets", offsets, persistent=False)
        index = torch.tensor(list(range(len(sizes)) if places is None else places))
        self.register_buffer("places", index, persistent=False)

    def forward(self, batch: Batch) -> Float[Tensor, "batch field dim"]:
        codes = batch.categorical.index_select(1, self.get_buffer("places"))
        return look_up(self.table, codes + self.get_buffer("offsets"))
