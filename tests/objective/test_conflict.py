import math

import numpy as np
import pytest
import torch

from ple_study.baselines import MMoESpec, PLESpec, SharedBottomSpec, SingleTaskSpec
from ple_study.batch import Batch, Rows
from ple_study.experts.mlp import MLPSpec
from ple_study.objective.conflict import (
    conflict_rate,
    cosines,
    joint_change,
    magnitude_ratios,
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


def one_by_one(model, rows):
    """Each task's own forward and backward pass, read from ``.grad``."""
    found = []
    for place, _ in enumerate(SCHEMA.tasks):
        model.zero_grad()
        logits = model(rows.batch).logits
        losses = task_losses(SCHEMA.tasks, logits, rows.labels, rows.weights)
        losses.values[place].backward()
        parts = [
            torch.zeros_like(p) if p.grad is None else p.grad
            for p in model.shared_parameters()
        ]
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


def test_a_model_that_shares_nothing_is_refused():
    model = build(SingleTaskSpec(trunk=EXPERT, tower=TOWER))
    with pytest.raises(ValueError, match="Found none in SingleTask"):
        task_gradients(model, rows(), SCHEMA.tasks)


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
