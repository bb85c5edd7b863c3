"""The PersLay expert: laws of every expert, diagrams in any order, statistics."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ple_study.batch import Batch, Diagrams
from ple_study.data.world import Bank, inputs
from ple_study.experts.perslay.blocks import Block
from ple_study.experts.perslay.expert import PersLay, PersLaySpec
from ple_study.inputs import Vector
from ple_study.schema import Schema
from tests.customers import SCHEMA, customers
from tests.experts.specs import PERSLAY as SPECS
from tests.laws import double
from tests.sizes import BATCH

SPEC = SPECS["gaussian"]
each = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
of_points = pytest.mark.parametrize(
    "spec", list(SPECS.values())[:6], ids=list(SPECS)[:6]
)


def built(spec: PersLaySpec = SPEC, seed: int = 0) -> PersLay:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return spec.build(SCHEMA).eval()


def changed(batch: Batch, change: Callable[[Diagrams], Diagrams]) -> Batch:
    """The batch with every diagram changed."""
    return replace(batch, diagrams={k: change(d) for k, d in batch.diagrams.items()})


@of_points
def test_points_have_no_order(spec: PersLaySpec) -> None:
    expert, batch = built(spec).double(), double(customers())
    draw = torch.Generator().manual_seed(0)

    def shuffled(diagrams: Diagrams) -> Diagrams:
        order = torch.randperm(diagrams.mask.shape[1], generator=draw)
        return Diagrams(diagrams.points[:, order], diagrams.mask[:, order])

    moved = expert(changed(batch, shuffled))
    torch.testing.assert_close(moved, expert(batch), atol=1e-12, rtol=1e-12)


@of_points
@pytest.mark.parametrize("content", [0.0, 7.0, torch.nan])
def test_padding_changes_nothing_whatever_it_holds(
    spec: PersLaySpec, content: float
) -> None:
    expert, batch = built(spec).double(), double(customers())

    def padded(diagrams: Diagrams) -> Diagrams:
        more = diagrams.points.new_full((BATCH, 3, 3), content)
        mask = torch.zeros(BATCH, 3, dtype=torch.bool)
        points = diagrams.points.masked_fill(~diagrams.mask[..., None], content)
        return Diagrams(
            torch.cat([more, points], 1), torch.cat([mask, diagrams.mask], 1)
        )

    wide = changed(batch, padded)
    torch.testing.assert_close(expert(wide), expert(batch), atol=1e-12, rtol=1e-12)
    expert(wide).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in expert.parameters())


@each
def test_who_is_absent_is_finite_and_moves_nobody(spec: PersLaySpec) -> None:
    expert, batch = built(spec), customers()
    assert expert.present(batch).tolist() == [i != 1 for i in range(BATCH)]
    answer = expert(batch)
    assert answer.isfinite().all()
    others = torch.tensor([0, 2, 3, 4])
    torch.testing.assert_close(expert(batch.rows(others)), answer[others])
    nobody = changed(batch, lambda d: Diagrams(d.points, d.mask & False))
    expert(nobody).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in expert.parameters())


def test_who_has_only_points_of_other_homologies_is_absent() -> None:
    expert = built(replace(SPEC, blocks=(("short", 1),)))

    def parts(diagrams: Diagrams) -> Diagrams:
        keep = diagrams.mask & (diagrams.points[..., 2] != 1)
        keep[3] = diagrams.mask[3]
        return Diagrams(diagrams.points, keep)

    seen = expert.present(changed(customers(), parts))
    assert seen.tolist() == [i == 3 for i in range(BATCH)]


def test_each_block_reads_its_own_homology_of_its_own_diagram() -> None:
    batch = customers()
    for place, (name, kind) in enumerate(PersLaySpec().blocks):
        blocks = built(replace(SPEC, blocks=PersLaySpec().blocks)).blocks

        def moved(diagrams: Diagrams, kind: int = kind) -> Diagrams:
            points = diagrams.points.clone()
            points[..., 1] += 1.0 * (points[..., 2] == kind)
            return Diagrams(points, diagrams.mask)

        other = dict(batch.diagrams) | {name: moved(batch.diagrams[name])}
        other = replace(batch, diagrams=other)
        differ = [not torch.equal(block(batch), block(other)) for block in blocks]
        assert differ == [i == place for i in range(5)]


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e6])
@of_points
def test_extreme_diagrams_are_answered(spec: PersLaySpec, scale: float) -> None:
    expert = built(spec)
    size = torch.tensor([scale, scale, 1.0])
    batch = changed(customers(), lambda d: Diagrams(d.points * size, d.mask))
    answer = expert(batch)
    answer.square().sum().backward()
    assert answer.isfinite().all()
    assert all(p.grad.isfinite().all() for p in expert.parameters())


def test_calibration_reaches_every_block() -> None:
    expert, batch = built(), customers(40)
    expert.calibrate(batch.diagrams, seed=1)
    units = [float(block.unit) for block in expert.blocks]
    assert len(set(units)) == 5
    assert 1.0 not in units


def test_the_small_bank_has_points_for_every_block() -> None:
    bank = Bank(10, size="small")
    diagrams = inputs.diagrams(
        bank.widths, bank.training().logs, inputs.scales(bank.training())
    )
    expert = PersLaySpec().build(bank.schema)
    expert.calibrate(diagrams)
    assert len({float(block.unit) for block in expert.blocks}) == 5


def test_the_constructor_needs_no_schema() -> None:
    expert = PersLay([Block("long", 0, 4)], 6, Vector(name="hierarchy", dim=6)).eval()
    assert expert(customers()).shape == (BATCH, 6)
    with pytest.raises(ValueError, match="one block or statistics"):
        PersLay([])


@pytest.mark.plain
def test_it_compiles_and_exports() -> None:
    """With every transform, weight and pooling, beside statistics."""
    blocks = [
        Block("short", 0, 4, "gaussian", 1.0, "sum"),
        Block("short", 1, 4, "rational_hat", "learned", "mean"),
        Block("long", 0, 4, "line", 0.5, "max"),
        Block("long", 1, 4, "triangle"),
        Block("long", 2, 4, "tent"),
    ]
    expert = PersLay(blocks, 8, Vector(name="graph", dim=7)).eval()
    batch = customers()
    wanted: Tensor = expert(batch)
    compiled = torch.compile(expert, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(batch), wanted, atol=1e-5, rtol=1e-5)
    exported = torch.export.export(expert, (batch,)).module()
    torch.testing.assert_close(exported(batch), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.plain  # so that the spec speaks, and not the type checker
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"transform": "gausian"}, "Transform must be.*'gausian'.*gaussian"),
        ({"how": "median"}, "Pooling must be.*'median'"),
        ({"weight": -1.0}, "a power, zero or more.*-1"),
        ({"weight": "learnt"}, "or 'learned'.*'learnt'"),
        ({"blocks": (("long", 0), ("long", 0))}, "Blocks must be unique"),
        ({"blocks": ()}, "a block or statistics"),
        ({"blocks": ("short",)}, "name and one of"),
        ({"blocks": (("short", "H0"),)}, r"one of \(0, 1, 2\).*'H0'"),
        ({"centres": 0}, "centres >= 1.*centres=0"),
        ({"dropout": -0.1}, "Dropout must lie"),
    ],
)
def test_bad_settings_are_named(bad: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PersLaySpec(**bad)  # type: ignore[arg-type]


def test_unknown_diagrams_and_vectors_are_named() -> None:
    with pytest.raises(ValueError, match=r"diagram 'lang'.*\['short', 'long'\].*long"):
        PersLaySpec(blocks=(("lang", 0),)).build(SCHEMA)
    with pytest.raises(ValueError, match=r"vector 'graf'.*graph"):
        PersLaySpec(statistics="graf").build(SCHEMA)
    with pytest.raises(ValueError, match=r"diagram 'short'.*has \[\]"):
        PersLaySpec().build(Schema(features=SCHEMA.features, tasks=SCHEMA.tasks))
