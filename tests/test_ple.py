"""PLE: the paper's equations in loops, who learns from whom, gates that are used."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ple_study.baselines import PLESpec
from ple_study.batch import Batch, Model
from ple_study.experts.mlp import MLPSpec
from ple_study.gates.routing import GateSpec
from tests import laws
from tests.models import BINARY, HIDDEN, built, close, customers
from tests.sizes import BATCH, TASKS

Weights = dict[str, Tensor]
COUNTS, SHARED = (1, 0, 3), 2
RELU = MLPSpec(dims=(8, 7))


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


def three_tasks(**changes: object) -> tuple[Model, Batch]:
    """A PLE of two levels whose units are never dead, and customers for it."""
    spec = PLESpec(private=COUNTS, shared=SHARED, expert=HIDDEN, tower=HIDDEN)
    model = built(replace(spec, **changes), BINARY).double()
    return model, laws.double(customers(BINARY))


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
    model, batch = three_tasks(levels=3, gate=GateSpec(bias=True, norm=True))
    weights = model(batch).weights
    assert [w.shape for w in weights] == [(BATCH, TASKS, 5)] * 3
    for w in weights:
        close(w.sum(2), torch.ones(BATCH, TASKS, dtype=torch.float64))
        assert not w[:, 0, 3:].any()
        assert not w[:, 1, 2:].any()
        assert (w > 0).sum() == BATCH * (3 + 2 + 5)


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
