import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ple_study.baselines import MMoESpec, PLESpec, SharedBottomSpec, SingleTaskSpec
from ple_study.batch import Batch, Rows
from ple_study.experts.mlp import MLPSpec
from ple_study.objective.conflict import (
    conflict_rate,
    cosines,
    gradients_of,
    joint_change,
    magnitude_ratios,
    module_gradients,
    task_gradients,
)
from ple_study.objective.losses import task_losses
from ple_study.schema import Feature, Schema, TaskSpec

ROWS = 31
SCHEMA = Schema(
    features=(
        *(Feature(name=f"x{i}") for i in range(6)),
        Feature(name="shop", kind="categorical", vocabulary=("a", "b"), dim=7),
    ),
    tasks=(
        TaskSpec(name="churn", weight=5.0),
        TaskSpec(name="stage", kind="multiclass", classes=4),
        TaskSpec(name="spend", kind="regression"),
    ),
)
EXPERT = MLPSpec(dims=(8, 7), activation="silu")
TOWER = MLPSpec(dims=(5,), activation="silu")
SPECS = [
    SharedBottomSpec(trunk=EXPERT, tower=TOWER),
    MMoESpec(experts=3, expert=EXPERT, tower=TOWER),
    PLESpec(shared=2, private=(1, 2, 0), expert=EXPERT, tower=TOWER),
]


def rows(absent=()):
    draw = torch.Generator().manual_seed(0)
    labels = {
        "churn": torch.rand(ROWS, generator=draw).round(),
        "stage": (4 * torch.rand(ROWS, generator=draw)).floor(),
        "spend": torch.randn(ROWS, generator=draw),
    }
    for name in labels:
        lost = torch.rand(ROWS, generator=draw) < (2 if name in absent else 0.3)
        labels[name] = labels[name].masked_fill(lost, torch.nan)
    batch = Batch(
        torch.randn(ROWS, 6, generator=draw),
        torch.randint(3, (ROWS, 1), generator=draw),
    )
    return Rows(batch, labels, {"churn": torch.rand(ROWS, generator=draw)})


def build(spec):
    torch.manual_seed(0)
    return spec.build(SCHEMA)


def one_by_one(model, rows, parameters=None):
    """Each task's own forward and backward pass, read from ``.grad``."""
    parameters = model.shared_parameters() if parameters is None else parameters
    found = []
    for place, _ in enumerate(SCHEMA.tasks):
        model.zero_grad()
        logits = model(rows.batch).logits
        losses = task_losses(SCHEMA.tasks, logits, rows.labels, rows.weights)
        losses.values[place].backward()
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        found.append(torch.cat([part.flatten() for part in parts]))
    model.zero_grad()
    return torch.stack(found)


@pytest.mark.parametrize("spec", SPECS)
def test_gradients_are_those_of_each_task_alone(spec):
    model = build(spec)
    found = task_gradients(model, rows(), SCHEMA.tasks)
    size = sum(p.numel() for p in model.shared_parameters())
    assert found.shape == (3, size)
    torch.testing.assert_close(found, one_by_one(model, rows()))
    assert found.any(1).all()


def test_gradients_are_not_left_behind():
    model = build(SPECS[0])
    task_gradients(model, rows(), SCHEMA.tasks)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("spec", SPECS)
def test_absent_task_has_zero_gradient_and_no_cosine(spec):
    model = build(spec)
    found = task_gradients(model, rows(absent=["stage"]), SCHEMA.tasks)
    full = task_gradients(model, rows(), SCHEMA.tasks)
    assert not found[1].any()
    torch.testing.assert_close(found[[0, 2]], full[[0, 2]])
    missing = torch.zeros(3, 3, dtype=torch.bool)
    missing[1], missing[:, 1] = True, True
    assert cosines(found).isnan().equal(missing)
    assert magnitude_ratios(found).isnan().equal(missing)
    assert conflict_rate(cosines(found)) in (0, 1)


@pytest.mark.parametrize("gradients", [task_gradients, module_gradients])
def test_a_model_that_shares_nothing_is_refused(gradients):
    model = build(SingleTaskSpec(trunk=EXPERT, tower=TOWER))
    assert model.shared_modules() == {}
    with pytest.raises(ValueError, match="Found none in SingleTask"):
        gradients(model, rows(), SCHEMA.tasks)


def apart(levels=2, private=(1, 2, 1)):
    """Its modules: of every level the shared experts, the private ones; all towers."""
    model = build(replace(SPECS[2], levels=levels, private=private))
    modules = {
        f"{part} {place}": list(level.get_submodule(part).parameters())
        for place, level in enumerate(model.levels)
        for part in ("shared", "private")
    }
    modules["towers"] = list(model.towers.parameters())
    model.shared_modules = lambda: modules
    return model


def test_modules_have_the_gradients_of_passes_of_their_own():
    model, data = apart(), rows(absent=["stage"])
    found = module_gradients(model, data, SCHEMA.tasks)
    modules = model.shared_modules()
    assert list(found) == list(modules)
    for name, parameters in modules.items():
        own = one_by_one(model, data, parameters)
        torch.testing.assert_close(found[name], own)
        pairs = cosines(found[name])
        for i in range(3):
            for j in range(3):
                a, b = own[i].double(), own[j].double()
                known = a.any() and b.any()
                wanted = float(a @ b / a.norm() / b.norm()) if known else math.nan
                assert float(pairs[i, j]) == pytest.approx(
                    wanted, abs=1e-5, nan_ok=True
                )


def test_a_module_that_a_task_does_not_touch_gives_it_no_direction():
    # The second task's private expert is the only one.
    found = module_gradients(apart(1, (0, 1, 0)), rows(), SCHEMA.tasks)
    assert found["private 0"].any(1).tolist() == [False, True, False]
    assert cosines(found["private 0"]).isnan().sum() == 8
    assert not cosines(found["shared 0"]).isnan().any()


def test_products_of_modules_add_up_to_the_whole_product():
    model, data = apart(), rows()
    found = module_gradients(model, data, SCHEMA.tasks)
    parameters = [p for own in model.shared_modules().values() for p in own]
    whole = one_by_one(model, data, parameters)
    parts = sum(part @ part.T for part in found.values())
    torch.testing.assert_close(parts, whole @ whole.T)
    torch.testing.assert_close(torch.cat(list(found.values()), 1), whole)


@pytest.mark.parametrize("spec", SPECS)
def test_by_default_all_is_one_module(spec):
    model = build(spec)
    found = module_gradients(model, rows(), SCHEMA.tasks)
    assert list(found) == ["shared"]
    assert found["shared"].equal(task_gradients(model, rows(), SCHEMA.tasks))
    own = model.shared_modules()["shared"]
    assert list(map(id, own)) == list(map(id, model.shared_parameters()))


@pytest.mark.parametrize("gradients", [task_gradients, module_gradients])
def test_one_forward_and_one_backward_a_task(gradients, monkeypatch):
    model, calls, grad = apart(), [], torch.autograd.grad

    def counted(*args, **options):
        calls.append("backward")
        return grad(*args, **options)

    model.levels[0].register_forward_hook(lambda *_: calls.append("forward"))
    monkeypatch.setattr(torch.autograd, "grad", counted)
    gradients(model, rows(), SCHEMA.tasks)
    assert calls == ["forward", *["backward"] * 3]
    assert all(p.grad is None for p in model.parameters())


def test_frozen_parameters_count_as_zero():
    model, data = apart(), rows()
    free = module_gradients(model, data, SCHEMA.tasks)
    model.levels[0].get_submodule("private").requires_grad_(False)
    found = module_gradients(model, data, SCHEMA.tasks)
    assert not found.pop("private 0").any()
    assert free.pop("private 0").any()
    for name, part in found.items():
        assert part.equal(free[name])
    model.levels.requires_grad_(False)
    none = task_gradients(model, data, SCHEMA.tasks)
    assert none.shape == (3, sum(p.numel() for p in model.shared_parameters()))
    assert not none.any()


def test_gradients_of_sparse_tables_are_dense_and_of_unused_parameters_zero():
    table, unused = torch.nn.Embedding(6, 2, sparse=True), torch.nn.Linear(1, 3)
    found = gradients_of(
        table(torch.tensor([4, 1])).sum(1), [table.weight, unused.bias]
    )
    wanted = torch.zeros(2, 15)
    wanted[0, 8:10] = wanted[1, 2:4] = 1.0
    assert found.equal(wanted)


def test_private_parameters_move_cosines_towards_zero():
    model, data = build(PLESpec(levels=1, expert=EXPERT, tower=TOWER)), rows()
    losses = task_losses(
        SCHEMA.tasks, model(data.batch).logits, data.labels, data.weights
    )
    shared = gradients_of(losses.values, model.shared_parameters())
    stack = gradients_of(losses.values, list(model.levels.parameters()))
    torch.testing.assert_close(  # private experts and gates add nothing to a product
        (stack @ stack.T)[~torch.eye(3, dtype=torch.bool)],
        (shared @ shared.T)[~torch.eye(3, dtype=torch.bool)],
    )
    near, far = cosines(stack), cosines(shared)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert 0 < float(near[i, j] / far[i, j]) < 0.95


@pytest.mark.parametrize(
    ("other", "cosine"), [((2.0, 2.0), 0.894), ((-1.0, 2.0), -0.141)]
)
def test_worked_numbers(other, cosine):
    found = cosines(torch.tensor([(3.0, 1.0), other], dtype=torch.float64))
    assert float(found[0, 1]) == pytest.approx(cosine, abs=5e-4)
    assert found.diagonal().tolist() == pytest.approx([1, 1])


def test_pairs_agree_with_numpy():
    gradients = torch.randn(4, 57, generator=torch.Generator().manual_seed(0)).double()
    gradients *= torch.tensor([[1.0], [1e-3], [30.0], [5.0]])
    g = gradients.numpy()
    norms = np.linalg.norm(g, axis=1)
    expected = [[g[i] @ g[j] / norms[i] / norms[j] for j in range(4)] for i in range(4)]
    torch.testing.assert_close(cosines(gradients), torch.tensor(np.array(expected)))
    negative = [expected[i][j] < 0 for i in range(4) for j in range(i)]
    assert conflict_rate(cosines(gradients)) == pytest.approx(np.mean(negative))
    torch.testing.assert_close(
        magnitude_ratios(gradients), torch.tensor(norms[:, None] / norms[None])
    )


def test_a_gradient_below_the_floor_is_shrunk():
    found = cosines(torch.tensor([[1e-9, 0.0], [1.0, 0.0]], dtype=torch.float64))
    assert float(found[0, 1]) == pytest.approx(0.1)


def test_one_task_has_no_pair():
    assert math.isnan(conflict_rate(cosines(torch.ones(1, 5))))


def test_joint_change_is_what_a_small_step_does():
    model = build(SPECS[0]).double()
    data = rows()
    data = Rows(
        Batch(data.batch.numeric.double(), data.batch.categorical),
        {name: y.double() for name, y in data.labels.items()},
        {name: w.double() for name, w in data.weights.items()},
    )
    model.eval()

    def values():
        logits = model(data.batch).logits
        return task_losses(SCHEMA.tasks, logits, data.labels, data.weights).values

    gradients, before, step = task_gradients(model, data, SCHEMA.tasks), values(), 1e-6
    with torch.no_grad():
        shared = model.shared_parameters()
        start = 0
        for parameter in shared:
            stop = start + parameter.numel()
            moved = gradients.sum(0)[start:stop].view_as(parameter)
            parameter -= step * moved
            start = stop
    slope = (values() - before) / step
    torch.testing.assert_close(joint_change(gradients), slope, rtol=1e-4, atol=1e-6)


def test_opposed_gradients_harm_the_shorter_alone_and_only_beyond_their_ratio():
    for cosine, length in ((-0.9, 1.0), (-0.5, 2.0), (-0.4, 2.0), (-0.9, 3.0)):
        other = (length * cosine, length * math.sqrt(1 - cosine**2))
        found = joint_change(torch.tensor([(1.0, 0.0), other], dtype=torch.float64))
        # The first, of length one, is harmed where -cos > 1 / length.
        assert float(found[0]) == pytest.approx(-(1 + length * cosine), abs=1e-12)
        assert float(found[1]) < 0
