"""What PersLay does to the points of a diagram: place, transform, weigh, pool.

Carriere, Chazal, Ike, Lacombe, Royer, Umeda (AISTATS 2020), "PersLay", section 3.
Points are (birth, persistence) throughout, persistence = death - birth.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

TransformName = Literal["gaussian", "rational_hat", "line", "triangle", "tent"]
PoolName = Literal["sum", "mean", "max"]
Points = Float[Tensor, "batch point 2"]
Values = Float[Tensor, "batch point feature"]
Transform = Callable[[Points, Tensor, Tensor], Values]


def gaussian(
    points: Points,
    centres: Float[Tensor, "feature 2"],
    log_widths: Float[Tensor, " feature"],
) -> Values:
    """``exp(-|p - c|^2 / 2 s^2)``, s = exp(log_widths): a point of a persistence image.

    Adams et al. (2017) multiply it by 1 / (2 pi s^2), which the next layer can do.
    """
    return torch.exp(-0.5 * _square(points, centres) * torch.exp(-2 * log_widths))


def rational_hat(
    points: Points,
    centres: Float[Tensor, "feature 2"],
    log_radii: Float[Tensor, " feature"],
) -> Values:
    """``1 / (1 + |p - c|) - 1 / (1 + |r - |p - c||)``, r = exp(log_radii).

    Hofer, Kwitt, Niethammer (2019), "Learning representations of persistence
    barcodes", definition 4, with the Euclidean norm and r > 0.
    """
    far = _distance(points, centres)
    return 1 / (1 + far) - 1 / (1 + (log_radii.exp() - far).abs())


def tent(
    points: Points,
    centres: Float[Tensor, "feature 2"],
    log_widths: Float[Tensor, " feature"],
) -> Values:
    """``max(0, 1 - |p - c| / s)``, s = exp(log_widths): a cone.

    What the study's source computes under the name of rational hat. A centre that no
    point is within s of learns nothing.
    """
    return (1 - _distance(points, centres) * torch.exp(-log_widths)).relu()


def line(
    points: Points,
    normals: Float[Tensor, "feature 2"],
    offsets: Float[Tensor, " feature"],
) -> Values:
    """<p, e> + b: how far a point lies beyond a line (PersLay, equation 4)."""
    return points @ normals.T + offsets


def triangle(
    points: Points,
    samples: Float[Tensor, "feature 2"],
    log_slopes: Float[Tensor, " feature"],
) -> Values:
    """``max(0, persistence / 2 - s |t - middle of the bar|)``: a landscape's tent at t.

    t is the first coordinate of ``samples`` plus half the second, the middle of a bar
    as for a point; s = exp(log_slopes), and s = 1 is Bubenik's landscape function
    (2015), whose greatest value over the points is the first landscape.
    """
    birth, persistence = points[..., None, :].unbind(-1)
    start, length = samples.unbind(-1)
    apart = (birth + persistence / 2 - start - length / 2).abs()
    return (persistence / 2 - log_slopes.exp() * apart).relu()


TRANSFORMS: dict[str, Transform] = {
    "gaussian": gaussian,
    "rational_hat": rational_hat,
    "line": line,
    "triangle": triangle,
    "tent": tent,
}


def pool(values: Values, mask: Bool[Tensor, "batch point"], how: PoolName) -> Tensor:
    """The sum, mean or maximum over the points of ``mask``: [batch, feature].

    Zero for a diagram without a point, in whichever way.
    """
    if how == "max":
        found = values.masked_fill(~mask[..., None], -torch.inf).amax(1)
        return found.masked_fill(~mask.any(1, keepdim=True), 0.0)
    # Not einsum with the mask as numbers: padding may hold what is not finite.
    total = values.masked_fill(~mask[..., None], 0.0).sum(1)
    if how == "sum":
        return total
    return total / mask.sum(1, keepdim=True).clamp_min(1)


def _square(points: Points, centres: Tensor) -> Tensor:
    """|p - c|^2, coordinate by coordinate: no [batch, point, feature, 2] is made."""
    birth, persistence = points[..., None, :].unbind(-1)
    return (birth - centres[:, 0]) ** 2 + (persistence - centres[:, 1]) ** 2


def _distance(points: Points, centres: Tensor) -> Tensor:
    """|p - c|, with a gradient of zero, not NaN, at a point that is a centre."""
    square = _square(points, centres)
    there = square == 0
    return square.masked_fill(there, 1.0).sqrt().masked_fill(there, 0.0)
