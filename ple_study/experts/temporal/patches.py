"""A patch transformer: attention over stretches of a series rather than its steps.

Nie et al. (2023), "A time series is worth 64 words", without the split by channel;
Vaswani et al. (2017) for the layer and the positions.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

Series = Float[Tensor, "batch time channel"]
Mask = Bool[Tensor, "batch time"]
Patches = Float[Tensor, "batch patch dim"]
Seen = Bool[Tensor, "batch patch"]


def to_the_end(values: Series, mask: Mask) -> tuple[Series, Mask]:
    """The series turned so that each customer's last true step stands last."""
    steps = torch.arange(mask.shape[1], device=mask.device)
    shift = (steps * mask).amax(1, keepdim=True) + 1
    index = (steps + shift) % mask.shape[1]
    wide = index[..., None].expand_as(values)
    return values.gather(1, wide), mask.gather(1, index)


def patches(
    values: Series, mask: Mask, size: int
) -> tuple[Float[Tensor, "batch patch wide"], Seen]:
    """Stretches of ``size`` steps, counted back from the last true step, flat.

    A step that is not real is zero; a patch is seen where one of its steps is real.
    """
    values, mask = to_the_end(values, mask)
    values = torch.where(mask[..., None], values, 0.0)
    batch, time, channels = values.shape
    front, count = -time % size, math.ceil(time / size)
    values = F.pad(values, (0, 0, front, 0)).reshape(batch, count, size * channels)
    return values, F.pad(mask, (front, 0)).reshape(batch, count, size).any(2)


def positions(count: int, dim: int) -> Float[Tensor, "{count} {dim}"]:
    """sin and cos of p / 10000^(2i / dim), with the place p counted back from the end.

    So padding at the front moves no patch.
    """
    place = torch.arange(count - 1, -1, -1.0)[:, None]
    rate = torch.exp(torch.arange(0, dim, 2.0) * (-math.log(10_000.0) / dim))
    return torch.stack([(place * rate).sin(), (place * rate).cos()], 2).flatten(1)


class EncoderLayer(nn.Module):
    """x + attention(norm(x)), then x + W gelu(W norm(x)); no key is unseen."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm, self.norm_wide = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query_key_value, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.wide, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Patches, seen: Seen) -> Patches:
        x = x + self._drop(self._attend(self.norm(x), seen))
        wide = self._drop(F.gelu(self.wide(self.norm_wide(x))))
        return x + self._drop(self.narrow(wide))

    def _attend(self, x: Patches, seen: Seen) -> Patches:
        parts = self.query_key_value(x).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each: batch head patch dim
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=seen[:, None, None, :]
        )
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _drop(self, x: Patches) -> Patches:
        return F.dropout(x, self.dropout, self.training)


class PatchTransformer(nn.Module):
    """The mean over seen patches of an encoder of ``layers`` layers: ``[batch, dim]``.

    Padding on either side, whatever it holds, changes nothing.

    Raises ValueError where the heads do not divide an even width.
    """

    def __init__(
        self,
        channels: int,
        dim: int,
        heads: int,
        layers: int = 2,
        size: int = 16,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if dim % heads or dim % 2:
            raise ValueError(
                "A patch transformer needs an even width that its heads divide. "
                f"Found width {dim} and {heads} heads."
            )
        self.dim, self.size = dim, size
        self.embed = nn.Linear(size * channels, dim)
        self.layers = nn.ModuleList(
            EncoderLayer(dim, heads, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, values: Series, mask: Mask) -> Float[Tensor, "batch {self.dim}"]:
        flat, seen = patches(values, mask, self.size)
        # Who has no step at all looks at an empty patch: a softmax over none is NaN.
        last = torch.arange(seen.shape[1], device=seen.device) == seen.shape[1] - 1
        seen = seen | last
        x = self.embed(flat) + positions(flat.shape[1], self.dim).to(flat)
        for layer in self.layers:
            x = layer(x, seen)
        share = seen.to(x) / seen.sum(1, keepdim=True)
        return torch.einsum("bp,bpd->bd", share, self.norm(x))
