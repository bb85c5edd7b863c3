"""One homology of one diagram as a vector: a block of PersLay, and where it starts."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from ple_study.batch import Batch, Diagrams
from ple_study.experts.perslay.transforms import (
    TRANSFORMS,
    PoolName,
    TransformName,
    pool,
)

Weight = float | Literal["learned"]
BLOCK, WEIGHER = 64, 16  # widths: of the answer, inside a learned weight
ENOUGH = 100_000  # training points that are looked at


class Block(nn.Module):
    """The points of one homology of one diagram, as ``[batch, 64]``.

    silu(A pool_p w(p) phi(p) + a) over p = (birth, persistence) / unit. ``weight`` is
    the power of the persistence, or ``learned``: softplus of a small MLP of p. ``unit``
    is one number for all customers, so that no diagram loses its size. An empty
    diagram pools to zero.
    """

    def __init__(
        self,
        diagram: str,
        homology: int,
        centres: int = 32,
        transform: TransformName = "gaussian",
        weight: Weight = 1.0,
        how: PoolName = "sum",
    ) -> None:
        super().__init__()
        self.diagram, self.homology, self.how = diagram, homology, how
        self.transform, self.power = TRANSFORMS[transform], weight
        # Uniform over the square of two units; of lines, every direction is wanted.
        low = -1.0 if transform == "line" else 0.0
        self.places = nn.Parameter(low + (2.0 - low) * torch.rand(centres, 2))
        self.sizes = nn.Parameter(torch.zeros(centres))
        self.register_buffer("unit", torch.ones(()))
        parts = (nn.Linear(2, WEIGHER), nn.SiLU(), nn.Linear(WEIGHER, 1), nn.Softplus())
        self.weigh = nn.Sequential(*(parts if weight == "learned" else ()))
        self.rho = nn.Linear(centres, BLOCK)

    def mask(self, batch: Batch) -> Bool[Tensor, "batch point"]:
        """Which points of the diagram are real and of this homology."""
        found = batch.diagrams[self.diagram]
        return found.mask & (found.points[..., 2] == self.homology)

    def points(self, batch: Batch) -> Float[Tensor, "batch point 2"]:
        """(birth, persistence) in units; zeros where ``mask`` is false."""
        mask, found = self.mask(batch), batch.diagrams[self.diagram].points
        birth, death = found.masked_fill(~mask[..., None], 0.0)[..., :2].unbind(-1)
        return torch.stack([birth, death - birth], -1) / self.get_buffer("unit")

    def pooled(self, batch: Batch) -> Float[Tensor, "batch feature"]:
        """pool_p w(p) phi(p)."""
        points = self.points(batch)
        values = self.transform(points, self.places, self.sizes)
        if isinstance(self.power, str):
            weights = self.weigh(points)
        else:
            weights = points[..., 1:].abs() ** self.power
        return pool(weights * values, self.mask(batch), self.how)

    def forward(self, batch: Batch) -> Float[Tensor, "batch rho"]:
        return F.silu(self.rho(self.pooled(batch)))


def calibrate(block: Block, diagrams: Diagrams, seed: int = 0) -> None:
    """Start a block where the points of these customers, the training ones, lie.

    unit: the mean persistence of all of them together, so that persistences are about
    one and a diagram that is twice as large still looks so. Centres: points drawn
    without repetition, each as likely as it is long-lived. Sizes: the median
    distance from a centre to the nearest eighth of the others. A block of lines keeps
    its normals. Points that are not finite or do not live are passed over. Raises
    ValueError where there are fewer points than centres.
    """
    points, mask = diagrams.points, diagrams.mask
    points = points[mask & (points[..., 2] == block.homology)].double()
    found = torch.stack([points[:, 0], points[:, 1] - points[:, 0]], 1)
    num = len(block.places)
    found = found[found.isfinite().all(1) & (found[:, 1] > 0)]
    if len(found) < num:
        raise ValueError(
            f"A block of {num} centres starts at {num} training points or more. Found "
            f"{len(found)} of H{block.homology} in {block.diagram!r}."
        )
    unit = found[:, 1].mean()
    found = found[torch.randperm(len(found), generator=_generator(seed))[:ENOUGH]]
    draw = torch.multinomial(found[:, 1], num, generator=_generator(seed))
    centres = found[draw] / unit
    near = torch.cdist(centres, centres).sort(1).values[:, min(1 + num // 8, num - 1)]
    with torch.no_grad():
        block.get_buffer("unit").copy_(unit)
        if block.transform is not TRANSFORMS["line"]:
            block.places.copy_(centres)
        if block.transform not in (TRANSFORMS["line"], TRANSFORMS["triangle"]):
            block.sizes.fill_(float(near.median().clamp_min(1e-3).log()))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
