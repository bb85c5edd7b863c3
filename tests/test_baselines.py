"""The four models: laws, the paper's equations in loops, and identities."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ple_study.baselines import MMoESpec, PLESpec, SharedBottomSpec, SingleTaskSpec
from ple_study.batch import Batch, Model, ModelSpec
from ple_study.experts.mlp import MLPSpec
from ple_study.schema import Feature, Schema, TaskSpec
from tests import laws
from tests.sizes import BATCH, DIMS, EXPERTS, TASKS
from tests.studies import SCHEMA

Weights = dict[str, Tensor]

HIDDEN = MLPSpec(dims=DIMS[1:], activation="silu")
TOWER = MLPSpec(dims=DIMS[:1], activation="silu", norm="layer", dropout=0.2)
SPECS = {
    "shared bottom": SharedBottomSpec(trunk=HIDDEN, tower=TOWER),
    "single task": SingleTaskSpec(trunk=HIDDEN, tower=TOWER),
    "mmoe": MMoESpec(experts=EXPERTS, expert=HIDDEN, tower=TOWER),
    "ple": PLESpec(private=(1, 0, 3, 2), expert=HIDDEN, tower=TOWER),
}
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())

BINARY = Schema(
    features=tuple(Feature(name=f"x{i}") for i in range(DIMS[0])),
    tasks=tuple(TaskSpec(name=f"t{i}") for i in range(TASKS)),
)
COUNTS, SHARED = (1, 0, 3), 2
RELU = MLPSpec(dims=(8, 7))


def built(spec: ModelSpec, schema: Schema = SCHEMA, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return spec.build(schema).eval()


def customers(schema: Schema = SCHEMA, rows: int = BATCH) -> Batch:
    draw = torch.Generator().manual_seed(1)
    sizes = [feature.size for feature in schema.categorical]
    codes = [torch.randint(size, (rows,), generator=draw) for size in sizes]
    numeric = torch.randn(rows, len(schema.numeric), generator=draw)
    none = torch.zeros(rows, 0, dtype=torch.long)
    return Batch(numeric, torch.stack(codes, 1) if codes else none)


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


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_ple_is_the_papers_equations(levels: int) -> None:
    spec = PLESpec(
        levels=levels, private=COUNTS, shared=SHARED, expert=RELU, tower=RELU
    )
    model = built(spec, BINARY).double()
    batch = laws.double(customers(BINARY))
    output, weights = model(batch), model.state_dict()
    for row, x in enumerate(batch.numeric):
        states, gates = extract(weights, levels, x)
        for task, state in enumerate(states):
            hidden = perceptron(weights, "towers.hidden", task, state)
            head = [weights[f"towers.heads.0.{part}"] for part in ("weight", "bias")]
            wanted = head[0][task] @ hidden + head[1][task]
            close(output.logits[f"t{task}"][row], wanted)
        for level, gate in enumerate(gates):
            for task, wanted in enumerate(gate[:TASKS]):
                found = output.weights[level][row, task]
                close(found[: len(wanted)], torch.stack(wanted))
                assert not found[len(wanted) :].any()


def extract(w: Weights, levels: int, x: Tensor) -> tuple[list, list]:
    """Tang et al. 2020, equations 1 to 6, for one customer: states and gate weights."""
    states, gates = [x] * (TASKS + 1), []
    for level in range(levels):
        name, owners = f"levels.{level}", [0, 2, 2, 2]  # COUNTS, one by one
        experts = [
            (k, perceptron(w, f"{name}.private", lane, states[k]))
            for lane, k in enumerate(owners)
        ]
        for lane in range(SHARED):
            experts.append((-1, perceptron(w, f"{name}.shared", lane, states[-1])))
        listeners = range(TASKS if level == levels - 1 else TASKS + 1)
        rows, after, gate = iter(w[f"{name}.gate.linear.weight"]), [], []
        for k in listeners:
            heard = [out for owner, out in experts if owner in (k, -1) or k == TASKS]
            raw = [(next(rows) @ states[k]).exp() for _ in heard]
            gate.append([e / sum(raw) for e in raw])
            after.append(sum(g * out for g, out in zip(gate[k], heard, strict=True)))
        states = after
        gates.append(gate)
    return states, gates


def perceptron(w: Weights, name: str, lane: int, x: Tensor) -> Tensor:
    for layer in range(len(RELU.dims)):
        matrix, bias = (w[f"{name}.layers.{layer}.{p}"] for p in ("weight", "bias"))
        x = (matrix[lane] @ x + bias[lane]).clamp(min=0)
    return x


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


def three_tasks(**changes: object) -> tuple[Model, Batch]:
    """A PLE of two levels whose units are never dead, and customers for it."""
    spec = PLESpec(private=COUNTS, shared=SHARED, expert=HIDDEN, tower=HIDDEN)
    model = built(replace(spec, **changes), BINARY).double()
    return model, laws.double(customers(BINARY))


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


def test_without_shared_experts_a_task_hears_its_own_alone() -> None:
    model, batch = three_tasks(private=(1, 2, 3), shared=0, levels=3)
    before = model(batch).logits
    for task, lanes in enumerate((slice(0, 1), slice(1, 3), slice(3, 6))):
        state = {name: value.clone() for name, value in model.state_dict().items()}
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if ".private." in name:
                    parameter[lanes] += 1
        after = model(batch).logits
        moved = [not torch.equal(before[name], after[name]) for name in before]
        assert moved == [other == task for other in range(TASKS)]
        model.load_state_dict(state)


@pytest.mark.parametrize("task", range(TASKS))
def test_other_tasks_experts_learn_below_the_last_level_only(task: int) -> None:
    model, batch = three_tasks()
    model(batch).logits[f"t{task}"].square().sum().backward()
    owners = [0, 2, 2, 2]  # COUNTS, one by one
    for level, last in ((0, False), (1, True)):
        weight = model.get_parameter(f"levels.{level}.private.layers.0.weight")
        grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        learns = [bool(lane.any()) for lane in grad]
        assert learns == [not last or owner == task for owner in owners]
        shared = model.get_parameter(f"levels.{level}.shared.layers.0.weight")
        assert all(lane.any() for lane in shared.grad)


def test_reported_weights_are_those_used() -> None:
    model, batch = three_tasks()
    output = model(batch)
    heard = [[0, 4, 5], [4, 5], [1, 2, 3, 4, 5]]
    states = []
    for task, places in enumerate(heard):
        experts = torch.stack([output.experts[place] for place in places])
        weights = output.weights[-1][:, task, : len(places)]
        states.append(torch.einsum("bs,sbd->bd", weights, experts))
    wanted = model.get_submodule("towers")(states)
    for name, z in output.logits.items():
        close(z, wanted[name])


@pytest.mark.parametrize("level", [0, 1])
def test_another_gate_moves_report_and_prediction(level: int) -> None:
    model, batch = three_tasks()
    before = model(batch)
    with torch.no_grad():  # the gate of the last task, whose five rows come after five
        model.get_parameter(f"levels.{level}.gate.linear.weight")[5:10] *= -2
    after = model(batch)
    moved = [
        not torch.equal(before.weights[level][:, k], after.weights[level][:, k])
        for k in range(TASKS)
    ]
    assert moved == [False, False, True]
    moved = [not torch.equal(before.logits[k], after.logits[k]) for k in before.logits]
    # Above level 0 the task's state is its own alone.
    assert moved == [False, False, True]


def test_gates_sum_to_one_and_padding_is_zero() -> None:
    model, batch = three_tasks(levels=3, gate_bias=True, gate_norm=True)
    weights = model(batch).weights
    assert [w.shape for w in weights] == [(BATCH, TASKS, 5)] * 3
    for w in weights:
        close(w.sum(2), torch.ones(BATCH, TASKS, dtype=torch.float64))
        assert not w[:, 0, 3:].any()
        assert not w[:, 1, 2:].any()
        assert (w > 0).sum() == BATCH * (3 + 2 + 5)


def test_shared_experts_in_another_order_change_nothing() -> None:
    mmoe = built(MMoESpec(experts=EXPERTS, expert=HIDDEN, tower=TOWER)).double()
    batch, order = laws.double(customers()), torch.tensor([2, 0, 3, 1])
    before, state = mmoe(batch), mmoe.state_dict()
    for name, value in state.items():
        if name.startswith("levels.0.shared"):
            state[name] = value[order]
        if name.startswith("levels.0.gate"):
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
    model, _ = three_tasks()
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": 0}, "levels >= 1 and no negative .* Found levels=0"),
        ({"shared": -1}, "no negative number of experts. Found .*shared=-1"),
        ({"private": -2}, "no negative number of experts. Found .*private=-2"),
        ({"private": (1, -1, 2)}, r"no negative .* private=\(1, -1, 2\)"),
        ({"private": ()}, r"no negative number of experts. Found .*private=\(\)"),
        ({"private": (1, 2)}, r"one a task. Found 2 counts \(1, 2\) for 3 tasks"),
        ({"private": COUNTS, "shared": 0}, r"needs a private one. Found none for .'t1"),
        ({"private": 0, "shared": 0}, "Found none for .'t0', 't1', 't2'"),
    ],
)
def test_a_ple_that_cannot_be_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PLESpec(**arguments).build(BINARY)
