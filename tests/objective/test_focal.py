"""The focal loss: from logits, at any distance from zero, as its formula says."""

import json
import math

import mpmath
import pytest
import torch

from ple_study.objective.losses import task_losses
from ple_study.schema import Schema, TaskSpec

FAR = (-80.0, -37.1, -9.3, -1.0, 0.0, 0.4, 2.0, 16.7, 55.5, 80.0)
FOCALS = [(0.25, 2.0), (0.6, 1.0), (0.2, 0.5), (0.9, 0.0), (0.0, 2.0), (1.0, 5.0)]


def focal(alpha, gamma, name="click"):
    return TaskSpec(name=name, loss="focal", focal=(alpha, gamma))


def row_losses(alpha, gamma, logits, labels):
    """Each row as a batch of its own, since a batch answers its mean."""
    pairs = zip(logits, labels, strict=True)
    tasks = [focal(alpha, gamma)]
    return torch.stack(
        [task_losses(tasks, {"click": z.view(1, 1)}, {"click": y[None]}).values[0]
         for z, y in pairs]
    )  # fmt: skip


def with_fifty_digits(alpha, gamma, z, label):
    """-a_t (1 - p_t)^gamma log p_t, and its derivative in z, from the probability."""
    with mpmath.workdps(50):
        # p of label 1, and 1 - p, each without the rounding of the other
        p = 1 / (1 + mpmath.exp(-mpmath.mpf(z)))
        q = 1 / (1 + mpmath.exp(mpmath.mpf(z)))
        if label == 1:
            value = -mpmath.mpf(alpha) * q**gamma * mpmath.log(p)
            slope = alpha * q**gamma * (gamma * p * mpmath.log(p) - q)
        else:
            value = -(1 - mpmath.mpf(alpha)) * p**gamma * mpmath.log(q)
            slope = (1 - mpmath.mpf(alpha)) * p**gamma * (p - gamma * q * mpmath.log(q))
        return float(value), float(slope)


@pytest.mark.parametrize("label", [0.0, 1.0])
@pytest.mark.parametrize(("alpha", "gamma"), FOCALS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_logits_cost_and_pull_what_they_should(dtype, alpha, gamma, label):
    # What lies below the smallest normal number is zero, or nearly.
    close = {"rel": 100 * torch.finfo(dtype).eps, "abs": torch.finfo(dtype).tiny}
    logits = torch.tensor(FAR, dtype=dtype, requires_grad=True)
    found = row_losses(alpha, gamma, logits, torch.full_like(logits, label))
    (slopes,) = torch.autograd.grad(found.sum(), logits)
    wanted = [with_fifty_digits(alpha, gamma, z, label) for z in logits.tolist()]
    assert found.tolist() == pytest.approx([v for v, _ in wanted], **close)
    assert slopes.tolist() == pytest.approx([s for _, s in wanted], **close)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_where_the_sigmoid_is_zero_the_gradient_is_finite(label, gamma):
    logits = torch.tensor([-1e4, -200.0, 200.0, 1e4], requires_grad=True)
    found = row_losses(0.25, gamma, logits, torch.full((4,), label))
    (slopes,) = torch.autograd.grad(found.sum(), logits)
    wrong = [-0.25, -0.25, 0, 0] if label else [0, 0, 0.75, 0.75]
    assert slopes.tolist() == pytest.approx(wrong, abs=1e-30)
    assert found.tolist() == pytest.approx(
        [abs(z * w) for z, w in zip(logits.tolist(), wrong, strict=True)], abs=1e-30
    )


def test_numbers_of_the_paper():
    # p_t = 0.9 counts a hundredth of its cross-entropy, p_t = 0.1 four fifths
    logits = torch.tensor([0.9, 0.1], dtype=torch.float64).logit()
    ones = torch.ones(2, dtype=torch.float64)
    plain = row_losses(1.0, 0.0, logits, ones)
    assert plain.tolist() == pytest.approx([0.105361, 2.302585], abs=1e-6)
    found = row_losses(1.0, 2.0, logits, ones)
    assert found.tolist() == pytest.approx([0.00105361, 1.865094], abs=1e-6)
    assert (found / plain).tolist() == pytest.approx([0.01, 0.81])


@pytest.mark.parametrize(
    ("name", "alpha", "one", "zero"),
    [
        ("ctr", 0.25, 0.25, 0.75),
        ("cvr", 0.20, 0.20, 0.80),
        ("churn", 0.60, 0.60, 0.40),
        ("retention", 0.20, 0.20, 0.80),
    ],
)
def test_alpha_weighs_the_ones(name, alpha, one, zero):
    logits = {name: torch.zeros(1, 1, dtype=torch.float64)}
    tasks = [focal(alpha, 2.0, name)]
    for label, share in ((1.0, one), (0.0, zero)):
        labels = {name: torch.tensor([label], dtype=torch.float64)}
        found = task_losses(tasks, logits, labels).values
        assert found.item() == pytest.approx(share * 0.25 * math.log(2))


def test_without_focus_it_is_half_the_cross_entropy():
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(40, 1, generator=draw, dtype=torch.float64)
    y = torch.rand(40, generator=draw, dtype=torch.float64).round()
    tasks = [focal(0.5, 0.0, "focused"), TaskSpec(name="plain")]
    names = ("focused", "plain")
    found = task_losses(tasks, dict.fromkeys(names, z), dict.fromkeys(names, y)).values
    assert found[0].item() == pytest.approx(found[1].item() / 2, rel=1e-14)


def test_tasks_of_other_numbers_do_not_mix():
    z = torch.tensor([[1.5], [-0.3], [0.2]], dtype=torch.float64)
    y = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    tasks = [focal(a, g, f"{a}/{g}") for a, g in FOCALS]
    names = [task.name for task in tasks]
    found = task_losses(tasks, dict.fromkeys(names, z), dict.fromkeys(names, y)).values
    alone = [row_losses(*task.focal, z[:, 0], y).mean() for task in tasks]
    torch.testing.assert_close(found, torch.stack(alone), rtol=1e-14, atol=0.0)


def test_a_schema_with_a_focal_task_survives_json():
    schema = Schema(features=(), tasks=(focal(0.6, 1.5), TaskSpec(name="plain")))
    again = Schema.from_json(json.loads(json.dumps(schema.to_json())))
    assert again == schema
    assert again.tasks[0].focal == (0.6, 1.5)


@pytest.mark.plain
def test_a_listed_focus_is_a_tuple():
    task = TaskSpec(name="click", loss="focal", focal=[0.6, 1])
    assert task == focal(0.6, 1.0)
    assert hash(task) == hash(focal(0.6, 1.0))


@pytest.mark.plain
@pytest.mark.parametrize(
    "wrong",
    [(-0.1, 2.0), (1.1, 2.0), (0.5, -1.0), (0.5, math.inf), (math.nan, 2.0), (0.5,)],
)
def test_numbers_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="focal loss of task 'click' needs an alpha"):
        TaskSpec(name="click", loss="focal", focal=wrong)


@pytest.mark.parametrize(
    ("kind", "loss"), [("binary", "default"), ("regression", "huber")]
)
def test_a_focus_without_a_focal_loss_is_refused(kind, loss):
    message = rf"Only a task of loss 'focal'.*\(0.6, 1.5\).*'click' of loss '{loss}'"
    with pytest.raises(ValueError, match=message):
        TaskSpec(name="click", kind=kind, loss=loss, focal=(0.6, 1.5))


def test_the_paper_s_numbers_are_the_default():
    assert TaskSpec(name="click", loss="focal").focal == (0.25, 2.0)
