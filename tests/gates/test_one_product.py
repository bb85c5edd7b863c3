"""Narrow experts and their gates on one wide input: one product, the same answers."""

import pytest
import torch
from torch import Tensor

from ple_study.experts.mlp import MLPSpec
from ple_study.gates.cgc import CGCLayer
from ple_study.gates.routing import GateSpec
from tests.sizes import BATCH

WIDE = 50  # more than six times the widths of the experts
SPECS = {
    "plain": (MLPSpec(dims=(7,)), GateSpec()),
    "as torch-rechub": (
        MLPSpec(dims=(7,), norm="batch"),
        GateSpec(bias=True, norm=True),
    ),
    "deep": (
        MLPSpec(dims=(8, 6), activation="silu", norm="layer"),
        GateSpec(bias=True),
    ),
    "scaled": (MLPSpec(dims=(7, 8)), GateSpec(scaled=True, kind="sigmoid")),
}


def layer(spec: str, private: tuple[int, ...], shared: int, last: bool) -> CGCLayer:
    torch.manual_seed(0)
    expert, gate = SPECS[spec]
    made = CGCLayer(WIDE, private, shared, expert, last=last, gate=gate).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def answers(made: CGCLayer, x: Tensor) -> tuple[Tensor, ...]:
    mixture, experts = made(x)
    return *mixture.mixed, *mixture.weights, *experts


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    ("private", "shared"), [((2, 1, 3), 2), ((0, 0, 0), 4), ((1, 2), 0)]
)
@pytest.mark.parametrize("spec", SPECS)
def test_one_product_or_many(
    spec: str,
    private: tuple[int, ...],
    shared: int,
    last: bool,
    training: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = torch.randn(BATCH, WIDE, dtype=torch.float64)
    found = []
    for one in (True, False):
        made, given = layer(spec, private, shared, last), x.clone().requires_grad_()
        made.train(training)
        assert made._one_product(given)
        if not one:
            monkeypatch.setattr(made, "_one_product", lambda _: False)
        said = answers(made, given)
        draw = torch.Generator().manual_seed(1)
        weigh = [torch.randn(y.shape, generator=draw, dtype=y.dtype) for y in said]
        sum((w * y).sum() for w, y in zip(weigh, said, strict=True)).backward()
        assert torch.equal(given, x)
        grads = {name: p.grad for name, p in made.named_parameters()}
        found.append((said, given.grad, grads, dict(made.named_buffers())))
    torch.testing.assert_close(*found, atol=1e-12, rtol=1e-12)


def test_a_frozen_gate_beside_learning_experts() -> None:
    made = layer("as torch-rechub", (2, 1), 2, True)
    made.gate.freeze()
    sum(y.sum() for y in answers(made, torch.randn(BATCH, WIDE).double())).backward()
    assert all(p.grad is None for p in made.gate.parameters())
    assert all(p.grad is not None for p in made.shared.parameters())


@pytest.mark.parametrize("dims", [(9,), (50, 7), ()])
def test_wide_experts_and_no_experts_stay_apart(dims: tuple[int, ...]) -> None:
    made = CGCLayer(WIDE, (1, 1), 1, MLPSpec(dims=dims))
    assert not made._one_product(torch.randn(BATCH, WIDE))


@pytest.mark.plain
@pytest.mark.parametrize("spec", SPECS)
def test_it_exports_for_any_number_of_customers(spec: str) -> None:
    made, x = layer(spec, (2, 1), 2, True).eval(), torch.randn(BATCH, WIDE).double()
    batch = torch.export.Dim("batch")
    with torch.no_grad():
        program = torch.export.export(made, (x,), dynamic_shapes=({0: batch},))
        for rows in (x, torch.randn(1, WIDE).double(), torch.randn(9, WIDE).double()):
            torch.testing.assert_close(program.module()(rows), made(rows))
