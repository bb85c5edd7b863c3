"""A tree in the Poincare disk: the root at the centre, every level further out.

The disk is the Poincare ball of Nickel and Kiela (2017) in two dimensions. The layout
is computed and not learnt, so that a figure is the same each time.
"""

import numpy as np
from jaxtyping import Bool, Complex, Float, Int, Shaped
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Circle

from ple_study.plots import GREY, INK

STEP = 1.6  # hyperbolic distance from a node to its parent, seen from the centre
INSIDE = 1 - 1e-9  # of the disk, whose rim is no place
NEAR = 1e-12  # points nearer than that are one
PIECES = 8  # straight ones that stand for a geodesic


def places(parent: Int[np.ndarray, " node"]) -> Complex[np.ndarray, " node"]:
    """Where each node of a tree lies in the Poincare disk; the root is the origin.

    parent: as ``Tree.parent``, -1 for the root, parents before their children. Leaves
    share the circle evenly, in order, a child within its parent's part; a node looks to
    the middle of its leaves, ``STEP`` times its depth from the root in the hyperbolic
    distance ``2 artanh r``.

    Raises ValueError where a node does not stand after its parent.
    """
    number = np.arange(len(parent))
    below = (parent >= 0) & (parent < number)
    if len(parent) == 0 or parent[0] != -1 or not below[1:].all():
        raise ValueError(
            "Parents must stand before their children, the root first with -1. Found "
            f"{parent[:10].tolist()}."
        )
    leaves = upward(parent, ~np.isin(number, parent))
    first, filled = np.zeros(len(parent)), np.zeros(len(parent))
    for node in number[1:]:
        above = parent[node]
        first[node] = first[above] + filled[above]
        filled[above] += leaves[node]
    turn = 2 * np.pi * (first + leaves / 2) / leaves[0]
    found: Complex[np.ndarray, " node"]
    radius = np.minimum(np.tanh(STEP * levels(parent) / 2), INSIDE)
    found = radius * np.exp(1j * turn)
    return found


def levels(parent: Int[np.ndarray, " node"]) -> Int[np.ndarray, " node"]:
    """Steps from the root, whose level is 0."""
    depth = np.zeros(len(parent), dtype=np.int64)
    for node in range(1, len(parent)):
        depth[node] = depth[parent[node]] + 1
    return depth


def upward(
    parent: Int[np.ndarray, " node"], values: Shaped[np.ndarray, " node"]
) -> Float[np.ndarray, " node"]:
    """The sum of the values at and below each node."""
    total = values.astype(np.float64)
    for node in range(len(parent) - 1, 0, -1):
        total[parent[node]] += total[node]
    return total


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
