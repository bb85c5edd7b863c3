"""The fusion gate reports the weights it mixes with."""

import math

import pytest
import torch
from torch import nn

from ple_study.experts.temporal.fusion import FusionGate, entropy_bits
from tests.sizes import BATCH, DIMS


def branches() -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(BATCH, dim, generator=draw).double() for dim in DIMS]


def test_the_mixture_is_what_the_weights_say() -> None:
    gate, parts = FusionGate(DIMS, 9).double(), branches()
    mixed, weights = gate(parts)
    torch.testing.assert_close(weights.sum(1), torch.ones(BATCH).double())
    each = [project(z) for project, z in zip(gate.project, parts, strict=True)]
    wanted = sum(weights[:, i, None] * z for i, z in enumerate(each))
    torch.testing.assert_close(mixed, wanted, atol=1e-12, rtol=1e-12)


def test_another_gate_moves_the_report_and_the_mixture() -> None:
    gate, parts = FusionGate(DIMS, 9).double(), branches()
    before = gate(parts)
    nn.init.normal_(gate.score.bias)
    after = gate(parts)
    assert (before.weights != after.weights).all()
    assert (before.mixed != after.mixed).all()


def test_equal_scores_give_the_mean() -> None:
    gate, parts = FusionGate(DIMS, 9).double(), branches()
    for parameter in gate.score.parameters():
        nn.init.zeros_(parameter)
    mixed, weights = gate(parts)
    each = [project(z) for project, z in zip(gate.project, parts, strict=True)]
    torch.testing.assert_close(mixed, torch.stack(each).mean(0))
    torch.testing.assert_close(
        entropy_bits(weights), torch.full((BATCH,), math.log2(3)).double()
    )


def test_entropy_in_bits() -> None:
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.25, 0.25]])
    assert entropy_bits(weights).tolist() == pytest.approx([0.0, 1.0, 1.5])
