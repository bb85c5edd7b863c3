"""A picture of a tree in the Poincare disk, and of where one customer went in it.

Where its nodes lie is computed in ``data.graphs.disk``.
"""

import numpy as np
from jaxtyping import Bool, Complex, Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Circle

from ple_study.data.graphs.disk import levels, places, upward
from ple_study.plots import GREY, INK

NEAR = 1e-12  # points nearer than that are one
PIECES = 8  # straight ones that stand for a geodesic


def geodesic(
    start: Complex[np.ndarray, " edge"], end: Complex[np.ndarray, " edge"]
) -> Complex[np.ndarray, "edge piece"]:
    """Points on the shortest way between two points of the disk, both ends included.

    The isometry ``z -> (z + a) / (1 + conj(a) z)`` carries 0 to a, and ways from 0 are
    straight.
    """
    a, b = start[:, None], end[:, None]
    seen = (b - a) / (1 - a.conj() * b)
    far = np.abs(seen)
    part = np.tanh(np.linspace(0, 1, PIECES + 1) * np.arctanh(far))
    way = part * np.divide(seen, far, out=np.zeros_like(seen), where=far > NEAR)
    points: Complex[np.ndarray, "edge piece"] = (way + a) / (1 + a.conj() * way)
    return points


def disk(
    axes: Axes,
    parent: Int[np.ndarray, " node"],
    visits: Float[np.ndarray, " node"],
    *,
    colour: str,
    skeleton: int = 2,
    largest: float = 60.0,
) -> None:
    """A tree in the Poincare disk, and in colour where one customer went.

    visits: how often, at each node. A dot's area grows with it, and a way from the root
    is as thick as it is often taken. Other nodes show down to depth ``skeleton``.
    """
    place, depth = places(parent), levels(parent)
    through = upward(parent, visits)
    axes.add_patch(Circle((0, 0), 1, fill=False, ec=GREY, lw=0.8))
    known, taken = (depth > 0) & (depth <= skeleton), (depth > 0) & (through > 0)
    _edges(axes, place, parent, known, GREY, np.full(len(parent), 0.35))
    _edges(axes, place, parent, taken, colour, 0.5 + 2.5 * through / max(through[0], 1))
    at, often = place[visits > 0], visits[visits > 0]
    area = 3 + largest * often / often.max(initial=1.0)
    axes.scatter(at.real, at.imag, area, color=colour, alpha=0.7, lw=0, zorder=3)
    axes.plot(0, 0, "o", color=INK, ms=3.5, zorder=4)
    axes.set(xlim=(-1.03, 1.03), ylim=(-1.03, 1.03), aspect="equal")
    axes.axis("off")


def _edges(
    axes: Axes,
    place: Complex[np.ndarray, " node"],
    parent: Int[np.ndarray, " node"],
    shown: Bool[np.ndarray, " node"],
    colour: str,
    width: Float[np.ndarray, " node"],
) -> None:
    way = geodesic(place[parent[shown]], place[shown])
    lines = list(np.stack([way.real, way.imag], 2))
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=width[shown]))
