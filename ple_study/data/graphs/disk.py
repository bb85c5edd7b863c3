"""A tree laid into the Poincare disk: the root at the centre, every level further out.

The disk is the Poincare ball of Nickel and Kiela (2017) in two dimensions. The layout
is computed and not learned, so it is the same each time.
"""

import numpy as np
from jaxtyping import Complex, Float, Int, Shaped

STEP = 1.6  # hyperbolic distance from a node to its parent, seen from the centre
INSIDE = 1 - 1e-9  # of the disk, whose rim is no place


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
