"""What one task tells another, against loops in float64, and what that can do."""

from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from itertools import compress

import pytest
import torch
from torch import Tensor, nn

from ple_study.experts.mlp import MLPSpec
from ple_study.schema import Feature, Schema, TaskSpec, Transfer
from ple_study.tasks.transfer import Branch, TransferSpec, TransferTowers
from tests.sizes import BATCH, DIMS

DIM = DIMS[0]
TASKS = (  # b hears a and d; c hears b, which has heard; e hears c and brand
    TaskSpec(name="c", kind="regression", scale=(40.0, 7.0)),
    TaskSpec(name="brand", kind="contrastive", classes=9, dim=3),
    TaskSpec(name="b", kind="multiclass", classes=4),
    TaskSpec(name="alone"),
    TaskSpec(name="a"),
    TaskSpec(name="e"),
    TaskSpec(name="d", kind="multiclass", classes=3),
)
NAMES = [task.name for task in TASKS]
PAIRS = (("a", "b"), ("b", "c"), ("c", "e"), ("d", "b"), ("brand", "e"))
KINDS = ("sequential", "inverse", "feature", "inverse", "sequential")
EDGES = tuple(
    Transfer(source=source, target=target, kind=kind, strength=0.3 + 0.2 * place)
    for place, ((source, target), kind) in enumerate(zip(PAIRS, KINDS, strict=True))
)
ORDER = [["brand", "alone", "a", "d"], ["b"], ["c"], ["e"]]
METHODS = ("residual", "output_concat", "hidden_concat")
TOWER = MLPSpec(dims=(8, 7), activation="silu", norm="layer")
methods = pytest.mark.parametrize("method", METHODS)
inits = pytest.mark.parametrize("init", ["zero", "source"])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def close(found: object, wanted: object, within: float = 1e-12) -> None:
    torch.testing.assert_close(found, wanted, atol=within, rtol=within)


def schema(edges: Sequence[Transfer] = EDGES) -> Schema:
    return Schema(features=(Feature(name="x"),), tasks=TASKS, transfers=tuple(edges))


def towers(
    edges: Sequence[Transfer] = EDGES, stir: bool = True, **options: object
) -> TransferTowers:
    """In float64; with ``stir``, every branch is anything."""
    spec = None if options.pop("none", False) else TransferSpec(**options)
    found = TransferTowers(schema(edges), DIM, TOWER, spec).double()
    for parameter in found.receivers.parameters() if stir else ():
        nn.init.normal_(parameter, std=0.6)
    return found


def drawn() -> list[Tensor]:
    return [torch.randn(BATCH, DIM).double().requires_grad_() for _ in TASKS]


def logits_of(model: TransferTowers, name: str, x: Tensor) -> Tensor:
    """What the tower of a task answers to this vector."""
    ((own, names),) = (
        (own, names)
        for own, names in zip(model.towers, model.order, strict=True)
        if name in names
    )
    return own([x] * len(names))[name]


def said(edge: Transfer, task: TaskSpec, logits: Tensor) -> Tensor:
    """Probabilities, deviations, or one minus them, row by row."""
    if task.kind == "binary":
        found = 1 / (1 + (-logits).exp())
    elif task.kind == "regression":
        found = (logits - task.scale[0]) / task.scale[1]
    else:
        found = torch.stack([row.exp() / row.exp().sum() for row in logits])
    return 1 - found if edge.kind == "inverse" else found


def branch(own: Branch, rows: Tensor) -> Tensor:
    """SiLU(LN(W m + b)), and a linear map behind it if there is one."""
    linear, norm, _, *last = own
    answers = []
    for m in rows:
        x = linear.weight @ m + linear.bias
        x = (x - x.mean()) / ((x - x.mean()).square().mean() + 1e-5).sqrt()
        x = x * norm.weight + norm.bias
        x = x * x.sigmoid()
        answers.append(last[0].weight @ x + last[0].bias if last else x)
    return torch.stack(answers)


def by_hand(
    model: TransferTowers, inputs: Sequence[Tensor], spec: TransferSpec, about: Schema
) -> dict[str, Tensor]:
    """Task after task, each when those that it hears have answered."""
    reads, logits = dict(zip(about.task_names, inputs, strict=True)), {}
    heard = dict(zip(model.sources, model.receivers, strict=True))
    sources = {n: [e for e in about.transfers if e.target == n] for n in reads}
    while len(logits) < len(reads):
        waiting = [n for n in reads if n not in logits]
        name = next(n for n in waiting if all(e.source in logits for e in sources[n]))
        into, h = sources[name], reads[name]
        told = [
            reads[e.source] if spec.method == "hidden_concat"
            else said(e, about.task(e.source), logits[e.source])
            for e in into
        ]  # fmt: skip
        if into and spec.method == "residual":
            for e, m, own in zip(into, told, heard[name].branches, strict=True):
                reads[name] = reads[name] + e.strength * branch(own, m)
        elif into:
            answer = branch(heard[name].branches[0], torch.cat([h, *told], dim=1))
            reads[name] = h + answer if spec.init == "zero" else answer
        logits[name] = logits_of(model, name, reads[name])
    return logits


def gradients(logits: dict[str, Tensor], leaves: list[Tensor]) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(1)
    weighed = [
        (logits[name] * torch.randn(logits[name].shape, generator=draw)).sum()
        for name in NAMES
    ]
    return torch.autograd.grad(torch.stack(weighed).sum(), leaves)


@methods
@inits
def test_transfer_is_its_formula(method: str, init: str) -> None:
    model, inputs = towers(method=method, init=init), drawn()
    found = model(inputs)
    wanted = by_hand(model, inputs, TransferSpec(method=method, init=init), schema())
    assert list(found) == NAMES
    close(found, wanted, 1e-11)
    leaves = [*model.parameters(), *inputs]
    close(gradients(found, leaves), gradients(wanted, leaves), 1e-9)


@methods
@inits
@pytest.mark.parametrize("edge", range(len(EDGES)))
def test_who_speaks_moves_those_that_hear(method: str, init: str, edge: int) -> None:
    """The target, and whoever hears the target, and no other task."""
    model, inputs = towers(method=method, init=init), drawn()
    moved, before = {EDGES[edge].source}, model(inputs)
    for _ in TASKS:
        moved |= {e.target for e in EDGES if e.source in moved}
    place = NAMES.index(EDGES[edge].source)
    inputs[place] = inputs[place] + torch.randn(BATCH, DIM).double()
    after = model(inputs)
    assert {n for n in NAMES if not torch.equal(before[n], after[n])} == moved


@methods
@pytest.mark.parametrize("detach", [False, True])
def test_a_targets_loss_trains_its_sources_unless_detached(
    method: str, detach: bool
) -> None:
    model, inputs = towers(method=method, detach=detach), drawn()
    model(inputs)["e"].square().sum().backward()
    heard = {"c", "brand", "b", "a", "d", "e"}
    moved = [x.grad is not None and bool(x.grad.any()) for x in inputs]
    assert set(compress(NAMES, moved)) == ({"e"} if detach else heard)
    speak = set() if method == "hidden_concat" or detach else heard
    for names, own in zip(model.order, model.towers, strict=True):
        weight = own.hidden.layers[0].weight
        grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        assert set(compress(names, grad.any(2).any(1))) == ({"e"} | speak) & set(names)


@methods
@inits
def test_one_row_alone_is_that_row(method: str, init: str) -> None:
    model, inputs = towers(method=method, init=init), drawn()
    together = model(inputs)
    for rows in (*torch.eye(BATCH).nonzero()[:, 1:], torch.arange(BATCH).roll(2)):
        found = model([x[rows] for x in inputs])
        close(found, {name: z[rows] for name, z in together.items()}, 1e-11)


@pytest.mark.plain
@pytest.mark.parametrize("method", ["output_concat", "hidden_concat"])
def test_the_compiled_form_is_the_same(method: str) -> None:
    model, inputs = towers(method=method), drawn()
    leaves = [*model.parameters(), *inputs]
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    found, wanted = compiled(inputs), model(inputs)
    close(found, wanted, 1e-11)
    close(gradients(found, leaves), gradients(wanted, leaves), 1e-9)


@methods
@inits
def test_half_precision_is_near(method: str, init: str) -> None:
    model = towers(method=method, init=init).float()
    inputs = [x.detach().float() for x in drawn()]
    with torch.autocast("cpu", torch.bfloat16):
        found = model(inputs)
    wanted = model(inputs)
    for name, task in zip(NAMES, TASKS, strict=True):
        unit = task.scale[1] if task.kind == "regression" else 1
        # cosines over 0.07 can be 28 apart
        wide = 3.0 if task.kind == "contrastive" else 0.15
        assert (found[name].float() - wanted[name]).abs().max() < wide * unit
    torch.stack([z.sum() for z in found.values()]).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    whole = model.bfloat16()([x.bfloat16() for x in inputs])
    assert all(z.isfinite().all() for z in whole.values())


@methods
@inits
def test_a_state_survives_a_file(method: str, init: str) -> None:
    model, inputs = towers(method=method, init=init), drawn()
    other = towers(method=method, init=init)
    assert not torch.equal(other(inputs)["e"], model(inputs)["e"])
    other.load_state_dict(model.state_dict())
    assert all(map(torch.equal, other(inputs).values(), model(inputs).values()))


def test_a_spec_is_a_value() -> None:
    assert hash(TransferSpec()) == hash(TransferSpec())
    with pytest.raises(FrozenInstanceError):
        TransferSpec().detach = True  # type: ignore[misc]
