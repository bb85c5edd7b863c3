"""How well a sparse autoencoder does on rows that it was not fitted to.

``report(sae, output.experts)``; ``seed_match(sae, other)`` for two seeds.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ple_study.fitted import CHUNK
from ple_study.interpret.sae.autoencoder import Blocks, SparseAutoencoder

DENSE = 0.1  # a latent that is on for more of the rows tells few of them apart


@dataclass(frozen=True, kw_only=True)
class SAEReport:
    """explained_variance: 1 - sum ``|x - x^|^2`` / sum ``|x - mean x|^2``.

    mean_l0: latents that are on, a row. dead_share: latents that no row turns on;
    dense_share: latents that more than a tenth of the rows turn on.
    """

    explained_variance: float
    mean_l0: float
    dead_share: float
    dense_share: float


@torch.no_grad()
def report(sae: SparseAutoencoder, blocks: Blocks) -> SAEReport:
    """What the autoencoder makes of these rows, in its own units.

    Raises ValueError for other widths than it was built for and for less than two rows.
    """
    inputs = sae.standardise(blocks)
    if len(inputs) < 2:
        raise ValueError(f"A report needs two rows or more. Found {len(inputs)}.")
    error = inputs.new_zeros((), dtype=torch.float64)
    counts = inputs.new_zeros(sae.latents, dtype=torch.long)
    for coded in map(sae.code, torch.split(inputs, CHUNK)):
        error += (coded.inputs - coded.rebuilt).square().sum(dtype=torch.float64)
        counts += (coded.codes > 0).sum(0)
    spread = (inputs - inputs.mean(0)).square().sum(dtype=torch.float64)
    density = counts.double() / len(inputs)
    return SAEReport(
        explained_variance=float(1 - error / spread),
        mean_l0=float(density.sum()),
        dead_share=float((counts == 0).double().mean()),
        dense_share=float((density > DENSE).double().mean()),
    )


def max_cosines(
    these: Float[Tensor, "one dim"], those: Float[Tensor, "other dim"]
) -> Float[Tensor, " one"]:
    """max_j cos(these_i, those_j): the nearest direction's cosine; -d is not d."""
    cosines = F.normalize(these, dim=1) @ F.normalize(those, dim=1).T
    return cosines.amax(1)


def seed_match(one: SparseAutoencoder, other: SparseAutoencoder) -> float:
    """The mean of ``max_cosines`` of ``one``'s latents in ``other``.

    Both from the same rows, whose units they then share. All latents count, also dead
    ones: for a part of them, index ``directions`` and take ``max_cosines``.
    """
    return float(max_cosines(one.directions, other.directions).mean())
