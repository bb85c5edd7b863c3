"""One block of PersLay, and that it starts where the training points are."""

import pytest
import torch

from ple_study.batch import Diagrams
from ple_study.experts.perslay.blocks import Block, calibrate
from tests.customers import customers


def drawn(size: float = 1.0) -> Diagrams:
    """Fifty customers of 20 points, of two homologies, all of them ``size`` large."""
    draw = torch.Generator().manual_seed(0)
    birth, life = size * torch.rand(2, 50, 20, generator=draw)
    kind = (torch.arange(20) % 2).expand(50, -1)
    mask = torch.rand(50, 20, generator=draw) < 0.9
    return Diagrams(torch.stack([birth, birth + life, kind], 2), mask)


def test_a_block_sees_its_own_points_as_birth_and_persistence() -> None:
    batch, block = customers(), Block("long", 1)
    found = batch.diagrams["long"]
    there = found.mask & (found.points[..., 2] == 1)
    assert torch.equal(block.mask(batch), there)
    birth, death, _ = found.points[there].unbind(1)
    wanted = torch.stack([birth, death - birth], 1)
    torch.testing.assert_close(block.points(batch)[there], wanted)
    assert not block.points(batch)[~there].any()


def test_a_power_and_a_learned_weight_weigh() -> None:
    batch = customers()
    blocks = {w: Block("long", 0, 5, weight=w) for w in (0.0, 1.0, 2.0, "learned")}
    for block in blocks.values():
        block.load_state_dict(blocks[0.0].state_dict(), strict=False)
    points, mask = blocks[0.0].points(batch), blocks[0.0].mask(batch)
    values = blocks[0.0].transform(points, blocks[0.0].places, blocks[0.0].sizes)
    for name, block in blocks.items():
        weight = block.weigh(points) if name == "learned" else points[..., 1:] ** name
        assert (weight[mask] > 0).all()
        wanted = (weight * values * mask[..., None]).sum(1)
        torch.testing.assert_close(block.pooled(batch), wanted)


@pytest.mark.parametrize("transform", ["gaussian", "rational_hat", "triangle", "tent"])
def test_it_starts_at_training_points_of_any_size(transform: str) -> None:
    small, large = Block("long", 1, 6, transform), Block("long", 1, 6, transform)
    calibrate(small, drawn(), seed=3)
    calibrate(large, drawn(1000.0), seed=3)
    for name in ("places", "sizes"):
        torch.testing.assert_close(getattr(small, name), getattr(large, name))
    points = drawn()
    points = points.points[points.mask & (points.points[..., 2] == 1)]
    own = torch.stack([points[:, 0], points[:, 1] - points[:, 0]], 1)
    torch.testing.assert_close(small.unit, own[:, 1].mean())
    torch.testing.assert_close(large.unit, 1000 * small.unit)
    centres = small.places.detach() * small.unit
    nearest = torch.cdist(centres.double(), own.double()).min(1)
    assert (nearest.values < 1e-5).all()
    assert nearest.indices.unique().numel() == 6
    calibrate(large, drawn(1000.0), seed=4)
    assert not torch.equal(small.places, large.places)


def test_the_unit_is_one_for_all_and_is_saved() -> None:
    block = Block("long", 1, 6)
    calibrate(block, drawn(2.0))
    assert "unit" in block.state_dict()
    one = Diagrams(drawn().points[:1], drawn().mask[:1])
    twice = Diagrams(one.points * torch.tensor([2.0, 2.0, 1.0]), one.mask)
    pooled = []
    for diagrams in (one, twice):
        batch = customers(1)
        batch.diagrams["long"] = diagrams  # type: ignore[index]
        pooled.append(block.points(batch))
    torch.testing.assert_close(pooled[1], 2 * pooled[0])


def test_points_that_do_not_live_are_passed_over() -> None:
    points, mask = drawn().points.clone(), drawn().mask
    points[0, :2, 1] = torch.tensor([torch.nan, torch.inf])
    points[1, :, 1] = points[1, :, 0]
    for centres in (1, 6):
        block = Block("long", 1, centres)
        calibrate(block, Diagrams(points, mask))
        assert all(p.isfinite().all() for p in block.parameters())
        assert 0 < block.unit < torch.inf


def test_lines_keep_their_normals_and_too_few_points_are_refused() -> None:
    block = Block("long", 1, 6, "line")
    before = block.places.clone()
    calibrate(block, drawn())
    assert torch.equal(block.places, before)
    assert block.unit != 1
    few = Diagrams(drawn().points[:1, :4], drawn().mask[:1, :4])
    with pytest.raises(ValueError, match=r"6 centres.*Found 2 of H1 in 'long'"):
        calibrate(block, few)
