"""PersLay's special cases, and statistics of diagrams, against gudhi.

Gudhi's landscape and silhouette carry a factor of sqrt(2) over the tent of PersLay, and
its persistence image the normalisation 1 / (2 pi s^2).
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from gudhi.representations import Entropy, Landscape, PersistenceImage, Silhouette
from torch import Tensor

from ple_study.batch import Diagrams
from ple_study.experts.perslay.statistics import moves, summary
from ple_study.experts.perslay.transforms import gaussian, pool, triangle
from tests.sizes import BATCH

POINTS, GRID = 11, 7


def diagrams() -> Diagrams:
    """Of one homology, with holes; in float64."""
    draw = torch.Generator().manual_seed(0)
    birth, life = torch.rand(2, BATCH, POINTS, generator=draw, dtype=torch.float64)
    mask = torch.rand(BATCH, POINTS, generator=draw) < 0.7
    points = torch.stack([birth, birth + life, torch.zeros_like(birth)], 2)
    return Diagrams(points, mask)


def bars(found: Diagrams) -> list[np.ndarray]:
    pairs = zip(found.points, found.mask, strict=True)
    return [points[mask, :2].numpy() for points, mask in pairs]


def placed(found: Diagrams) -> Tensor:
    """(birth, persistence)."""
    birth, death, _ = found.points.unbind(2)
    return torch.stack([birth, death - birth], 2)


@pytest.mark.parametrize("power", [0, 1, 2])
def test_gaussians_on_a_grid_are_a_persistence_image(power: int) -> None:
    found, width, edges = diagrams(), 0.15, [-0.1, 1.2, 0.0, 1.1]
    image = PersistenceImage(
        bandwidth=width,
        weight=lambda point: point[1] ** power,
        resolution=[GRID, 5],
        im_range=edges,
    )
    wanted = torch.from_numpy(image.fit_transform(bars(found)))
    birth = torch.linspace(*edges[:2], GRID, dtype=torch.float64)
    life = torch.linspace(*edges[2:], 5, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(life, birth, indexing="ij")[::-1], -1)
    centres = grid.flatten(0, 1)
    log_widths = torch.full((len(centres),), math.log(width), dtype=torch.float64)
    points = placed(found)
    values = points[..., 1:] ** power * gaussian(points, centres, log_widths)
    ours = pool(values, found.mask, "sum") / (2 * math.pi * width**2)
    torch.testing.assert_close(ours, wanted, atol=1e-12, rtol=0)


def samples(at: Tensor) -> tuple[Tensor, Tensor]:
    """Template functions at these places, of slope one."""
    return torch.stack([at, torch.zeros_like(at)], 1), torch.zeros_like(at)


def test_the_greatest_triangle_is_a_landscape() -> None:
    found = diagrams()
    made = Landscape(
        num_landscapes=1, resolution=GRID, sample_range=[0, 2], keep_endpoints=True
    )
    wanted = torch.from_numpy(made.fit_transform(bars(found)))
    at = torch.linspace(0, 2, GRID, dtype=torch.float64)
    values = triangle(placed(found), *samples(at))
    ours = math.sqrt(2) * pool(values, found.mask, "max")
    torch.testing.assert_close(ours, wanted, atol=1e-12, rtol=0)
    assert wanted.any()


def test_the_weighed_triangles_are_a_silhouette() -> None:
    found = diagrams()
    made = Silhouette(
        weight=lambda point: (point[1] - point[0]) ** 2,
        resolution=GRID,
        sample_range=[0, 2],
        keep_endpoints=True,
    )
    wanted = torch.from_numpy(made.fit_transform(bars(found)))
    at, points = torch.linspace(0, 2, GRID, dtype=torch.float64), placed(found)
    weights = points[..., 1:] ** 2
    total = pool(weights * triangle(points, *samples(at)), found.mask, "sum")
    ours = math.sqrt(2) * total / pool(weights, found.mask, "sum")
    torch.testing.assert_close(ours, wanted, atol=1e-12, rtol=0)


def test_entropy_and_statistics_of_lives() -> None:
    found = diagrams()
    ours = summary(found, (0,))
    wanted = Entropy(mode="scalar", normalized=False).fit_transform(bars(found))
    np.testing.assert_allclose(ours[:, :1].numpy(), wanted, atol=1e-12)
    for row, rows in enumerate(bars(found)):
        life = rows[:, 1] - rows[:, 0]
        plain = [f(life) for f in (np.mean, np.std, np.min, np.max, np.median)]
        np.testing.assert_allclose(ours[row, 1:].numpy(), plain, atol=1e-12)


def test_moves_sum_to_the_wasserstein_distance() -> None:
    pytest.importorskip("ot")
    from gudhi.wasserstein import wasserstein_distance

    each = bars(diagrams())
    pairs = [*pairwise(each), (each[0], each[0][:0])]
    for one, other in pairs:
        wanted = wasserstein_distance(one, other, order=1, internal_p=np.inf)
        assert moves(one, other).sum() == pytest.approx(wanted, abs=1e-12)
