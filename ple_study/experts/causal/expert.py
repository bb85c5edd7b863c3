"""The causal expert: a customer as a few latent variables that act on each other.

The latent variables are learned, so their graph has no causal meaning of its own: any
rotation of them would do as well. Effects between columns with names are found in
``search`` and acted on in ``sem``. Zheng et al. (2018), "DAGs with NO TEARS".
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ple_study.batch import Batch
from ple_study.experts.base import Columns, Ending, Expert, ExpertSpec
from ple_study.experts.causal.dag import Effects, exponential, truncated
from ple_study.names import one_of
from ple_study.schema import Schema

Fix = Literal["none", "source", "stable"]


class Weights(NamedTuple):
    """What each part of the penalty weighs."""

    acyclicity: float
    sparsity: float
    reconstruction: float


class Start(NamedTuple):
    """How a form begins: deviation of an effect, and the weights of its penalty."""

    scale: float
    weights: Weights


STARTS: dict[Fix, Start] = {
    "none": Start(0.01, Weights(0.01, 0.001, 0.0)),
    "source": Start(0.1, Weights(0.01, 0.001, 0.5)),
    "stable": Start(0.1, Weights(1.0, 0.001, 1.0)),
}


class Mechanism(nn.Module):
    """Effects of latent variables on each other: z -> z + z W, and what W must be.

    Entry [i, j] of W is the effect of i on j. A linear layer behind it could do what
    I + W does; only the charge makes W say how latents go together.

    ``stable``: W has signs and no diagonal. It is charged for cycles by tr exp(W o W) -
    d, for its absolute sum, and for the mean of ``|u - u W|^2``, with u the latents in
    units of the batch and detached: to shrink a latent is then no way out.
    ``source`` and ``none``: the effects are W o W, which cannot be negative, and the
    charges are the series of ten terms, the sum of squares and the mean of
    ``|z - z (W o W)|^2`` with a gradient to z. W = 0 is a stationary point of every
    term: beside a task that reads z as well, W decays to it, and in ``source`` z with
    it.
    """

    def __init__(self, latents: int, fix: Fix = "stable") -> None:
        super().__init__()
        self.fix = fix
        start = STARTS[fix].scale * torch.randn(latents, latents)
        self.weight = nn.Parameter(start)
        others = 1.0 - torch.eye(latents)
        self.register_buffer("others", others, persistent=False)

    def effects(self) -> Effects:
        if self.fix == "stable":
            return self.weight * self.get_buffer("others")
        return self.weight.square()

    def forward(
        self, z: Float[Tensor, "batch latent"]
    ) -> Float[Tensor, "batch latent"]:
        return z + z @ self.effects()

    def acyclicity(self) -> Float[Tensor, ""]:
        if self.fix == "stable":
            return exponential(self.effects()).to(self.weight.dtype)
        return truncated(self.weight).to(self.weight.dtype)

    def sparsity(self) -> Float[Tensor, ""]:
        if self.fix == "stable":
            return self.effects().abs().sum()
        return self.weight.square().sum()

    def reconstruction(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, ""]:
        """The mean square of what the others' effects leave unexplained of a latent."""
        if self.fix == "stable":
            deviation, mean = torch.std_mean(z.detach(), 0, correction=0)
            z = (z.detach() - mean) / (deviation + 1e-6)
        return (z - z @ self.effects()).square().mean()


class Causal(Expert):
    """Columns squeezed to latent variables that act on each other once, and an encoder.

    [batch, columns] -> hidden -> z [batch, latents] -> z + z W -> hidden ->
    [batch, dim]. ``penalty`` is what W is charged on its own; ``penalty_of`` adds the
    reconstruction of these customers' latents, without which effects would collapse.
    """

    def __init__(
        self,
        columns: Columns,
        dim: int = 64,
        hidden: int = 128,
        latents: int = 32,
        dropout: float = 0.2,
        fix: Fix = "stable",
    ) -> None:
        super().__init__()
        self.dim, self.columns, self.weights = dim, columns, STARTS[fix].weights
        self.squeeze = _layer(columns.dim, hidden)
        self.latent = nn.Linear(hidden, latents)
        self.mechanism = Mechanism(latents, fix)
        self.encoder = _layer(latents, hidden)
        self.ending = Ending(hidden, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: Batch) -> Float[Tensor, "batch {self.dim}"]:
        z = self.latent(self.dropout(self.squeeze(self.columns(batch))))
        return self.ending(self.dropout(self.encoder(self.mechanism(z))))

    def latents(self, batch: Batch) -> Float[Tensor, "batch latent"]:
        """z, without dropout: the noise of dropout is no trait of a customer."""
        return self.latent(self.squeeze(self.columns(batch)))

    def penalty(self) -> Float[Tensor, ""]:
        charge = self.weights.acyclicity * self.mechanism.acyclicity()
        return charge + self.weights.sparsity * self.mechanism.sparsity()

    def penalty_of(self, batch: Batch) -> Float[Tensor, ""]:
        """``penalty``, and the reconstruction of these customers' latents.

        Nothing is kept of a forward: the latents are computed again.
        """
        if not self.weights.reconstruction or not len(batch):
            return self.penalty()
        error = self.mechanism.reconstruction(self.latents(batch))
        return self.penalty() + self.weights.reconstruction * error


def _layer(dim_in: int, dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim_in, dim), nn.LayerNorm(dim), nn.SiLU())


@dataclass(frozen=True, kw_only=True)
class CausalSpec(ExpertSpec):
    """A causal expert on the numeric columns of these groups; of all without.

    ``fix`` is the form: ``stable``, or ``source`` and ``none`` to see effects collapse.
    """

    dim: int = 64
    hidden: int = 128
    latents: int = 32
    dropout: float = 0.2
    fix: Fix = "stable"
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(self.groups))
        one_of("fix", self.fix, get_args(Fix))
        widths = (self.dim, self.hidden, self.latents)
        if min(widths) < 1:
            raise ValueError(f"dim, hidden and latents are 1 or more. Found {widths}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"Dropout must lie in [0, 1). Found {self.dropout}.")

    def build(self, schema: Schema) -> Causal:
        """Raises ValueError for a group that no numeric column is of, and for none."""
        columns = Columns.build(schema, self.groups)
        if not columns.dim:
            raise ValueError("The causal expert reads numeric columns. Found none.")
        return Causal(
            columns, self.dim, self.hidden, self.latents, self.dropout, self.fix
        )
