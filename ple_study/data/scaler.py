"""What is known of rows as a whole: mean and deviation of their columns, a hash."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ple_study.batch import Batch, Rows, tree_map
from ple_study.schema import Schema


class Moments:
    """Mean and deviation of columns in float64, of which a part at a time is seen.

    Count n, mean m and sum of squared deviations S of two parts a and b are merged,
    with d = m_b - m_a: m = m_a + d n_b / n and S = S_a + S_b + d^2 n_a n_b / n; the
    deviation is the root of S / n (Chan, Golub and LeVeque, 1979).
    """

    def __init__(self, width: int) -> None:
        self.count = 0
        self.mean, self.square, self.top = torch.zeros(3, width, dtype=torch.float64)

    def add(self, values: Float[Tensor, "row width"]) -> None:
        """See these rows too."""
        size = len(values)
        if values.numel():
            values, count = values.double(), self.count + size
            var, mean = torch.var_mean(values, dim=0, correction=0)
            delta = mean - self.mean
            self.mean = self.mean + delta * (size / count)
            self.square = self.square + var * size
            self.square = self.square + delta**2 * (self.count * size / count)
            self.top = torch.maximum(self.top, values.abs().amax(0))
            self.count = count

    @property
    def std(self) -> Float[Tensor, " width"]:
        return (self.square / max(self.count, 1)).sqrt()


class Scaler(NamedTuple):
    """Mean and deviation of the numeric columns; probabilities keep 0 and 1."""

    mean: Float[Tensor, " numeric"]
    std: Float[Tensor, " numeric"]

    @classmethod
    def fit(cls, schema: Schema, batch: Batch) -> "Scaler":
        """Learn from these rows alone. A constant column is centred, not divided."""
        if not schema.numeric:
            return cls(torch.zeros(0), torch.ones(0))
        values = batch.numeric.double()
        std, mean = torch.std_mean(values, dim=0, correction=0)
        return cls._of(schema, mean, std, values.abs().amax(0))

    @classmethod
    def merged(cls, schema: Schema, batches: Iterable[Batch]) -> "Scaler":
        """``fit`` of all these rows, of which one batch at a time lies in memory."""
        seen = Moments(len(schema.numeric))
        for batch in batches:
            seen.add(batch.numeric)
        return cls._of(schema, seen.mean, seen.std, seen.top)

    @classmethod
    def _of(cls, schema: Schema, mean: Tensor, std: Tensor, top: Tensor) -> "Scaler":
        kept = [f.kind == "probability" for f in schema.numeric]
        fixed = torch.tensor(kept, dtype=torch.bool)
        mean = mean.masked_fill(fixed, 0.0)
        # A constant column's deviation is rounding noise, never a unit.
        constant = std <= 1e-7 * top
        std = std.masked_fill(fixed | constant, 1.0)
        return cls(mean.float(), std.float())

    def __call__(self, batch: Batch) -> Batch:
        return replace(batch, numeric=(batch.numeric - self.mean) / self.std)

    def ready(self, rows: Rows, device: torch.device) -> Rows:
        """The rows with their numeric columns scaled, on the device."""
        return replace(rows, batch=self(rows.batch)).to(device)


def hash_of(rows: Rows, split: Mapping[str, Tensor]) -> str:
    """A hash of every number of the rows, and of their split."""
    digest = hashlib.blake2b(digest_size=16)

    def add(tensor: Tensor) -> Tensor:
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return tensor

    tree_map(add, rows.batch)
    for part in (rows.labels, rows.weights, split):
        for name in sorted(part):
            digest.update(name.encode())
            add(part[name])
    return digest.hexdigest()
