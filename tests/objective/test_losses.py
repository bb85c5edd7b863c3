import pytest
import torch
from sklearn.metrics import log_loss
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from ple_study.objective.losses import task_losses
from ple_study.schema import TaskSpec
from tests.sizes import BATCH

# Two of some groups, in an order that no grouping keeps.
TASKS = (
    TaskSpec(name="spend", kind="regression", loss="huber", scale=(5.0, 0.4)),
    TaskSpec(name="churn"),
    TaskSpec(name="channel", kind="multiclass", classes=3),
    TaskSpec(name="visits", kind="regression"),
    TaskSpec(name="basket", kind="regression", scale=(-2.0, 3.0)),
    TaskSpec(name="brand", kind="contrastive", classes=7),
    TaskSpec(name="coupon"),
    TaskSpec(name="store", kind="contrastive", classes=8, loss="in_batch"),
    TaskSpec(name="level", kind="multiclass", classes=3),
    TaskSpec(name="stage", kind="multiclass", classes=6),
    TaskSpec(name="item", kind="contrastive", classes=8, loss="in_batch"),
    TaskSpec(name="click", loss="focal", focal=(0.2, 1.5)),
    TaskSpec(name="lapse", loss="focal", focal=(0.6, 0.0)),
    TaskSpec(name="view", loss="focal", focal=(0.2, 1.5)),
)
ROWS = 8 * BATCH


def study(seed=0, rows=ROWS, dtype=torch.float64):
    """Logits, labels with holes, and weights of four tasks."""
    draw = torch.Generator().manual_seed(seed)
    logits, labels, weights = {}, {}, {}
    for task in TASKS:
        logits[task.name] = 2 * torch.randn(
            rows, task.outputs, generator=draw, dtype=dtype
        )
        found = torch.rand(rows, generator=draw, dtype=dtype) * max(task.classes, 2)
        found = 3 * found - 2 if task.kind == "regression" else found.floor()
        labels[task.name] = found.masked_fill(
            torch.rand(rows, generator=draw) < 0.3, torch.nan
        )
    for name in ("churn", "spend", "stage", "store", "view"):
        weight = torch.rand(rows, generator=draw, dtype=dtype)
        weights[name] = weight.masked_fill(torch.rand(rows, generator=draw) < 0.2, 0)
    return logits, labels, weights


def row_by_row(task, logits, labels, weights):
    """The definition, on the observed rows alone."""
    weight = weights.get(task.name, torch.ones_like(labels[task.name]))
    kept = ~labels[task.name].isnan() & (weight > 0)
    z, y, w = logits[task.name][kept], labels[task.name][kept], weight[kept]
    if task.kind == "regression":
        z, y = z / task.scale[1], y / task.scale[1]
    if task.loss == "focal":
        (alpha, gamma), p = task.focal, z[:, 0].sigmoid()
        ones = -alpha * (1 - p) ** gamma * p.log()
        zeros = -(1 - alpha) * p**gamma * (1 - p).log()
        rows = ones.where(y == 1, zeros)
    elif task.kind == "binary":
        rows = F.binary_cross_entropy(z[:, 0].sigmoid(), y, reduction="none")
    elif task.kind == "regression" and task.loss == "huber":
        rows = F.smooth_l1_loss(z[:, 0], y, reduction="none")
    elif task.kind == "regression":
        rows = (z[:, 0] - y) ** 2
    elif task.loss == "in_batch":
        keys = y.unique().long()
        rows = F.cross_entropy(
            z[:, keys], torch.searchsorted(keys, y), reduction="none"
        )
    else:
        rows = F.nll_loss(z.log_softmax(1), y.long(), reduction="none")
    return (w * rows).sum() / w.sum()


@pytest.mark.parametrize("weighted", [False, True])
def test_values_are_those_of_the_observed_rows(weighted):
    logits, labels, weights = study()
    weights = weights if weighted else {}
    losses = task_losses(TASKS, logits, labels, weights)
    expected = [row_by_row(task, logits, labels, weights) for task in TASKS]
    torch.testing.assert_close(
        losses.values, torch.stack(expected), rtol=1e-12, atol=0.0
    )
    assert losses.present.all()


def test_gradients_are_those_of_the_observed_rows():
    logits, labels, weights = study()
    logits = {name: z.requires_grad_() for name, z in logits.items()}
    scale = torch.arange(1.0, len(TASKS) + 1)
    ours = (scale * task_losses(TASKS, logits, labels, weights).values).sum()
    expected = [row_by_row(task, logits, labels, weights) for task in TASKS]
    theirs = (scale * torch.stack(expected)).sum()
    for found, want in zip(
        torch.autograd.grad(ours, list(logits.values())),
        torch.autograd.grad(theirs, list(logits.values())),
        strict=True,
    ):
        torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-14)


def test_probabilities_agree_with_sklearn():
    logits, labels, weights = study()
    values = task_losses(TASKS, logits, labels, weights).values
    for name, squash in (("churn", torch.sigmoid), ("stage", lambda z: z.softmax(1))):
        place = [task.name for task in TASKS].index(name)
        kept = ~labels[name].isnan()
        expected = log_loss(
            labels[name][kept].numpy(),
            squash(logits[name][kept]).numpy(),
            sample_weight=weights[name][kept].numpy(),
            labels=list(range(max(TASKS[place].classes, 2))),
        )
        assert float(values[place]) == pytest.approx(expected, rel=1e-12)


def test_huber_turns_straight_at_one():
    task = TaskSpec(name="spend", kind="regression", loss="huber")
    logits = {"spend": torch.tensor([[0.5], [-3.0]], dtype=torch.float64)}
    labels = {"spend": torch.zeros(2, dtype=torch.float64)}
    assert float(task_losses([task], logits, labels).values) == (0.125 + 2.5) / 2


def test_huge_logits_cost_what_they_should():
    logits = {"churn": torch.tensor([[80.0], [-80.0]])}
    task = TaskSpec(name="churn")
    right = task_losses([task], logits, {"churn": torch.tensor([1.0, 0.0])}).values
    wrong = task_losses([task], logits, {"churn": torch.tensor([0.0, 1.0])}).values
    assert float(wrong) == 80.0
    assert 0 < float(right) < 1e-34


def test_order_of_rows_and_rows_without_labels_change_nothing():
    logits, labels, weights = study()
    alone = task_losses(TASKS, logits, labels, weights).values
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    more, _, _ = study(seed=2, rows=BATCH)
    unknown = torch.full((BATCH,), torch.nan, dtype=torch.float64)
    losses = task_losses(
        TASKS,
        {name: torch.cat([z[order], more[name]]) for name, z in logits.items()},
        {name: torch.cat([y[order], unknown]) for name, y in labels.items()},
        {name: torch.cat([w[order], torch.rand(BATCH)]) for name, w in weights.items()},
    )
    torch.testing.assert_close(losses.values, alone, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("how", ["label", "weight"])
@pytest.mark.parametrize("absent", [task.name for task in TASKS])
def test_absent_task_is_zero_and_sends_no_gradient(absent, how):
    logits, labels, weights = study()
    logits = {name: z.requires_grad_() for name, z in logits.items()}
    before = task_losses(TASKS, logits, labels, weights).values
    if how == "label":
        labels[absent] = torch.full_like(labels[absent], torch.nan)
    else:
        weights[absent] = torch.zeros_like(labels[absent])
    losses = task_losses(TASKS, logits, labels, weights)
    others = torch.tensor([task.name != absent for task in TASKS])
    assert losses.present.equal(others)
    assert losses.values.equal(before.where(others, 0.0))
    gradients = torch.autograd.grad(losses.values.sum(), list(logits.values()))
    for task, gradient in zip(TASKS, gradients, strict=True):
        assert bool(gradient.any()) == (task.name != absent)


def test_a_brand_twice_in_the_batch_is_one_key():
    task = TaskSpec(name="store", kind="contrastive", classes=8, loss="in_batch")
    logits = {"store": torch.zeros(5, 8, dtype=torch.float64)}
    labels = {"store": torch.tensor([2.0, 2.0, 2.0, 5.0, torch.nan])}
    found = task_losses([task], logits, labels).values
    torch.testing.assert_close(found, torch.tensor([2.0]).double().log())


def test_keys_of_one_task_are_not_keys_of_another():
    tasks = [
        TaskSpec(name=name, kind="contrastive", classes=8, loss="in_batch")
        for name in ("store", "item")
    ]
    logits = {task.name: torch.zeros(3, 8, dtype=torch.float64) for task in tasks}
    labels = {"store": torch.tensor([0.0, 1.0, 2.0]), "item": torch.tensor([5.0] * 3)}
    found = task_losses(tasks, logits, labels).values
    torch.testing.assert_close(found, torch.tensor([3.0, 1.0]).double().log())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_weighed_in_float32(dtype):
    logits, labels, weights = study(dtype=torch.float32)
    half = {name: z.to(dtype) for name, z in logits.items()}
    full = {name: z.float() for name, z in half.items()}
    found = task_losses(TASKS, half, labels, weights).values
    assert found.dtype == torch.float32
    assert found.equal(task_losses(TASKS, full, labels, weights).values)


def test_autocast_changes_no_loss():
    logits, labels, weights = study(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = task_losses(TASKS, logits, labels, weights).values
    assert found.equal(task_losses(TASKS, logits, labels, weights).values)


@pytest.mark.plain
def test_compiles_as_one_graph():
    logits, labels, weights = study()
    losses = torch.compile(task_losses, fullgraph=True)(TASKS, logits, labels, weights)
    expected = task_losses(TASKS, logits, labels, weights)
    torch.testing.assert_close(losses.values, expected.values)
    assert losses.present.equal(expected.present)


@pytest.mark.plain
def test_never_asks_the_device_for_a_value():
    logits, labels, weights = study()
    meta = [
        {name: x.to("meta") for name, x in part.items()}
        for part in (logits, labels, weights)
    ]
    assert task_losses(TASKS, *meta).values.shape == (len(TASKS),)


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("logits", r"Every task needs logits. None found for \['churn'\]"),
        ("labels", r"Every task needs labels. None found for \['churn'\]"),
    ],
)
def test_missing_part_of_a_task_is_named(lost, message):
    logits, labels, weights = study()
    del {"logits": logits, "labels": labels}[lost]["churn"]
    with pytest.raises(ValueError, match=message):
        task_losses(TASKS, logits, labels, weights)


def test_weights_of_an_unknown_task_are_refused():
    logits, labels, weights = study()
    weights["chrun"] = weights["churn"]
    with pytest.raises(ValueError, match=r"Found \['chrun'\]; labels are \['spend', "):
        task_losses(TASKS, logits, labels, weights)


@pytest.mark.parametrize(
    ("kind", "classes", "loss"),
    [
        ("binary", 1, "huber"),
        ("regression", 1, "in_batch"),
        ("regression", 1, "focal"),
        ("multiclass", 3, "huber"),
        ("multiclass", 3, "focal"),
    ],
)
def test_a_loss_of_another_kind_is_refused(kind, classes, loss):
    with pytest.raises(ValueError, match=f"Loss of the {kind} task 'x' must be one of"):
        TaskSpec(name="x", kind=kind, classes=classes, loss=loss)


class Operations(TorchDispatchMode):
    """The names of all that torch was asked to do."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


@pytest.mark.plain
def test_no_number_of_a_task_is_made_a_tensor():
    logits, labels, weights = study()
    with Operations() as seen:
        task_losses(TASKS, logits, labels, weights)
    assert "huber_loss" in seen.names
    assert seen.names.count("log_sigmoid_forward") == 2  # two alike share one call
    assert "lift_fresh" not in seen.names  # what torch.tensor and new_tensor end with
