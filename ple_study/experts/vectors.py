"""Vectors that were made of a customer elsewhere, as an expert reads them."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ple_study.batch import Batch
from ple_study.experts.base import Ending, Expert
from ple_study.names import nearest
from ple_study.schema import Schema


def vector_width(schema: Schema, name: str) -> int:
    """How many numbers the vector has. Raises ValueError where there is none."""
    known = {vector.name: vector.dim for vector in schema.vectors}
    if name not in known:
        raise ValueError(
            f"Unknown vector {name!r}. Vectors are {list(known)}.{nearest(name, known)}"
        )
    return known[name]


def has_vector(batch: Batch, name: str) -> Bool[Tensor, " batch"]:
    """Whose vector is there: one number that is not finite says that it is not."""
    return batch.vectors[name].isfinite().all(1)


def vector_or_zero(batch: Batch, name: str) -> Float[Tensor, "batch _"]:
    """The vectors, and zeros for those who have none: no NaN reaches a gradient."""
    return torch.where(has_vector(batch, name)[:, None], batch.vectors[name], 0.0)


class VectorExpert(Expert):
    """Refines the vector ``name`` of a customer, ``x + refine(x)``, and ends."""

    def __init__(self, name: str, width: int, dim: int, refine: nn.Module) -> None:
        super().__init__()
        self.name, self.dim = name, dim
        self.refine, self.ending = refine, Ending(width, dim)

    def present(self, batch: Batch) -> Bool[Tensor, " batch"]:
        return has_vector(batch, self.name)

    def forward(self, batch: Batch) -> Float[Tensor, "batch {self.dim}"]:
        vector = vector_or_zero(batch, self.name)
        return self.ending(vector + self.refine(vector))
