"""Evidential heads, one by one in loops, beside towers and instead of them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ple_study.experts.mlp import MLPSpec
from ple_study.schema import Feature, Schema, TaskSpec, Transfer
from ple_study.tasks.evidential import (
    EvidentialHeads,
    EvidentialSpec,
    EvidentialTowers,
    check_any,
    to_evidence,
    to_logits,
)
from ple_study.tasks.transfer import TransferSpec
from tests.sizes import BATCH, DIMS
from tests.tasks import test_transfer as transfer

DIM = DIMS[0]
TASKS = transfer.TASKS  # c a regression, brand contrastive, b of 4 classes, d of 3
TOLD = [task for task in TASKS if task.kind != "contrastive"]
WIDTH = {"c": 4, "b": 4, "alone": 2, "a": 2, "e": 2, "d": 3}
THREAD = (
    *(TaskSpec(name=f"b{i}") for i in range(4)),
    *(
        TaskSpec(name=f"m{i}", kind="multiclass", classes=n)
        for i, n in enumerate((12, 6, 3, 28, 12, 7))
    ),
    *(TaskSpec(name=f"r{i}", kind="regression") for i in range(5)),
    TaskSpec(name="brand", kind="contrastive", classes=128),
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def close(found: object, wanted: object, within: float = 1e-12) -> None:
    torch.testing.assert_close(found, wanted, atol=within, rtol=within)


def softplus(z: Tensor) -> Tensor:
    return (1 + z.exp()).log()


def by_hand(heads: EvidentialHeads, inputs: list[Tensor]) -> dict[str, Tensor]:
    """Each task's lane of the product of its width, row by row."""
    lanes, found = {}, {}
    for own in heads.maps:
        width = own.weight.shape[1]
        names = [t.name for t in heads.tasks if WIDTH.get(t.name) == width]
        lanes |= {n: (own.weight[i], own.bias[i]) for i, n in enumerate(names)}
    for task, x in zip(heads.tasks, inputs, strict=True):
        if task.name not in lanes:
            continue
        weight, bias = lanes[task.name]
        rows = []
        for row in x:
            z = weight @ row + bias
            if task.kind == "regression":
                above = softplus(z[1:]) + 1e-6
                z = torch.stack([z[0], above[0], above[1] + 1, above[2]])
            else:
                z = softplus(z) + 1
            rows.append(z)
        found[task.name] = torch.stack(rows)
    return found


def logits_by_hand(task: TaskSpec, evidence: Tensor) -> Tensor:
    if task.kind == "regression":
        return task.scale[0] + task.scale[1] * evidence[:, [0]]
    p = evidence / evidence.sum(1, keepdim=True)
    if task.kind == "binary":
        return (p[:, [0]] / p[:, [1]]).log()
    return evidence.log()


def test_heads_are_their_formula() -> None:
    heads, inputs = EvidentialHeads(TASKS, DIM).double(), transfer.drawn()
    found = heads(inputs)
    assert list(found) == [task.name for task in TOLD]
    assert {k: v.shape[1] for k, v in found.items()} == WIDTH
    close(found, by_hand(heads, inputs))
    assert [len(own.weight) for own in heads.maps] == [3, 1, 2]


@pytest.mark.parametrize("detach", [False, True])
def test_a_detached_head_trains_nothing_before_it(detach: bool) -> None:
    heads, inputs = EvidentialHeads(TASKS, DIM, detach).double(), transfer.drawn()
    torch.cat([e.sum(0) for e in heads(inputs).values()]).sum().backward()
    assert all(p.grad.any() for p in heads.parameters())
    moved = [x.grad is not None and bool(x.grad.any()) for x in inputs]
    assert moved == [not detach and t in TOLD for t in TASKS]


def test_heads_of_the_threads_tasks_are_3168_numbers() -> None:
    heads = EvidentialHeads(THREAD, 32)
    assert sum(p.numel() for p in heads.parameters()) == 3168
    widths = [own.weight.shape[1] for own in heads.maps]
    assert sorted(widths) == sorted({2, 3, 4, 6, 7, 12, 28})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_evidence_is_that_of_a_distribution_however_far_its_numbers(
    dtype: torch.dtype,
) -> None:
    """In half precision too: alpha - 1 above zero, and nu and beta."""
    for task in TOLD:
        raw = torch.tensor([-1e6, -90.0, -3, 0, 3, 90, 1e6], dtype=dtype)
        raw = raw[:, None].repeat(1, WIDTH[task.name]).requires_grad_()
        found = to_evidence(task, raw)
        assert found.dtype == (
            torch.float64 if dtype == torch.float64 else torch.float32
        )
        assert found.isfinite().all()
        found.sum().backward()
        assert raw.grad.isfinite().all()
        if task.kind == "regression":
            assert (found[:, 1:] > torch.tensor([0.0, 1, 0])).all()
            assert (found[:, 0] == raw[:, 0]).all()
        else:
            assert (found >= 1).all()
        assert to_logits(task, found).isfinite().all()


def test_logits_have_the_probabilities_of_the_evidence() -> None:
    for task in TOLD:
        evidence = 1 + 9 * torch.rand(BATCH, WIDTH[task.name]).double()
        logits = to_logits(task, evidence)
        assert logits.shape == (BATCH, task.outputs)
        close(logits, logits_by_hand(task, evidence))
    close(to_logits(TASKS[3], torch.tensor([[3.0, 1.0]])).sigmoid().item(), 0.75, 1e-6)


def instead(method: str = "residual", init: str = "zero") -> EvidentialTowers:
    spec = TransferSpec(method=method, init=init)
    schema = transfer.schema()
    found = EvidentialTowers(schema, DIM, transfer.TOWER, spec).double()
    for parameter in found.receivers.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return found


@transfer.methods
@transfer.inits
def test_heads_instead_of_towers_hear_and_inform(method: str, init: str) -> None:
    model, inputs = instead(method, init), transfer.drawn()
    logits, evidence = model.answers(inputs)
    heads = {}

    def answered(own: EvidentialTowers, name: str, x: Tensor) -> Tensor:
        """What the head of a task answers to this vector, as logits."""
        ((step, names),) = (
            (step, names)
            for step, names in zip(own.towers, own.order, strict=True)
            if name in names
        )
        if name == "brand":
            return step.towers([x])[name]
        heads[name] = by_hand(step.heads, [x] * len(names))[name]
        return logits_by_hand(own.tasks[name], heads[name])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "logits_of", answered)
        spec = TransferSpec(method=method, init=init)
        wanted = transfer.by_hand(model, inputs, spec, transfer.schema())
    assert list(logits) == transfer.NAMES
    assert list(evidence) == [task.name for task in TOLD]
    close(logits, wanted, 1e-11)
    close(evidence, {name: heads[name] for name in evidence}, 1e-11)
    leaves = [*model.parameters(), *inputs]
    found = transfer.gradients(logits, leaves)
    close(found, transfer.gradients(wanted, leaves), 1e-9)


def test_instead_of_towers_there_are_none() -> None:
    names = {name for name, _ in instead().named_parameters()}
    own = {n for n in names if ".towers." in n}
    assert {n.split(".")[1] for n in own} == {"0"}  # brand's, of the first step
    assert not {n for n in own if ".heads." in n}
    edges = (Transfer(source="x", target="y"),)
    tasks = (TaskSpec(name="x"), TaskSpec(name="y"))
    schema = Schema(features=(Feature(name="f"),), tasks=tasks, transfers=edges)
    deaf = EvidentialTowers(schema, DIM, MLPSpec(dims=(5,)), None)
    assert len(list(deaf.towers)) == 1
    assert not list(deaf.receivers)


def test_a_brand_keeps_its_tower_wherever_it_stands() -> None:
    tasks = (TaskSpec(name="x"), THREAD[-1], TaskSpec(name="y"))
    schema = Schema(features=(Feature(name="f"),), tasks=tasks)
    model = EvidentialTowers(schema, DIM, MLPSpec(dims=(5,)), None)
    one, two, three = (torch.randn(BATCH, DIM) for _ in tasks)
    logits, evidence = model.answers([one, two, three])
    close(logits["brand"], model.towers[0].towers([two])["brand"])
    assert (list(logits), list(evidence)) == (["x", "brand", "y"], ["x", "y"])


def test_whether_heads_are_detached_follows_their_place() -> None:
    assert EvidentialSpec().detached
    assert not EvidentialSpec(place="instead").detached
    assert not replace(EvidentialSpec(), place="instead").detached
    assert not EvidentialSpec(detach=False).detached
    assert EvidentialSpec(place="instead", detach=False) != EvidentialSpec()


@pytest.mark.plain
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"place": "besides"}, r"place must be one of \('beside', .*mean 'beside'\?"),
        ({"risk": "mse"}, r"risk must be one of \('squared', 'digamma', 'likelihood'"),
        ({"tilde": "none"}, r"tilde must be one of \('sensoy', 'full', 'source'\)"),
        ({"nll": "gauss"}, r"nll must be one of \('amini', 'source'\). Found 'gauss'"),
        ({"detach": 1}, "detach is True, False or None. Found 1"),
        ({"place": "instead", "detach": True}, "train the experts. Found detach=True"),
        ({"kl": -0.1}, "kl must be finite and >= 0. Found -0.1"),
        ({"error": float("inf")}, "error must be finite and >= 0. Found inf"),
        ({"kl": float("nan")}, "kl must be finite and >= 0. Found nan"),
        ({"anneal": -1}, "anneal must be finite and >= 0. Found -1"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        EvidentialSpec(**options)


def test_where_no_task_has_evidence_there_are_no_heads() -> None:
    with pytest.raises(ValueError, match=r"Found only \['brand \(contrastive\)'\]"):
        check_any([THREAD[-1]])
    check_any(THREAD)
