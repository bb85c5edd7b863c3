"""The four models: the laws that all obey, and what each shares with another."""

import pytest
import torch

from ple_study.baselines import MMoESpec, PLESpec, SharedBottomSpec, SingleTaskSpec
from ple_study.batch import ModelSpec
from tests import laws
from tests.models import HIDDEN, TOWER, built, close, customers
from tests.sizes import BATCH, EXPERTS
from tests.studies import SCHEMA

SPECS = {
    "shared bottom": SharedBottomSpec(trunk=HIDDEN, tower=TOWER),
    "single task": SingleTaskSpec(trunk=HIDDEN, tower=TOWER),
    "mmoe": MMoESpec(experts=EXPERTS, expert=HIDDEN, tower=TOWER),
    "ple": PLESpec(private=(1, 0, 3, 2), expert=HIDDEN, tower=TOWER),
}
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())


@every_spec
def test_one_row_alone_is_that_row(spec: ModelSpec) -> None:
    laws.one_row_alone_is_that_row(built(spec), customers())


@every_spec
def test_permuted_rows_permute_answers(spec: ModelSpec) -> None:
    laws.permuted_rows_permute_answers(built(spec), customers())


@every_spec
def test_every_parameter_learns(spec: ModelSpec) -> None:
    laws.every_parameter_learns(built(spec), customers())


@every_spec
def test_every_column_counts(spec: ModelSpec) -> None:
    laws.every_column_counts(built(spec), customers())


@every_spec
def test_two_builds_share_no_tensor(spec: ModelSpec) -> None:
    laws.two_builds_share_no_tensor(lambda: spec.build(SCHEMA))


@every_spec
def test_logits_by_task_in_the_schemas_order(spec: ModelSpec) -> None:
    logits = built(spec)(customers()).logits
    shapes = {task.name: (BATCH, task.outputs) for task in SCHEMA.tasks}
    assert {name: tuple(z.shape) for name, z in logits.items()} == shapes
    assert list(logits) == list(shapes)


@every_spec
def test_one_customer_and_no_customer(spec: ModelSpec) -> None:
    for rows in (1, 0):
        logits = built(spec)(customers(rows=rows)).logits
        assert {len(z) for z in logits.values()} == {rows}


@every_spec
def test_bf16_autocast_runs(spec: ModelSpec) -> None:
    model = built(spec)
    wanted = model(customers()).logits
    with torch.autocast("cpu", torch.bfloat16):
        output = model(customers())
    laws.random_loss(output).backward()
    for name, z in output.logits.items():
        # bfloat16 keeps 8 bits; a contrastive score is a cosine over 0.07
        torch.testing.assert_close(z.float(), wanted[name], atol=0.15, rtol=0.02)
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.plain
@every_spec
def test_compiled_whole(spec: ModelSpec) -> None:
    model, batch = built(spec), customers()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(batch), model(batch))
    laws.random_loss(compiled(batch)).backward()
    found = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    laws.random_loss(model(batch)).backward()
    torch.testing.assert_close(found, [p.grad for p in model.parameters()])


def test_mmoe_of_one_expert_is_a_shared_bottom() -> None:
    mmoe = built(MMoESpec(experts=1, expert=HIDDEN, tower=TOWER)).double()
    bottom = built(SharedBottomSpec(trunk=HIDDEN, tower=TOWER), seed=1).double()
    state = {
        name.replace("levels.0.shared.", "trunk."): value
        for name, value in mmoe.state_dict().items()
        if ".gate." not in name
    }
    bottom.load_state_dict(state)
    batch = laws.double(customers())
    output = mmoe(batch)
    for name, wanted in bottom(batch).logits.items():
        close(output.logits[name], wanted)
    assert (output.weights[0] == 1).all()


def test_shared_experts_in_another_order_change_nothing() -> None:
    mmoe = built(MMoESpec(experts=EXPERTS, expert=HIDDEN, tower=TOWER)).double()
    batch, order = laws.double(customers()), torch.tensor([2, 0, 3, 1])
    before, state = mmoe(batch), mmoe.state_dict()
    for name, value in state.items():
        if name.startswith("levels.0.shared"):
            state[name] = value[order]
        if name.startswith("levels.0.gate.linear"):
            gates = value.view(len(SCHEMA.tasks), EXPERTS, -1)
            state[name] = gates[:, order].flatten(0, 1)
    mmoe.load_state_dict(state)
    after = mmoe(batch)
    close(after.weights[0], before.weights[0][:, :, order])
    for name, wanted in before.logits.items():
        close(after.logits[name], wanted)


def test_single_tasks_share_no_parameter() -> None:
    model, batch = built(SPECS["single task"]), customers()
    assert model.shared_parameters() == []
    reached = []
    for name in SCHEMA.task_names:
        model.zero_grad()
        model(batch).logits[name].square().sum().backward()
        reached.append({n for n, p in model.named_parameters() if p.grad is not None})
    assert sum(map(len, reached)) == len(set().union(*reached))
    assert set().union(*reached) == {n for n, _ in model.named_parameters()}


def test_shared_parameters_are_those_that_two_tasks_reach() -> None:
    model = built(SPECS["ple"])
    shared = {id(p) for p in model.shared_parameters()}
    names = [name for name, p in model.named_parameters() if id(p) in shared]
    assert {name.split(".")[2] for name in names} == {"shared"}
    assert {name.split(".")[1] for name in names} == {"0", "1"}
    bottom = built(SPECS["shared bottom"])
    trunk = list(bottom.get_submodule("trunk").parameters())
    assert list(map(id, bottom.shared_parameters())) == list(map(id, trunk))


def test_a_state_dict_brings_the_answers_over() -> None:
    for spec in SPECS.values():
        one, other = built(spec), built(spec, seed=1)
        other.load_state_dict(one.state_dict())
        torch.testing.assert_close(other(customers()), one(customers()))
