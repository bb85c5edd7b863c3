"""A wide and sparse code of what the shared experts say, and its way back.

Analysis only: what it reads is detached, and nothing of it is on the path to an answer.
Bricken et al. 2023, "Towards Monosemanticity"; Gao et al. 2024, arXiv:2406.04093.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ple_study.names import one_of

Activation = Literal["relu", "top_k"]
ROUNDING = 1e-6  # of a block's largest value: no deviation
Blocks = Float[Tensor, "_ _"] | Sequence[Float[Tensor, "_ _"]]


@dataclass(frozen=True, kw_only=True)
class SAESpec:
    """How wide the code is, how sparse, and what keeps it so.

    expansion: latents for each dimension that is read. tied: W_dec = W_enc^T; if not,
    the decoder has unit rows. activation: "relu", kept sparse by an L1 penalty, or
    "top_k", the k largest alone. k: how many latents a row turns on: at most with
    "top_k", on average with "relu", whose penalty ``fit_sae`` sets accordingly, unless
    ``l1`` is a number and the penalty. post_bias: a bias behind the decoder that is
    not the one in front of the encoder.
    """

    expansion: int = 4
    tied: bool = True
    activation: Activation = "relu"
    k: int = 40
    l1: float | None = None
    post_bias: bool = False

    def __post_init__(self) -> None:
        one_of("activation", self.activation, get_args(Activation))
        if min(self.expansion, self.k) < 1:
            raise ValueError(
                "An autoencoder needs expansion >= 1 and k >= 1. Found "
                f"expansion={self.expansion}, k={self.k}."
            )
        if self.l1 is not None and not 0 <= self.l1 < torch.inf:
            raise ValueError(f"l1 is None, zero or more. Found {self.l1}.")
        if self.l1 is not None and self.activation == "top_k":
            raise ValueError(
                "The activation 'top_k' has no penalty: l1 must be None. "
                f"Found {self.l1}."
            )

    def build(self, *widths: int) -> "SparseAutoencoder":
        """``widths``: of the experts' blocks, or of all that is read as one.

        Raises ValueError for no width or one below 1, and for fewer latents than ``k``
        where ``k`` counts.
        """
        if not widths or min(widths) < 1:
            raise ValueError(
                f"An autoencoder reads blocks of width 1 or more. Found {widths}."
            )
        latents = self.expansion * sum(widths)
        if self.l1 is None and self.k > latents:
            raise ValueError(f"k is at most the {latents} latents. Found {self.k}.")
        return SparseAutoencoder(widths, self)


class Coded(NamedTuple):
    """What was read, in the autoencoder's units, its code, and what the code says."""

    inputs: Float[Tensor, "row dim"]
    codes: Float[Tensor, "row latent"]
    rebuilt: Float[Tensor, "row dim"]


class SparseAutoencoder(nn.Module):
    """z = act(W_enc (x - b_pre) + b_enc) and x^ = W_dec z + b_post.

    act is ReLU, or ReLU of the k largest and zero elsewhere. b_post is b_pre unless the
    spec says otherwise. x is the blocks side by side, detached, in the precision of the
    weights, less ``mean`` and over ``std``: buffers, 0 and 1 until ``standardise_by``.
    Rows of ``encoder`` and ``decoder``, ``[latent, dim]``, are latents.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, widths: Sequence[int], spec: SAESpec) -> None:
        super().__init__()
        self.widths, self.spec = tuple(widths), spec
        dim = sum(widths)
        self.latents = spec.expansion * dim
        rows = F.normalize(torch.randn(self.latents, dim), dim=1)
        self.encoder = nn.Parameter(rows)
        self.decoder = None if spec.tied else nn.Parameter(rows.clone())
        self.bias = nn.Parameter(torch.zeros(self.latents))
        self.pre_bias = nn.Parameter(torch.zeros(dim))
        self.post_bias = nn.Parameter(torch.zeros(dim)) if spec.post_bias else None
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def forward(self, blocks: Blocks) -> Coded:
        return self.code(self.standardise(blocks))

    def standardise(self, blocks: Blocks) -> Float[Tensor, "row dim"]:
        """The blocks side by side, detached, in the autoencoder's units.

        Raises ValueError for other widths than it was built for.
        """
        return (self._side_by_side(blocks) - self.mean) / self.std

    def code(self, inputs: Float[Tensor, "row dim"]) -> Coded:
        """What ``forward`` answers to rows that are standardised already."""
        with torch.autocast(inputs.device.type, enabled=False):
            codes = self.encode(inputs)
            return Coded(inputs, codes, self.decode(codes))

    def encode(self, inputs: Float[Tensor, "row dim"]) -> Float[Tensor, "row latent"]:
        # W (x - b) as W x - W b, which spares the gradient of x - b.
        bias = self.bias - self.encoder @ self.pre_bias
        drive = F.linear(inputs, self.encoder, bias)
        if self.spec.activation == "relu":
            return drive.relu()
        most, places = drive.topk(self.spec.k, dim=1)
        return torch.zeros_like(drive).scatter(1, places, most.relu())

    def decode(self, codes: Float[Tensor, "row latent"]) -> Float[Tensor, "row dim"]:
        weight = self.encoder if self.decoder is None else self.decoder
        bias = self.pre_bias if self.post_bias is None else self.post_bias
        return codes @ weight + bias

    @torch.no_grad()
    def standardise_by(self, blocks: Blocks) -> None:
        """Take the means of these rows' columns, and one deviation for each block.

        The deviation is the root of the mean variance of the block's columns, so that
        no expert is louder than another and a column keeps its share of its block. A
        block that does not vary, but for rounding, is not divided.
        """
        rows, strays = self._side_by_side(blocks), []
        self.mean.copy_(rows.mean(0))
        for block, mean in zip(
            torch.split(rows, list(self.widths), dim=1),
            torch.split(self.mean, list(self.widths)),
            strict=True,
        ):
            stray = (block - mean).square().mean().sqrt()
            still = stray <= ROUNDING * block.abs().max()
            strays.append(stray.masked_fill(still, 1.0).expand(len(mean)))
        self.std.copy_(torch.cat(strays))

    @property
    def directions(self) -> Float[Tensor, "latent dim"]:
        """What each latent adds to x^, as a vector of length one."""
        weight = self.encoder if self.decoder is None else self.decoder
        return F.normalize(weight.detach(), dim=1)

    @torch.no_grad()
    def hold_norms(self) -> None:
        """Before a step: take from the decoder's gradient what would only stretch it.

        Together with ``restore_norms`` after the step it closes the way around the
        penalty, z / c with c W_dec. Of tied weights nothing is held.
        """
        if self.decoder is not None and self.decoder.grad is not None:
            unit = F.normalize(self.decoder, dim=1)
            along = (self.decoder.grad * unit).sum(1, keepdim=True)
            self.decoder.grad -= along * unit

    @torch.no_grad()
    def restore_norms(self) -> None:
        """After a step: the decoder's rows have length one again."""
        if self.decoder is not None:
            self.decoder.copy_(F.normalize(self.decoder, dim=1))

    def _side_by_side(self, blocks: Blocks) -> Tensor:
        parts = [blocks] if isinstance(blocks, Tensor) else list(blocks)
        found = tuple(part.shape[1] for part in parts)
        if sum(found) != sum(self.widths) or (len(found) > 1 and found != self.widths):
            raise ValueError(f"Expected blocks of widths {self.widths}. Found {found}.")
        return torch.cat([part.detach().to(self.encoder.dtype) for part in parts], 1)


def sae_loss(coded: Coded, l1: float | Tensor = 0.0) -> Float[Tensor, ""]:
    """mean_b [sum_d (x - x^)^2 + l1 sum_i ``|z_i|``]: columns summed, rows averaged."""
    error = (coded.inputs - coded.rebuilt).square().sum(1).mean()
    return error + l1 * coded.codes.abs().sum(1).mean()
