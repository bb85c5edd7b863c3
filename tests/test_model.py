"""The whole model: parts in their places, laws, penalties, export."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from ple_study.batch import Batch, Rows
from ple_study.data.loader import Scaler, Study, random_split
from ple_study.experts.causal import CausalSpec
from ple_study.experts.deepfm import DeepFMSpec
from ple_study.experts.hgcn import HGCNSpec
from ple_study.experts.lightgcn import LightGCNSpec
from ple_study.experts.mlp import MLPSpec
from ple_study.export import load, save, to_onnx
from ple_study.fitted import Fitted
from ple_study.gates.attention import CGCAttentionSpec
from ple_study.gates.routing import GateSpec
from ple_study.gates.stages import StagesSpec
from ple_study.learner import Learner, Training, decay_groups
from ple_study.model import HeterogeneousPLE, HeterogeneousPLESpec
from ple_study.objective.losses import task_losses
from ple_study.objective.weighting import FixedWeightingSpec
from ple_study.schema import Schema, TaskSpec
from ple_study.tasks.modes import ModesSpec
from tests import customers, laws
from tests.experts.specs import CAUSAL, DEEPFM, PERSLAY, TEMPORAL, TRANSPORT, VECTORS
from tests.experts.test_onnx import fields
from tests.gates.test_attention import by_hand as recoloured
from tests.gates.test_attention import entropy
from tests.gates.test_cgc import in_loops
from tests.gates.test_routing import balance
from tests.sizes import BATCH, TASKS
from tests.tasks.test_modes import by_hand as said

SCHEMA = replace(
    customers.SCHEMA,
    tasks=(
        TaskSpec(name="ctr", group="engagement", experts=("lightgcn", "deepfm")),
        TaskSpec(name="channel", kind="multiclass", classes=4, group="value"),
        TaskSpec(
            name="ltv", kind="regression", group="lifecycle", experts=("unified_hgcn",)
        ),
    ),
)
EVEN = replace(SCHEMA, tasks=tuple(replace(t, experts=()) for t in SCHEMA.tasks))
FOUR = {
    "deepfm": DeepFMSpec(dim=6, embedding=4, hidden=(8, 5), dropout=0.0),
    "lightgcn": LightGCNSpec(hidden=9, dim=7, dropout=0.0),
    "unified_hgcn": HGCNSpec(hidden=9, dim=8),
    "causal": CausalSpec(dim=5, hidden=8, latents=6, dropout=0.0),
}
SEVEN = {
    "unified_hgcn": VECTORS["hgcn"],
    "perslay": PERSLAY["both"],
    "deepfm": DEEPFM["groups"],
    "temporal": TEMPORAL["default"],
    "lightgcn": VECTORS["lightgcn"],
    "causal": CAUSAL["stable"],
    "optimal_transport": TRANSPORT["metric"],
}
GATE = GateSpec(kind="top_k", top_k=3, balance=0.2)
GATES = StagesSpec(private=2, expert=MLPSpec(dims=(8, 7), activation="silu"), gate=GATE)
SPEC = HeterogeneousPLESpec(
    experts=FOUR,
    gates=GATES,
    modes=ModesSpec(dim=6),
    tower=MLPSpec(dims=(6,), activation="silu", norm="layer"),
)
SPECS = {
    **{
        which: replace(SPEC, gates=replace(GATES, which=which))
        for which in ("both", "stage1_only", "stage2_only", "neither")
    },
    "no modes": replace(SPEC, modes=None),
    "seven": replace(SPEC, experts=SEVEN),
}
each = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
ALWAYS = ("deepfm", "causal", "optimal_transport")  # what they read, everybody has


def people(size: int = BATCH) -> Batch:
    """1 has no graph, 3 no hierarchy; 2 lacks states in one mode, 4 in all."""
    batch = customers.customers(size)
    graph, hierarchy = batch.vectors["graph"], batch.vectors["hierarchy"].clone()
    hierarchy[1], hierarchy[3] = 0.3, torch.nan
    states = batch.states.clone()
    states[2, 0] = states[4] = torch.nan
    return replace(
        batch, states=states, vectors={"graph": graph, "hierarchy": hierarchy}
    )


def built(
    spec: HeterogeneousPLESpec = SPEC, stir: bool = True, schema: Schema = SCHEMA
) -> HeterogeneousPLE:
    """In eval mode; with ``stir``, what starts at zero or even is anything."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = spec.build(schema).eval()
        for name, parameter in model.named_parameters() if stir else ():
            if "absent" in name or name.startswith("gates"):
                nn.init.normal_(parameter, std=0.4)
    return model


def rows(size: int) -> Rows:
    """Labels that follow the columns."""
    batch = people(size)
    one, two = batch.numeric[:, 0], batch.numeric[:, 1]
    labels = {
        "ctr": (one > 0).float(),
        "channel": ((one > 0).float() + 2 * (two > 0).float()),
        "ltv": one - two,
    }
    return Rows(batch, labels)


def study(size: int = 120) -> Study:
    return Study(SCHEMA, rows(size), random_split(size, seed=0))


def close(found: object, wanted: object, within: float = 1e-6) -> None:
    torch.testing.assert_close(found, wanted, atol=within, rtol=within)


@each
def test_one_row_alone_is_that_row(spec: HeterogeneousPLESpec) -> None:
    laws.one_row_alone_is_that_row(built(spec), people())


@each
def test_permuted_rows_permute_answers(spec: HeterogeneousPLESpec) -> None:
    laws.permuted_rows_permute_answers(built(spec), people())


@each
def test_every_parameter_learns_of_those_it_is_for(spec: HeterogeneousPLESpec) -> None:
    model = built(spec)
    laws.random_loss(model(people(40))).backward()
    still = {f"experts.absent.{name}" for name in ALWAYS}
    if not model.gates.stage1:  # who alone reads the columns
        still |= {f"columns.{name}" for name, _ in model.columns.named_parameters()}
    for name, parameter in model.named_parameters():
        grad = parameter.new_zeros(1) if parameter.grad is None else parameter.grad
        assert grad.isfinite().all(), name
        assert grad.any() != (name in still), name


@each
def test_two_builds_share_no_tensor(spec: HeterogeneousPLESpec) -> None:
    laws.two_builds_share_no_tensor(lambda: spec.build(SCHEMA))


@each
def test_one_customer_and_no_customer(spec: HeterogeneousPLESpec) -> None:
    model = built(spec)
    for size in (1, 0):
        logits = model(people().rows(torch.arange(size))).logits
        shapes = {task.name: (size, task.outputs) for task in SCHEMA.tasks}
        assert {name: tuple(z.shape) for name, z in logits.items()} == shapes
        assert list(logits) == list(SCHEMA.task_names)


@each
def test_bf16_autocast_runs(spec: HeterogeneousPLESpec) -> None:
    model = built(spec).train()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(people())
    (laws.random_loss(output) + output.penalty).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    for weights in output.weights:
        close(weights.float().sum(2), torch.ones(BATCH, TASKS), 0.02)


def test_every_column_counts() -> None:
    laws.every_column_counts(built(), people())


def heard(model: HeterogeneousPLE, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
    """What each task's tower reads, and the weights of each stage, in loops."""
    blocks, present = model.experts(batch)
    first, second = model.gates.stage1, model.gates.stage2
    inputs, weights = [torch.cat(blocks, dim=1)] * TASKS, []
    if first:
        columns = torch.cat([model.columns.tables[0].weight[batch.categorical[:, 0]],
                             batch.numeric], dim=1)  # fmt: skip
        inputs, own, _ = in_loops(first, columns, blocks)
        weights.append(torch.stack(own, dim=1))
    if second:
        mixed, own = recoloured(second, blocks, present)
        weights.append(torch.stack(own, dim=1))
        bridge = model.gates.bridge
        inputs = (
            [
                torch.cat([wide, x @ bridge.weight.T + bridge.bias], dim=1)
                for wide, x in zip(mixed, inputs, strict=True)
            ]
            if bridge
            else mixed
        )
    if model.modes:
        states = said(model.modes, batch.states)
        pairs = zip(inputs, states, strict=True)
        inputs = [torch.cat(pair, dim=1) for pair in pairs]
    return inputs, weights


@each
def test_a_model_is_its_parts(spec: HeterogeneousPLESpec) -> None:
    model, batch = built(spec).double(), laws.double(people())
    output, (inputs, weights) = model(batch), heard(model, batch)
    close(output.logits, model.towers(inputs))
    close(list(output.weights), weights)
    close(list(output.experts), model.experts(batch).blocks, 1e-12)


def test_tasks_hear_the_mode_of_their_group() -> None:
    model, batch = built(), people()
    before = model(batch).logits
    for mode, task in enumerate(("ctr", "ltv", "channel")):
        states = batch.states.clone()
        states[0, mode] += 1
        after = model(replace(batch, states=states)).logits
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved == {task}


def test_without_states_everybody_has_none() -> None:
    model, batch = built(), people()
    nobody = torch.full_like(batch.states, torch.nan)
    found, wanted = (model(replace(batch, states=s)).logits for s in (None, nobody))
    close(found, wanted, 1e-7)
    unread = built(SPECS["no modes"])
    close(unread(replace(batch, states=None)).logits, unread(batch).logits, 0)


def test_where_the_schema_has_no_states_none_are_read() -> None:
    model = built(schema=replace(SCHEMA, states=(0, 0)))
    assert model.modes is None
    close(model(people()).logits, built(SPECS["no modes"])(people()).logits, 0)


@pytest.mark.parametrize("missing", ["mask", "default"])
def test_who_lacks_what_an_expert_reads_is_answered_all_the_same(missing: str) -> None:
    attention = CGCAttentionSpec(missing=missing)
    spec = replace(SPEC, gates=replace(GATES, attention=attention))
    model, batch = built(spec), people()
    output = model(batch)
    for place, lacks in ((1, 1), (2, 3)):
        absent = model.experts.absent[list(FOUR)[place]]
        assert torch.equal(output.experts[place][lacks], absent)
        silent = (torch.arange(BATCH) == lacks) & (missing == "mask")
        unheard = output.weights[1][:, :, place] == 0
        assert torch.equal(unheard, silent[:, None].expand(-1, TASKS))
    close(output.weights[1].sum(2), torch.ones(BATCH, TASKS))
    assert all(z.isfinite().all() for z in output.logits.values())


def test_a_customer_of_whom_nobody_can_speak_is_answered_by_what_was_learned() -> None:
    experts = {name: FOUR[name] for name in ("lightgcn", "unified_hgcn")}
    spec = replace(SPEC, experts=experts, gates=StagesSpec(which="stage2_only"))
    model, batch = built(spec, stir=False, schema=EVEN), people()
    batch.vectors["hierarchy"][1] = torch.nan
    (weights,), blocks, *_ = model(batch)[1:]
    wanted = torch.full((BATCH, TASKS, 2), 0.5)
    wanted[3] = torch.tensor([1.0, 0.0])
    close(weights, wanted)
    assert not torch.cat(blocks, dim=1)[1].any()


@pytest.mark.parametrize("stage", [0, 1])
def test_another_gate_moves_report_and_prediction_of_its_task(stage: int) -> None:
    model, batch = built(), people()
    before = model(batch)
    name = ("gates.stage1.gate.linear.weight", "gates.stage2.linear.weight")[stage]
    slots = before.weights[stage].shape[2]
    with torch.no_grad():
        model.get_parameter(name)[slots : 2 * slots] *= -2
    after = model(batch)
    moved = (before.weights[stage] != after.weights[stage]).any(2).any(0)
    assert moved.tolist() == [False, True, False]
    assert torch.equal(before.weights[1 - stage], after.weights[1 - stage])
    moved = [not torch.equal(before.logits[k], after.logits[k]) for k in before.logits]
    assert moved == [False, True, False]


def test_slots_of_stage_2_are_the_experts_in_the_specs_order() -> None:
    model = built(stir=False)
    weights = model(people()).weights[1][0]
    for task, own in zip(SCHEMA.tasks, weights, strict=True):
        high = [name in task.experts for name in FOUR]
        assert ((own > 0.26).tolist()) == high


def learner(spec: HeterogeneousPLESpec, **options: int) -> Learner:
    weighting = FixedWeightingSpec().build(SCHEMA.tasks)
    return Learner(SCHEMA, built(spec), weighting, Training(**options), steps=20)


def test_the_loss_is_that_of_the_tasks_and_what_experts_and_gates_ask_for() -> None:
    own, part = learner(SPEC), rows(40)
    model = own.model.double().train()
    part = replace(part, batch=laws.double(part.batch))
    output = model(part.batch)
    losses = task_losses(SCHEMA.tasks, output.logits, part.labels, part.weights)
    blocks, present = model.experts(part.batch)
    columns = model.columns(part.batch)
    _, _, scores = in_loops(model.gates.stage1, columns, blocks)
    _, weights = recoloured(model.gates.stage2, blocks, present)
    asked = 0.2 * sum(balance(GATE, s.T) for s in scores) / TASKS
    asked = asked + 0.01 * entropy(weights)
    causal = model.experts.experts["causal"].penalty_of(part.batch)
    assert causal > 0
    close(model.penalty_of(part.batch), causal)
    wanted = own.weighting(losses) + causal + asked
    close(own.training_step(part, 0).double(), wanted.double())
    plain = own.weighting(losses) + causal
    assert abs(wanted - plain) > 0.01
    assert model.eval()(part.batch).penalty == 0


@pytest.mark.parametrize("freeze_epoch", [0, 1, 2])
def test_gates_freeze_when_so_many_epochs_are_over(freeze_epoch: int) -> None:
    spec = replace(SPEC, gates=replace(GATES, freeze_epoch=freeze_epoch))
    own, part = learner(spec, epochs=4), people()
    own.model.train()
    for epoch in range(4):
        own.done = 5 * epoch
        own.on_train_epoch_start()
        still = 0 < freeze_epoch <= epoch
        assert own.model.gates.stage1.gate.learns != still
        assert own.model.gates.stage2.learns != still
        assert bool(own.model(part).penalty) != still


def test_shared_parameters_are_those_of_the_experts() -> None:
    model = built()
    shared = {id(p) for p in model.shared_parameters()}
    names = {name for name, p in model.named_parameters() if id(p) in shared}
    assert names == {n for n, _ in model.named_parameters() if n.startswith("experts")}


def test_what_is_learned_of_the_absent_and_a_norms_gain_do_not_decay() -> None:
    model = built()
    spared = {id(p) for p in decay_groups(model, 0.3)[1]["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in spared}
    assert {"modes.absent", "modes.gain", "modes.linear.bias"} <= names
    assert {f"experts.absent.{name}" for name in FOUR} <= names
    assert not {"gates.stage1.gate.linear.weight", "modes.linear.weight"} & names


@pytest.mark.plain
@pytest.mark.parametrize("experts", [{"deepfm": 3}, ["deepfm"]])
def test_experts_that_are_no_specs_are_refused(experts: object) -> None:
    with pytest.raises(ValueError, match=r"specs by name, such as .*deepfm.*Found"):
        HeterogeneousPLESpec(experts=experts)


def fitted(spec: HeterogeneousPLESpec, schema: Schema = SCHEMA) -> Fitted:
    model, scaler = built(spec, schema=schema), Scaler.fit(schema, people(40))
    return Fitted(model, spec, schema, scaler)


@each
def test_a_saved_model_answers_as_before(
    spec: HeterogeneousPLESpec, tmp_path: Path
) -> None:
    before, batch = fitted(spec), people()
    save(before, tmp_path)
    after = load(tmp_path)
    assert (after.spec, after.schema) == (spec, SCHEMA)
    everyone = torch.arange(BATCH)
    found, wanted = (laws.cut(own.output(batch), everyone) for own in (after, before))
    assert all(map(torch.equal, found, wanted))


def arrays(batch: Batch) -> dict[str, np.ndarray]:
    return fields(batch) | {"batch_states": batch.states.numpy()}


@pytest.mark.plain
def test_onnx_runtime_answers_as_torch_does(tmp_path: Path) -> None:
    transport = replace(TRANSPORT["metric"], iterations=2)
    experts = {"lightgcn": FOUR["lightgcn"], "optimal_transport": transport}
    own = fitted(replace(SPEC, experts=experts), EVEN)
    path = to_onnx(own, tmp_path / "model.onnx", logits=True)
    session = onnxruntime.InferenceSession(path)
    for size in (5, 100):
        batch = people(size)
        given = arrays(batch)
        asked = {i.name: given[i.name] for i in session.get_inputs()}
        assert "batch_states" in asked
        wanted = own.output(batch).logits
        found = session.run(list(wanted), asked)
        for logits, answer in zip(wanted.values(), found, strict=True):
            close(torch.from_numpy(answer), logits, 1e-5)


def gradients(logits: Iterable[Tensor], model: nn.Module) -> list[Tensor | None]:
    model.zero_grad()
    torch.stack([z.square().sum() for z in logits]).sum().backward()
    return [p.grad for p in model.parameters()]


@pytest.mark.plain
def test_the_compiled_form_is_the_same() -> None:
    model, batch = built().train(), people()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    found, wanted = compiled(batch), model(batch)
    close(found, wanted, 1e-5)
    one, other = (gradients(x.logits.values(), model) for x in (found, wanted))
    close(one, other, 1e-5)
