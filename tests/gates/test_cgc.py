"""Gates against direct formulas: who is heard, how much, and with which gradient."""

import pytest
import torch
from torch import Tensor

from ple_study.experts.mlp import MLPSpec
from ple_study.gates.cgc import CGCLayer, Gate, mix
from tests.sizes import BATCH, DIMS, EXPERTS

DIM_IN, DIM = DIMS[0], DIMS[1]
SLOTS = [[0, 3], [2], [1, 2, 3], [3, 0, 1, 2]]  # unequal, and in any order


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


def close(found: object, wanted: object) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


def by_hand(gate: Gate, xs: list[Tensor], experts: Tensor) -> tuple[list, list]:
    """g_k = softmax(norm(W_k x_k + b_k)); mixed_k = sum_i g_ki e_i"""
    state, start, mixed, weights = dict(gate.named_parameters()), 0, [], []
    for x, places in zip(xs, SLOTS, strict=True):
        own = slice(start, start + len(places))
        start += len(places)
        scores = x @ state["linear.weight"][own].T
        if "linear.bias" in state:
            scores = scores + state["linear.bias"][own]
        if "norm.weight" in state:
            scores = scores - scores.mean(0)
            scores = scores / (scores.square().mean(0) + 1e-5).sqrt()
            scores = scores * state["norm.weight"][own] + state["norm.bias"][own]
        raw = scores.exp()
        weights.append(raw / raw.sum(1, keepdim=True))
        mixed.append(torch.einsum("bs,sbd->bd", weights[-1], experts[places]))
    return mixed, weights


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_a_gate_is_its_formula(own: bool, bias: bool, norm: bool, grad: bool) -> None:
    gate = Gate(DIM_IN, SLOTS, bias=bias, norm=norm).double()
    for parameter in gate.parameters():
        torch.nn.init.normal_(parameter)
    xs, experts = normal(len(SLOTS), BATCH, DIM_IN), normal(EXPERTS, BATCH, DIM)
    reads = list(xs.unbind()) if own else [xs[0]] * len(SLOTS)
    with torch.set_grad_enabled(grad):
        found = gate(reads if own else reads[0], list(experts.unbind()))
        wanted = by_hand(gate, reads, experts)
    close(list(found), list(wanted))
    for weights in found.weights:
        close(weights.sum(1), torch.ones(BATCH, dtype=torch.float64))
    if grad:
        leaves = [xs, experts, *gate.parameters()]
        close(gradients(found, leaves), gradients(wanted, leaves))


def gradients(answer: tuple[list, list], leaves: list[Tensor]) -> tuple[Tensor, ...]:
    """Of a loss that looks at the mixtures and at the weights."""
    draw = torch.Generator().manual_seed(2)
    weighed = [
        (part * torch.randn(part.shape, generator=draw)).sum()
        for parts in answer
        for part in parts
    ]
    loss = torch.stack(weighed).sum()
    return torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("listener", range(len(SLOTS)))
def test_one_listeners_loss_reaches_whom_it_hears(listener: int) -> None:
    gate = Gate(DIM_IN, SLOTS).double()
    experts = list(normal(EXPERTS, BATCH, DIM).detach().unbind())
    experts = [expert.requires_grad_() for expert in experts]
    mixed, weights = gate(normal(BATCH, DIM_IN), experts)
    mixed[listener].sum().backward()
    for place, expert in enumerate(experts):
        if place in SLOTS[listener]:
            slot = SLOTS[listener].index(place)
            close(expert.grad, weights[listener][:, [slot]].expand_as(expert))
        else:
            assert expert.grad is None or not expert.grad.any()


def test_gradients_of_gradients() -> None:
    gate = Gate(3, [[0, 1], [1], [0, 1]]).double()

    def run(x: Tensor, one: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        return tuple(gate(x, [one, other]).mixed)

    inputs = normal(2, 3), normal(2, 4), normal(2, 4)
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


def test_experts_of_half_precision_under_weights_of_full() -> None:
    weights = [torch.rand(BATCH, 2), torch.rand(BATCH, 1)]
    experts = [torch.randn(BATCH, DIM).bfloat16() for _ in range(2)]
    slots = torch.tensor([0, 0, 1]), torch.tensor([1, 0, 1])
    first, second = mix(weights, experts, *slots)
    one, other = (expert.float() for expert in experts)
    wanted = weights[0][:, :1] * other + weights[0][:, 1:] * one
    torch.testing.assert_close(first.float(), wanted, atol=0.02, rtol=0.02)
    wanted = weights[1] * other
    torch.testing.assert_close(second.float(), wanted, atol=0.02, rtol=0.02)


def test_a_listener_without_experts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least one expert. Found counts \[2, 0\]"):
        Gate(DIM_IN, [[0, 1], []])


def layer(last: bool, shared: int = 2) -> CGCLayer:
    expert = MLPSpec(dims=(8, DIM), activation="silu")
    return CGCLayer(DIM_IN, (1, 0, 3), shared, expert, last=last).double()


@pytest.mark.parametrize("last", [False, True])
def test_a_level_mixes_own_experts_then_shared_ones(last: bool) -> None:
    level = layer(last)
    (mixed, weights), experts = level(normal(BATCH, DIM_IN))
    everyone = torch.stack(experts)
    assert everyone.shape == (6, BATCH, level.dim)
    heard = [[0, 4, 5], [4, 5], [1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]][: 4 - last]
    assert [w.shape[1] for w in weights] == [len(places) for places in heard]
    for found, gate, places in zip(mixed, weights, heard, strict=True):
        close(found, torch.einsum("bs,sbd->bd", gate, everyone[places]))


def test_a_level_reads_one_state_a_listener() -> None:
    level, states = layer(last=False), list(normal(4, BATCH, DIM_IN).unbind())
    (_, before), experts = level(states)
    owners = [0, 2, 2, 2, 3, 3]
    for listener in range(len(states)):
        others = list(states)
        others[listener] = normal(BATCH, DIM_IN)
        (_, after), moved = level(others)
        changed = [not torch.equal(*pair) for pair in zip(experts, moved, strict=True)]
        assert changed == [owner == listener for owner in owners]
        changed = [not torch.equal(*pair) for pair in zip(before, after, strict=True)]
        assert changed == [place == listener for place in range(4)]


def test_one_state_for_all_is_that_state_for_each() -> None:
    level, x = layer(last=False), normal(BATCH, DIM_IN)
    (one, weights), experts = level(x)
    (each, same), others = level([x] * 4)
    close([one, weights, experts], [each, same, others])


def test_without_shared_experts_there_is_no_shared_state() -> None:
    level = CGCLayer(DIM_IN, (1, 2), 0, MLPSpec(dims=(DIM,)), last=False)
    (mixed, _), experts = level(torch.randn(BATCH, DIM_IN))
    assert (len(mixed), len(experts)) == (2, 3)
