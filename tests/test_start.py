"""A run that begins with another's weights, and parts that stay as they are."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from ple_study.baselines import PLESpec
from ple_study.data.loader import Scaler
from ple_study.experts.causal import CausalSpec
from ple_study.experts.deepfm import DeepFMSpec
from ple_study.experts.mlp import MLPSpec
from ple_study.export import load, save
from ple_study.fitted import Fitted
from ple_study.gates.attention import CGCAttentionSpec
from ple_study.gates.freeze import Freezable
from ple_study.gates.routing import GateSpec
from ple_study.gates.stages import StagesSpec
from ple_study.learner import Learner, Training
from ple_study.model import HeterogeneousPLESpec
from ple_study.objective.weighting import FixedWeightingSpec
from ple_study.progress import Progress
from ple_study.start import check_start, weights_hash
from ple_study.training import fit
from tests.runs import same
from tests.studies import SCHEMA, mixed
from tests.test_model import rows, study

NOISY = MLPSpec(dims=(8, 7), norm="batch", dropout=0.2)
TOWER = MLPSpec(dims=(6,), dropout=0.1)
PLE = PLESpec(levels=2, expert=NOISY, tower=TOWER, gate=GateSpec(norm=True, bias=True))
BODY = ("tabular", "levels")
SHORT = Training(epochs=3, batch_size=32, lr=0.02, weight_decay=0.5)


def run(**changes) -> Fitted:
    options = {"training": SHORT, "seed": 3, "device": "cpu"} | changes
    return fit(options.pop("study", None) or mixed(), PLE, **options)


@pytest.fixture(scope="module")
def start() -> Fitted:
    return run(training=replace(SHORT, epochs=2))


def bits(fitted: Fitted) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in fitted.model.state_dict().items()}


def kept(before, after, name: str) -> set[bool]:
    """Whether the tensors of a part are what they were."""
    return {torch.equal(before[k], after[k]) for k in before if k.startswith(name)}


def test_what_is_frozen_stays_to_the_bit_and_the_rest_learns(start):
    before = bits(start)
    found = run(start=start, frozen=BODY)
    assert all(kept(before, bits(found), name) == {True} for name in BODY)
    towers = [n for n, _ in found.model.towers.named_parameters()]
    after = found.model.state_dict()
    assert not any(
        torch.equal(before[f"towers.{n}"], after[f"towers.{n}"]) for n in towers
    )
    batch = mixed().rows.batch
    one, other = start.output(batch), found.output(batch)
    for name in ("weights", "experts"):
        assert all(map(torch.equal, getattr(one, name), getattr(other, name)))
    assert all(p.requires_grad for p in found.model.parameters())
    assert all(map(torch.equal, before.values(), bits(start).values()))
    assert found.run["frozen"] == list(BODY)


def test_a_part_of_a_level_is_a_part(start):
    before, found = bits(start), run(start=start, frozen=("levels.0.shared",))
    after = bits(found)
    assert kept(before, after, "levels.0.shared") == {True}
    weights = [n for n in before if n.startswith("levels") and n.endswith("weight")]
    free = [n for n in weights if not n.startswith("levels.0.shared")]
    assert not any(torch.equal(before[n], after[n]) for n in free)


def test_a_start_is_begun_with_and_its_rows_scale_the_new_ones(start):
    elsewhere = mixed(seed=1)
    again = run(study=elsewhere, start=start, training=replace(SHORT, lr=1e-30))
    assert same_weights(again, start)
    assert all(map(torch.equal, again.scaler, start.scaler))
    assert not torch.equal(run(study=elsewhere).scaler.mean, start.scaler.mean)
    assert not same(run(start=start), run())


def same_weights(one: Fitted, other: Fitted) -> bool:
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_another_model_is_no_start(start):
    wide = replace(PLE, shared=3)
    with pytest.raises(ValueError, match=r"own spec and schema. Found another spec\."):
        fit(mixed(), wide, start=start, device="cpu")
    tasks = (replace(SCHEMA.tasks[0], weight=2.0), *SCHEMA.tasks[1:])
    heavy = replace(mixed(), schema=replace(SCHEMA, tasks=tasks))
    with pytest.raises(ValueError, match=r"Found another schema\."):
        fit(heavy, PLE, start=start, device="cpu")
    narrow = study()  # whose columns the start's scaler does not fit
    with pytest.raises(ValueError, match=r"Found another spec and another schema\."):
        fit(narrow, wide, start=start, device="cpu")


def test_a_model_from_a_file_is_a_start(start, tmp_path):
    save(start, tmp_path)
    assert same(run(start=load(tmp_path)), run(start=start))


@pytest.mark.plain
def test_a_whole_number_is_as_good_as_one_with_a_point(start):
    whole, real = (replace(PLE, tower=replace(TOWER, dropout=x)) for x in (0, 0.0))
    check_start(replace(start, spec=whole), real, SCHEMA)


def test_experts_in_another_order_are_another_model():
    turned = replace(GATED, experts=dict(reversed(GATED.experts.items())))
    assert turned == GATED
    with pytest.raises(ValueError, match="Found another spec"):
        check_start(stopped_or_not(False), turned, study().schema)


def test_every_weight_of_a_start_and_its_scaler_are_in_its_hash(start):
    first = weights_hash(start)
    assert weights_hash(replace(start, model=deepcopy(start.model))) == first
    assert weights_hash(None) == ""
    for name in start.model.state_dict():
        model = deepcopy(start.model)
        last = model.state_dict()[name].view(-1)[-1:]
        last.copy_(last == 0)
        assert weights_hash(replace(start, model=model)) != first, name
    moved = start.scaler._replace(std=start.scaler.std * 2)
    assert weights_hash(replace(start, scaler=moved)) != first


class CutError(Exception):
    """Stands for a kill."""


def cut(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """The run fails at this step, once."""
    step, calls = Learner.training_step, []

    def until(*args):
        calls.append(args)
        if len(calls) == steps:
            raise CutError
        return step(*args)

    monkeypatch.setattr(Learner, "training_step", until)


def test_a_cut_run_goes_on_from_the_same_start_alone(start, tmp_path, monkeypatch):
    options = {"start": start, "frozen": BODY, "folder": tmp_path}
    whole = run(**(options | {"folder": None}))
    with monkeypatch.context() as patch:
        cut(patch, 2 * 6 + 3)
        with pytest.raises(CutError):
            run(**options)
    for name, others in {
        "start": (run(seed=4), None),
        "frozen": (("levels",), ()),
    }.items():
        for other in others:
            with pytest.raises(ValueError, match=rf"Found another {name}\."):
                run(**(options | {name: other}), resume=True)
    assert same(run(**options, resume=True), whole)


DEEP = DeepFMSpec(dim=6, embedding=4, hidden=(8, 5), dropout=0.2)
GATED = HeterogeneousPLESpec(
    experts={"deepfm": DEEP, "causal": CausalSpec(dim=5, hidden=8, latents=6)},
    gates=StagesSpec(
        private=1,
        expert=NOISY,
        gate=GateSpec(kind="top_k", balance=0.2, norm=True),
        attention=CGCAttentionSpec(prior=0.0, entropy=0.1),
        freeze_epoch=1,
    ),
    tower=TOWER,
)
ALL = ("columns", "experts", "gates")
OWN = ("gates.stage1.gate.linear", "gates.stage2")


def stopped_or_not(stopped: bool) -> Fitted:
    """A start whose gates have stopped by themselves, or have not."""
    data = study()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GATED.build(data.schema)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    if stopped:
        model.gates.freeze()
    scaler = Scaler.fit(data.schema, data.part("train").batch)
    return Fitted(model.eval(), GATED, data.schema, scaler)


@pytest.fixture
def last(monkeypatch) -> None:
    """The last epoch is the best."""
    close = Progress._close

    def better(self):
        entry = close(self)
        return entry | {"score": float(entry["epoch"])}

    monkeypatch.setattr(Progress, "_close", better)


def second(start: Fitted, frozen: tuple[str, ...], **options) -> Fitted:
    options = {"training": SHORT, "seed": 2, "device": "cpu"} | options
    return fit(study(), GATED, start=start, frozen=frozen, **options)


def learns(fitted: Fitted) -> set[bool]:
    gates = [m for m in fitted.model.gates.modules() if isinstance(m, Freezable)]
    assert len(gates) == 2
    assert all(bool(gate.frozen) != gate.learns for gate in gates)
    return {gate.learns for gate in gates}


@pytest.mark.usefixtures("last")
@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("frozen", [ALL, ("gates",)], ids=len)
def test_frozen_gates_keep_their_flag_whatever_the_epoch(stopped, frozen):
    start = stopped_or_not(stopped)
    before, found = bits(start), second(start, frozen)
    after = bits(found)
    assert all(kept(before, after, name) == {True} for name in frozen)
    assert "gates.stage2.frozen" in before
    assert learns(found) == {not stopped}
    rest = [p for n, p in found.model.named_parameters() if n[:6] != "gates."]
    assert all(p.requires_grad for p in rest)
    batch = study().rows.batch
    one, other = (list(fitted.output(batch).weights) for fitted in (start, found))
    # Stage 1 reads the columns, whose tables learn where they are not frozen.
    assert torch.equal(one[0], other[0]) == (frozen == ALL)
    assert (False in kept(before, after, "experts")) == (frozen != ALL)


@pytest.mark.usefixtures("last")
def test_gates_that_had_stopped_stay_so_where_the_rest_learns():
    start = stopped_or_not(True)
    before, after = bits(start), bits(found := second(start, ("experts",)))
    assert all(kept(before, after, name) == {True} for name in OWN)
    assert learns(found) == {False}
    assert False in kept(before, after, "gates.stage1.private")


@pytest.mark.usefixtures("last")
def test_gates_that_had_not_stopped_learn_until_it_is_time(monkeypatch, tmp_path):
    start = stopped_or_not(False)
    found = second(start, ("experts",))
    before, after = bits(start), bits(found)
    assert all(False in kept(before, after, name) for name in OWN)
    assert learns(found) == {False}
    # They were in the optimiser from the start, and are in a resumed run's.
    steps = len(study().split["train"]) // 32 + 1
    with monkeypatch.context() as patch:
        cut(patch, 2 * steps + 2)
        with pytest.raises(CutError):
            second(start, ("experts",), folder=tmp_path)
    assert same(second(start, ("experts",), folder=tmp_path, resume=True), found)


@pytest.mark.usefixtures("last")
def test_a_gate_that_stops_does_so_in_its_frozen_part_too():
    start = stopped_or_not(False)
    found = second(start, ("gates.stage2.linear", "experts"))
    assert kept(bits(start), bits(found), "gates.stage2.linear") == {True}
    assert learns(found) == {False}


def test_a_frozen_experts_penalty_moves_nothing():
    part, grads = rows(40), []
    schema = study().schema
    for factor in (1.0, 7.0):
        model = stopped_or_not(False).model
        weighting = FixedWeightingSpec().build(schema.tasks)
        own = Learner(schema, model, weighting, SHORT, 20, ALL)
        penalty = model.penalty_of(part.batch)
        assert penalty > 0
        assert not penalty.requires_grad
        model.penalty_of = lambda _, by=factor * penalty: by
        own.training_step(part, 0).backward()
        grads.append({n: p.grad for n, p in model.named_parameters()})
    one, other = grads
    reached = {name for name, grad in one.items() if grad is not None}
    assert {n for n, _ in model.towers.named_parameters(prefix="towers")} <= reached
    assert not {name for name in reached if name.startswith(ALL)}
    assert all(torch.equal(one[name], other[name]) for name in reached)
