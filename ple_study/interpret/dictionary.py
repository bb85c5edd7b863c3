"""What a sparse autoencoder's latents stand for, and whether raw neurons say it better.

``dictionary = read_out(sae, output.experts, factors)``, and
``{name: recovered(sign_auc(scores, factors)) for name, scores in
baselines(sae, train, rows).items()}``.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ple_study.interpret.sae.autoencoder import Blocks, SparseAutoencoder

UNITS = 256  # columns ranked at once

AUC = Float[Tensor, "unit factor"]


class Dictionary(NamedTuple):
    """A row a latent.

    density: the share of rows that turn it on. rows: those that turn it on most,
    strongest first; -1 where no more do. shares: of its decoder row's squared norm, by
    expert. auc: as ``sign_auc`` of its code. factor: the one that it tells best, in
    either direction, and how well (``strength``).
    """

    density: Float[Tensor, " unit"]
    rows: Int[Tensor, "unit top"]
    shares: Float[Tensor, "unit block"]
    auc: AUC
    factor: Int[Tensor, " unit"]
    strength: Float[Tensor, " unit"]


@torch.no_grad()
def read_out(
    sae: SparseAutoencoder,
    blocks: Blocks,
    factors: Float[Tensor, "row factor"],
    *,
    top: int = 10,
) -> Dictionary:
    """Read every latent on these rows. Raises ValueError as ``sign_auc`` does.

    Also where there are less than ``top`` rows, or other widths than the autoencoder's.
    """
    codes = sae(blocks).codes
    if not 1 <= top <= len(codes):
        raise ValueError(f"top is 1 or more, at most {len(codes)} rows. Found {top}.")
    auc = sign_auc(codes, factors)
    most = codes.topk(top, dim=0)
    strength, factor = either(auc).max(1)
    return Dictionary(
        density=(codes > 0).double().mean(0),
        rows=most.indices.masked_fill(most.values <= 0, -1).T,
        shares=block_shares(sae),
        auc=auc,
        factor=factor,
        strength=strength,
    )


def block_shares(sae: SparseAutoencoder) -> Float[Tensor, "unit block"]:
    """``|d_e|^2 / |d|^2``: how much of a latent's direction d is in each expert."""
    parts = torch.split(sae.directions, list(sae.widths), dim=1)
    return torch.stack([part.square().sum(1) for part in parts], dim=1)


def sign_auc(
    scores: Float[Tensor, "row unit"], factors: Float[Tensor, "row factor"]
) -> AUC:
    """P(s > s') + P(s = s') / 2 for a row with a factor above zero and one without.

    By average ranks R: (sum of R where positive - n_1 (n_1 + 1) / 2) / (n_1 n_0), so
    that ties are exact (Mann and Whitney 1947). For a rarer event than the sign,
    take its bar from the factor first.

    Raises ValueError for other rows, for what is not finite, and for a factor that is
    above zero in all rows or in none.
    """
    if len(scores) != len(factors):
        raise ValueError(
            "Scores and factors have the same rows. Found "
            f"{len(scores)} and {len(factors)}."
        )
    if not (bool(scores.isfinite().all()) and bool(factors.isfinite().all())):
        raise ValueError("Scores and factors must be finite. Found NaN or infinity.")
    positive = (factors > 0).double()
    ones = positive.sum(0)
    pairs = ones * (len(factors) - ones)
    if not pairs.all():
        alone = (pairs == 0).nonzero()[:, 0].tolist()
        raise ValueError(
            "Every factor needs rows above zero and others. Found one kind alone in "
            f"the factors {alone}."
        )
    ranks = [_ranks(some) @ positive for some in torch.split(scores, UNITS, dim=1)]
    return (torch.cat(ranks) - ones * (ones + 1) / 2) / pairs


def _ranks(scores: Float[Tensor, "row unit"]) -> Float[Tensor, "unit row"]:
    """Ranks from one within each column, the mean of theirs for equal values."""
    values = scores.T.contiguous()
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values)
    upto = torch.searchsorted(ordered, values, right=True)
    return (below + upto + 1).double() / 2


def either(auc: AUC) -> AUC:
    """max(AUC, 1 - AUC): a unit may be high where a factor is low."""
    return torch.maximum(auc, 1 - auc)


def recovered(auc: AUC, bar: float = 0.9) -> float:
    """The share of factors that some unit tells, in either direction, at ``bar``.

    The same for latents, components and neurons, although only the latter two have no
    sign of their own. A code of zeros and positives that is on for a share p of a
    factor's positive rows has an AUC of at most (1 + p) / 2 for it: a sparse latent,
    however pure, tells no sign that half of the rows have.
    """
    return float((either(auc).amax(0) >= bar).double().mean())


@torch.no_grad()
def baselines(
    sae: SparseAutoencoder, train: Blocks, rows: Blocks
) -> dict[str, Float[Tensor, "row dim"]]:
    """Scores of ``rows`` to compare a code with: "pca" and "neurons".

    Both in the autoencoder's units; as many components as dimensions, those of the
    rows in ``train``, the largest first.
    """
    inputs = sae.standardise(rows)
    components = principal(sae.standardise(train))
    return {"pca": inputs @ components.T, "neurons": inputs}


def principal(inputs: Float[Tensor, "row dim"]) -> Float[Tensor, "dim dim"]:
    """The covariance's eigenvectors, one a row, that of the largest variance first."""
    _, vectors = torch.linalg.eigh(inputs.T.cov())
    return vectors.T.flip(0)
