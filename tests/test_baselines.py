"""The four models: laws, the paper's equations in loops, and identities."""

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
