"""From scores to weights in loops: every kind of gate, and what a sparse one asks."""

import pytest
import torch
from torch import Tensor

from ple_study.gates.gate import Gate
from ple_study.gates.routing import GateSpec, load_balance
from tests.sizes import BATCH, DIMS, EXPERTS, TASKS

KINDS = {
    "softmax": GateSpec(),
    "sigmoid": GateSpec(kind="sigmoid"),
    **{f"top {k}": GateSpec(kind="top_k", top_k=k) for k in (1, 2, 3, EXPERTS + 5)},
}
each = pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS)


def scored(*shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    scores = 2 * torch.randn(*shape, dtype=torch.float64, generator=draw)
    return scores.requires_grad_()


def close(found: object, wanted: object) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


def best(scores: list[Tensor], count: int) -> list[int]:
    return sorted(range(len(scores)), key=lambda i: -float(scores[i].detach()))[:count]


def routed(spec: GateSpec, scores: list[Tensor]) -> list[Tensor]:
    """The weights of one listener for one customer, slot by slot."""
    if spec.kind == "sigmoid":
        open_ = [1 / (1 + (-s).exp()) for s in scores]
        return [o / (sum(open_) + 1e-6) for o in open_]
    chosen = best(scores, spec.top_k if spec.kind == "top_k" else len(scores))
    raw = [s.exp() if i in chosen else 0 * s for i, s in enumerate(scores)]
    return [r / sum(raw) for r in raw]


def balance(spec: GateSpec, scores: Tensor) -> Tensor:
    """E sum_i f_i P_i of one listener (Fedus et al., JMLR 2022, equations 4 to 6)."""
    slots, batch = scores.shape
    f, p = [0.0] * slots, [scores.new_zeros(())] * slots
    for customer in range(batch):
        own = list(scores[:, customer].unbind())
        chosen, raw = best(own, spec.top_k), [s.exp() for s in own]
        for i in range(slots):
            f[i] += (i in chosen) / (batch * len(chosen))
            p[i] = p[i] + raw[i] / sum(raw) / batch
    return slots * sum(a * b for a, b in zip(f, p, strict=True))


@each
def test_weights_are_their_formula(spec: GateSpec) -> None:
    scores = scored(TASKS, EXPERTS, BATCH)
    found = spec.weights(scores)
    wanted = [
        [routed(spec, list(own.unbind())) for own in listener.unbind(1)]
        for listener in scores.unbind()
    ]
    stacked = torch.stack([torch.stack([torch.stack(w) for w in k]) for k in wanted])
    close(found, stacked.mT)
    exact = spec.kind != "sigmoid"
    ones = torch.ones(TASKS, BATCH, dtype=torch.float64)
    torch.testing.assert_close(
        found.sum(1), ones, atol=1e-12 if exact else 1e-5, rtol=0
    )
    draw = torch.randn(stacked.shape, dtype=torch.float64)
    (one,) = torch.autograd.grad((found.mT * draw).sum(), scores)
    (other,) = torch.autograd.grad((stacked * draw).sum(), scores)
    close(one, other)


def test_equal_scores_weigh_alike_and_a_sparse_gate_still_chooses_k() -> None:
    scores = torch.zeros(EXPERTS, BATCH)
    for name in ("softmax", "sigmoid"):
        weights = KINDS[name].weights(scores)
        torch.testing.assert_close(weights, torch.full_like(scores, 1 / EXPERTS))
    chosen = KINDS["top 2"].chosen(scores)
    assert chosen.sum(0).tolist() == [2] * BATCH


def test_whom_a_sparse_gate_leaves_out_weighs_nothing_and_learns_nothing() -> None:
    scores = scored(EXPERTS, BATCH)
    spec = KINDS["top 2"]
    weights = spec.weights(scores)
    (weights * torch.randn(EXPERTS, BATCH)).sum().backward()
    out = ~spec.chosen(scores)
    assert (out == (weights == 0)).all()
    assert not scores.grad[out].any()
    assert scores.grad[~out].all()


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_balance_is_its_formula(top_k: int) -> None:
    spec, scores = GateSpec(kind="top_k", top_k=top_k), scored(TASKS, EXPERTS, BATCH)
    found = load_balance(scores, spec.chosen(scores))
    wanted = sum(balance(spec, own) for own in scores.unbind()) / TASKS
    close(found, wanted)
    grads = [torch.autograd.grad(loss, scores) for loss in (found, wanted)]
    close(*grads)


def test_balance_is_one_at_best_use_and_their_number_at_worst() -> None:
    turns = 3 * torch.eye(EXPERTS, dtype=torch.float64)  # everybody another expert
    spec = KINDS["top 1"]
    close(load_balance(turns, spec.chosen(turns)), torch.ones_like(turns[0, 0]))
    alone = torch.zeros(EXPERTS, BATCH).double()
    alone[2] = 90.0
    worst = load_balance(alone, spec.chosen(alone))
    close(worst, torch.full_like(worst, EXPERTS))


@pytest.mark.parametrize("slots", [[[0, 1], [1, 0]], [[0, 3], [2], [1, 2, 3]]])
def test_a_gate_in_training_asks_for_its_balance(slots: list[list[int]]) -> None:
    spec = GateSpec(kind="top_k", top_k=1, balance=0.3)
    gate, x = Gate(DIMS[0], slots, spec).double(), scored(BATCH, DIMS[0])
    experts = list(torch.randn(EXPERTS, BATCH, DIMS[1]).double().unbind())
    rows = torch.split(gate.linear.weight @ x.T, [len(places) for places in slots])
    wanted = 0.3 * sum(balance(spec, own) for own in rows) / len(slots)
    close(gate(x, experts).penalty, wanted)
    assert gate.eval()(x, experts).penalty == 0
    gate.train().freeze()
    assert gate(x, experts).penalty == 0


@pytest.mark.parametrize(
    "spec", [GateSpec(), GateSpec(kind="sigmoid"), GateSpec(kind="top_k", balance=0.0)]
)
def test_other_gates_ask_for_nothing(spec: GateSpec) -> None:
    gate = Gate(DIMS[0], [[0, 1, 2]], spec)
    experts = list(torch.randn(3, BATCH, DIMS[1]).unbind())
    assert gate(torch.randn(BATCH, DIMS[0]), experts).penalty == 0


@pytest.mark.plain
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "softmex"}, "kind of a gate must be .*Found 'softmex'.*'softmax'"),
        ({"top_k": 0}, "top_k >= 1 and balance >= 0. Found top_k=0, balance=0.01"),
        ({"balance": -0.5}, r"Found top_k=2, balance=-0\.5"),
        ({"balance": float("nan")}, "Found top_k=2, balance=nan"),
    ],
)
def test_a_gate_that_cannot_be_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GateSpec(**options)
