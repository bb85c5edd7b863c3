"""Vectors that were made of a customer elsewhere, as an expert reads them."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ple_study.batch import Batch
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
    """Whose vector is there: a row of NaN says that it is not."""
    return ~batch.vectors[name].isnan().any(1)


def vector_or_zero(batch: Batch, name: str) -> Float[Tensor, "batch _"]:
    """The vectors, and zeros for those who have none: no NaN reaches a gradient."""
    return torch.where(has_vector(batch, name)[:, None], batch.vectors[name], 0.0)
