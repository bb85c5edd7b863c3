"""The temporal expert: the laws of an expert, and a spec that says what it reads."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ple_study.batch import Batch, Events
from ple_study.experts.temporal import streams
from ple_study.experts.temporal.expert import TemporalExpert, TemporalSpec
from ple_study.experts.temporal.fusion import entropy_bits
from ple_study.schema import Feature, Schema, Sequence, TaskSpec
from tests.customers import SCHEMA, customers
from tests.experts.specs import TEMPORAL as SPECS
from tests.laws import double
from tests.sizes import BATCH, DIMS

SPEC = SPECS["default"]
KINDS = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def made(spec: TemporalSpec = SPEC) -> TemporalExpert:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return spec.build(SCHEMA).double().eval()


def given() -> Batch:
    return double(customers())


def with_events(batch: Batch, events: Mapping[str, Events]) -> Batch:
    return replace(batch, events={**batch.events, **events})


def same(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


def test_padding_changes_nothing() -> None:
    expert, batch = made(), given()
    wanted = expert(batch)
    for front, back in ((5, 0), (0, 8), (2, 3)):
        wide = {
            name: Events(
                torch.nn.functional.pad(e.values, (0, 0, front, back), value=math.nan),
                torch.nn.functional.pad(e.mask, (front, back)),
            )
            for name, e in batch.events.items()
        }
        same(expert(with_events(batch, wide)), wanted)


@KINDS
def test_slices_of_customers_are_the_whole(
    spec: TemporalSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for size in (BATCH, 2):
        monkeypatch.setattr(streams, "SLICE", size)
        expert = made(spec)
        answer = expert(given())
        answer.square().sum().backward()
        found.append([answer, *(p.grad for p in expert.parameters())])
    for one, other in zip(*found, strict=True):
        same(other, one)


def test_who_has_no_step_is_absent_finite_and_moves_no_other() -> None:
    expert, batch = made(), given()
    assert expert.present(batch).tolist() == [True, False, True, True, True]
    assert expert(batch).isfinite().all()
    none = {k: Events(e.values, e.mask & False) for k, e in batch.events.items()}
    nobody = with_events(batch, none)
    assert not expert.present(nobody).any()
    assert expert(nobody).isfinite().all()
    expert(nobody).square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in expert.parameters())
    session = with_events(batch, {"txn": none["txn"]})
    assert expert.present(session).tolist() == [True, False, True, True, True]
    junk = batch.events["txn"].values.clone()
    junk[1] = math.nan
    other = with_events(batch, {"txn": Events(junk, batch.events["txn"].mask)})
    assert torch.equal(expert(other), expert(batch))


def test_a_nan_at_a_true_step_stays_with_its_customer() -> None:
    expert, batch = made(), given()
    values = batch.events["txn"].values.clone()
    values[3, -1, 0] = math.nan
    other = with_events(batch, {"txn": Events(values, batch.events["txn"].mask)})
    answer, before = expert(other), expert(batch)
    assert answer[3].isnan().all()
    rest = [0, 1, 2, 4]
    same(answer[rest], before[rest])


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e6])
def test_extreme_inputs_stay_finite(size: float) -> None:
    expert, batch = made().float(), customers()
    wild = {k: Events(size * e.values, e.mask) for k, e in batch.events.items()}
    answer = expert(with_events(batch, wild))
    assert answer.isfinite().all()
    answer.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in expert.parameters())


def test_every_channel_counts_and_so_does_the_order() -> None:
    expert, batch = made(), given()
    before = expert(batch)
    seen = expert.present(batch)
    for name, events in batch.events.items():
        for channel in range(events.values.shape[2]):
            values = events.values.clone()
            values[..., channel] += 1
            after = expert(with_events(batch, {name: Events(values, events.mask)}))
            assert ((after != before).any(1) == seen).all(), (name, channel)
        back = Events(events.values.flip(1), events.mask.flip(1))
        turned = expert(with_events(batch, {name: back}))
        assert ((turned - before).abs().amax(1) > 1e-9).equal(seen)


def test_the_gate_is_what_the_answer_is_made_of() -> None:
    expert, batch = made(), given()
    mixed, weights = expert.fused(batch)
    assert weights.shape == (BATCH, 3)
    assert (entropy_bits(weights) <= math.log2(3) + 1e-12).all()
    assert torch.equal(expert.ending(mixed), expert(batch))
    before = expert(batch)
    torch.nn.init.normal_(expert.gate.score.bias)
    assert (expert.fused(batch).weights != weights).all()
    assert (expert(batch) != before).all()
    wanted = torch.full((BATCH,), DIMS[1] ** 0.5).double()
    torch.testing.assert_close(before.norm(dim=1), wanted, rtol=1e-3, atol=0)


def test_what_the_spec_builds() -> None:
    expert = SPEC.build(SCHEMA)
    specs = {name: stream.spec for name, stream in expert.streams.items()}
    assert [(k, s.channels, s.width, s.gap) for k, s in specs.items()] == [
        ("txn", 3, 64, 2),
        ("session", 2, 32, 1),
    ]
    one = replace(SPEC, sequences=("session",), gaps=()).build(SCHEMA)
    assert [(k, s.spec.width, s.spec.gap) for k, s in one.streams.items()] == [
        ("session", 64, None)
    ]
    three = Schema(
        features=(Feature(name="x"),),
        tasks=(TaskSpec(name="y"),),
        sequences=tuple(
            Sequence(name=f"s{i}", steps=4, channels=("a",)) for i in range(3)
        ),
    )
    assert [s.spec.width for s in SPEC.build(three).streams.values()] == [64, 32, 32]
    wide = TemporalSpec().build(SCHEMA)  # the sources' widths: 192 + 96 + 96
    assert wide.gate.hidden.in_features == 384
    assert wide.dim == 64


@pytest.mark.plain  # beartype knows the names too
def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'sessions'.*\['txn', 'session'\].*Did you"):
        replace(SPEC, sequences=("sessions",)).build(SCHEMA)
    with pytest.raises(ValueError, match=r"one series or more\. Found none"):
        SPEC.build(replace(SCHEMA, sequences=()))
    for named, message in (
        ({"widths": (64, 40)}, "multiple of 32. Found 40"),
        ({"widths": ()}, "one width or more"),
        ({"dim": 0}, "dim >= 1"),
        ({"sequences": ("txn", "txn")}, "more than once: .*txn"),
        ({"scan": "ssm"}, "Scan must be one of"),
        ({"liquid": "ode"}, "Liquid cell must be one of"),
        ({"dropout": -0.1}, "Dropout"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(SPEC, **named)


def short(batch: Batch) -> Batch:
    """The last three steps of the sessions: a loop over time is written out."""
    events = batch.events["session"]
    cut = Events(events.values[:, -3:], events.mask[:, -3:])
    return replace(batch, events={"session": cut})


def narrow(spec: TemporalSpec) -> TemporalExpert:
    return made(replace(spec, sequences=("session",), widths=(32,)))


@pytest.mark.plain
def test_it_compiles_in_one_graph() -> None:
    expert, batch = narrow(SPEC), short(given())
    torch._dynamo.reset()
    compiled = torch.compile(expert, fullgraph=True, backend="aot_eager")
    answer = compiled(batch)
    same(answer, expert(batch))
    answer.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in expert.parameters())


@pytest.mark.plain
@KINDS
def test_it_exports_for_any_number_of_customers(spec: TemporalSpec) -> None:
    expert, batch = narrow(spec), short(given())
    shapes, rows = torch.export.ShapesCollection(), torch.export.Dim("batch", min=2)
    for leaf in torch.utils._pytree.tree_leaves(batch):
        shapes[leaf] = {0: rows}
    program = torch.export.export(expert, (batch,), dynamic_shapes=shapes)
    more = short(double(customers(7, seed=1)))
    same(program.module()(more), expert(more))
