"""Persistence diagrams of many customers' clouds, padded to one size with a mask.

Births and deaths are distances: of a Rips simplex the diameter, of an alpha simplex
twice the radius. H0 is then the same in both, the edges of the minimum spanning tree,
and H0 alone is computed from that. H1 and H2 are not the same: Rips fills a triangle
as soon as its edges are there, alpha only once balls around its corners cover it. So
one study keeps to one complex, and ``auto`` never looks at a customer to choose it.

The one part that never dies can be capped. The cap is the cloud's largest pairwise
distance under alpha too, whose largest value says nothing: it is the circle around a
Delaunay triangle, which may be as flat as it likes.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from ple_study.batch import Diagrams
from ple_study.data.diagrams.clouds import Clouds, stratified
from ple_study.data.diagrams.homology import (
    Complex,
    alpha,
    diagram,
    rips,
    spanning_tree,
)
from ple_study.names import one_of

HOMOLOGY = (0, 1, 2)
# Beyond, a Delaunay triangulation soon costs more than Rips.
ALPHA_COORDINATES = 3

ComplexName = Literal["auto", "alpha", "rips"]
Essential = Literal["drop", "cap"]


@dataclass(frozen=True, kw_only=True)
class Persistence:
    """Settings of the diagrams of event clouds, in homology with coefficients in Z/2.

    dimensions: which homology: 0 counts parts, 1 loops, 2 voids.
    size: points kept a customer, the longest-lived first, of all dimensions together;
    parts mostly outlive loops, so that a small size may leave no loop.
    events: a customer's events at most; of more, ``stratified`` draws by ``seed``.
    complex: ``rips`` needs distances only, ``alpha`` a Delaunay triangulation. ``auto``
    takes alpha in two or three coordinates, where it is the cheaper for a year of
    events, and Rips in any other number, or where alpha has no such homology.
    essential: ``drop`` leaves out the part that never dies, ``cap`` lets it die at the
    largest pairwise distance.

    A point of no persistence that float32 could show is dropped, so that no event, one
    event, or one again and again has an empty mask. Raises ValueError for bad settings.
    """

    dimensions: tuple[int, ...] = (0, 1)
    size: int = 200
    events: int = 1000
    complex: ComplexName = "auto"
    essential: Essential = "drop"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "dimensions", tuple(self.dimensions))
        _check_dimensions(self.dimensions)
        one_of("Complex", self.complex, get_args(ComplexName))
        one_of("Essential", self.essential, get_args(Essential))
        _at_least("size", self.size, 1)
        _at_least("events", self.events, 1)
        _at_least("seed", self.seed, 0)

    def diagrams(self, clouds: Clouds, workers: int = 1) -> Diagrams:
        """One diagram a customer, float32; the same for any number of ``workers``.

        Workers are threads, as gudhi lets go of the interpreter. Raises ValueError for
        alpha where the clouds have too few coordinates.
        """
        _at_least("workers", workers, 1)
        by = chosen(self.complex, self.dimensions, clouds.points.shape[1])
        points = torch.zeros(len(clouds), self.size, 3)
        mask = torch.zeros(len(clouds), self.size, dtype=torch.bool)
        cap = self.essential == "cap"

        def fill(customer: int) -> None:
            cloud = clouds.of(customer)
            kept = cloud[stratified(len(cloud), self.events, self.seed)]
            rows = diagram(kept, self.dimensions, by, cap)[: self.size]
            points[customer, : len(rows)] = torch.from_numpy(rows)
            mask[customer, : len(rows)] = True

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(fill, range(len(clouds))))
        return Diagrams(points, mask)


def chosen(name: ComplexName, dimensions: tuple[int, ...], coordinates: int) -> Complex:
    """The complex that answers for clouds with so many coordinates."""
    highest = max(dimensions)
    if name == "alpha" and highest >= coordinates:
        raise ValueError(
            f"Alpha in {coordinates} coordinates has homology below {coordinates} "
            f"alone. Found dimensions {dimensions}."
        )
    if highest == 0:
        return spanning_tree
    cheap = highest < coordinates <= ALPHA_COORDINATES
    return alpha if name == "alpha" or (name == "auto" and cheap) else rips


def _check_dimensions(dimensions: tuple[int, ...]) -> None:
    wrong = set(dimensions) - set(HOMOLOGY)
    if not dimensions or wrong or len(set(dimensions)) < len(dimensions):
        raise ValueError(
            f"Dimensions must be some of {HOMOLOGY}, each once. Found {dimensions}."
        )


def _at_least(what: str, found: int, least: int) -> None:
    if found < least:
        raise ValueError(f"{what} must be {least} or more. Found {found}.")
