"""Chains of ReLU layers against torch's own modules, in float64."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from ple_study.experts import mlp
from ple_study.experts.mlp import MLPSpec, ParallelMLP, side_by_side, trains_as_chains
from ple_study.experts.relu_chains import Chain, relu_chains
from ple_study.gates.cgc import CGCLayer
from tests.sizes import BATCH, DIMS

READS = [1, 0, 1, 1]  # which of two inputs each chain reads


def networks(dims: tuple[int, ...], count: int = len(READS)) -> list[nn.Sequential]:
    torch.manual_seed(0)
    pairs = list(pairwise(dims))
    return [
        nn.Sequential(
            *(part for p in pairs for part in (nn.Linear(*p), nn.ReLU()))
        ).double()
        for _ in range(count)
    ]


def chain(net: nn.Sequential) -> Chain:
    return [(x.weight, x.bias) for x in net if isinstance(x, nn.Linear)]


def gradients(table: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(2)
    return torch.autograd.grad(
        table,
        leaves,
        torch.randn(table.shape, generator=draw, dtype=table.dtype),
        retain_graph=True,
    )


@pytest.mark.parametrize("dims", [DIMS[:2], DIMS, (7, 8, 6, 9)])
def test_chains_are_plain_networks(dims: tuple[int, ...]) -> None:
    nets = networks(dims)
    xs = list(torch.randn(2, BATCH, dims[0]).double().requires_grad_().unbind())
    reads = [xs[i] for i in READS]
    answers, found = relu_chains(reads, [chain(net) for net in nets])
    assert all(torch.equal(a, found[:, i]) for i, a in enumerate(answers))
    wanted = torch.stack([net(x) for net, x in zip(nets, reads, strict=True)], dim=1)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)
    leaves = [*xs, *(p for net in nets for p in net.parameters())]
    before = [x.detach().clone() for x in leaves]
    pairs = gradients(found, leaves), gradients(wanted, leaves)
    torch.testing.assert_close(*pairs, atol=1e-12, rtol=1e-12)
    assert all(map(torch.equal, before, leaves))  # nobody wrote into what was read


def test_a_gradient_is_there_for_a_second_backward_pass() -> None:
    nets, x = networks(DIMS), torch.randn(BATCH, DIMS[0]).double().requires_grad_()
    _, found = relu_chains([x] * len(nets), [chain(net) for net in nets])
    grad = torch.randn_like(found)
    first, again = (
        torch.autograd.grad(found, [x], grad, retain_graph=True) for _ in range(2)
    )
    assert torch.equal(*first, *again)


def test_gradients_of_gradients() -> None:
    one, other = networks((3, 4, 2), count=2)

    def run(x: Tensor, *layers: Tensor) -> Tensor:
        w, b, v, c = layers
        return relu_chains([x, x], [[(w, b), (v, c)], chain(other)])[1]

    inputs = torch.randn(BATCH, 3).double().requires_grad_(), *one.parameters()
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


def test_what_is_frozen_gets_no_gradient() -> None:
    nets, x = networks(DIMS), torch.randn(BATCH, DIMS[0]).double()
    frozen, learned = nets[0].requires_grad_(False), nets[1]
    relu_chains([x] * len(nets), [chain(net) for net in nets])[1].sum().backward()
    assert x.grad is None
    assert all(p.grad is None for p in frozen.parameters())
    assert all(p.grad is not None for p in learned.parameters())


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("asked", [[0], [2], [1, 3], [0, 1, 2]])
def test_a_chain_that_nobody_asked_gets_no_gradient(
    asked: list[int], again: bool
) -> None:
    """And the others get theirs, also when these are to be differentiated."""
    nets = networks(DIMS)
    xs = list(torch.randn(2, BATCH, DIMS[0]).double().requires_grad_().unbind())
    reads = [xs[i] for i in READS]
    answers, _ = relu_chains(reads, [chain(net) for net in nets])
    plain = [net(x) for net, x in zip(nets, reads, strict=True)]
    leaves = [*xs, *(p for net in nets for p in net.parameters())]
    found, wanted = (
        torch.autograd.grad(
            torch.stack([some[i] for i in asked]).square().sum(),
            leaves,
            create_graph=again,
            allow_unused=True,
        )
        for some in (answers, plain)
    )
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)
    if again:
        slopes = (
            torch.autograd.grad(
                torch.cat([g.flatten() for g in some if g is not None]).square().sum(),
                leaves,
                allow_unused=True,
                materialize_grads=True,
            )
            for some in (found, wanted)
        )
        torch.testing.assert_close(*slopes, atol=1e-12, rtol=1e-12)


def test_a_frozen_chain_beside_a_slope_of_a_slope() -> None:
    nets, x = networks(DIMS), torch.randn(BATCH, DIMS[0]).double()
    nets[0].requires_grad_(False)
    leaves = list(nets[1].parameters())
    _, found = relu_chains([x] * len(nets), [chain(net) for net in nets])
    wanted = torch.stack([net(x) for net in nets], dim=1)
    pairs = (
        torch.autograd.grad(some.square().sum(), leaves, create_graph=True)
        for some in (found, wanted)
    )
    torch.testing.assert_close(*pairs, atol=1e-12, rtol=1e-12)


def level(spec: MLPSpec, private: tuple[int, ...] = (2, 0, 1)) -> CGCLayer:
    torch.manual_seed(0)
    return CGCLayer(DIMS[0], private, 2, spec, last=False).double()


@pytest.mark.parametrize("private", [(2, 0, 1), (0, 0, 0)])
@pytest.mark.parametrize("own", [False, True])
def test_a_level_in_training_is_what_it_is_in_use(
    own: bool, private: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = level(MLPSpec(dims=DIMS[1:]), private)
    x = torch.randn(BATCH, DIMS[0]).double().requires_grad_()
    inputs = [x.sin(), x, x.cos(), x] if own else x
    leaves = [x, *layer.parameters()]
    (wanted, *_), experts = layer.eval()(inputs)
    slow = gradients(torch.stack(wanted), leaves)
    taken = []
    chains = mlp.relu_chains
    monkeypatch.setattr(mlp, "relu_chains", lambda *a: taken.append(1) or chains(*a))
    (found, *_), same = layer.train()(inputs)
    fast = gradients(torch.stack(found), leaves)
    assert taken == [1]
    torch.testing.assert_close((found, same), (wanted, experts), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(fast, slow, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    "change", [{"activation": "silu"}, {"norm": "layer"}, {"dropout": 0.5}]
)
def test_what_chains_do_not_compute_is_computed_lane_by_lane(change: dict) -> None:
    lanes = ParallelMLP(3, 6, MLPSpec(dims=(7,), **change))
    assert not trains_as_chains(lanes, torch.randn(BATCH, 6))
    assert side_by_side((lanes, torch.randn(BATCH, 6)))[1].shape == (BATCH, 3, 7)


def test_under_autocast_products_are_of_half_precision() -> None:
    lanes, x = ParallelMLP(3, 6, MLPSpec(dims=(7,))), torch.randn(BATCH, 6)
    assert side_by_side((lanes, x))[1].dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert side_by_side((lanes, x))[1].dtype == torch.bfloat16


@pytest.mark.plain  # what checks types cannot be compiled
def test_a_level_in_training_compiles_whole() -> None:
    layer, x = level(MLPSpec(dims=DIMS[1:])), torch.randn(BATCH, DIMS[0]).double()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    found, wanted = compiled(x)[0].mixed, layer(x)[0].mixed
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


def test_answers_one_by_one_are_on_the_way_to_the_table() -> None:
    """Whoever asks how the mixture moves with one expert's answer is told."""
    layer = CGCLayer(6, (1, 2), 1, MLPSpec(dims=(7, 8))).train()
    (mixed, weights, _), experts = layer(torch.randn(5, 6))
    found = torch.autograd.grad(mixed[1].sum(), experts)
    # Task 1 hears its own two and the shared expert, and not the one of task 0.
    wanted = [torch.zeros(5), *weights[1].unbind(1)]
    for grad, weight in zip(found, wanted, strict=True):
        torch.testing.assert_close(grad, weight[:, None].expand(5, 8))
