"""Acyclicity values against scipy and closed walks; graphs that differ; their order."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import Tensor

from ple_study.experts.causal.dag import (
    Difference,
    compare,
    exponential,
    is_acyclic,
    log_determinant,
    log_determinant_of,
    polynomial,
    prune,
    truncated,
    varsortability,
)

VALUES = {
    "exponential": exponential,
    "polynomial": polynomial,
    "truncated": truncated,
    "log_determinant": log_determinant,
}
each_value = pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())


def test_a_value_that_is_known_with_its_slope_has_no_second_derivative() -> None:
    weights = torch.rand(4, 4, dtype=torch.float64) / 9
    (slope,) = torch.autograd.grad(
        exponential(weights.requires_grad_()) ** 2, weights, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def effects(size: int = 7, scale: float = 0.3, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return scale * torch.randn(size, size, generator=draw, dtype=torch.float64)


def dag(size: int = 7, seed: int = 0) -> Tensor:
    """Full, with effects of one and more, in an order of its own."""
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    full = effects(size, 3.0, seed).triu(1)
    return full[order][:, order]


def test_values_are_their_definitions() -> None:
    weights = effects()
    squares = (weights**2).numpy()
    powers = [np.linalg.matrix_power(squares, k) for k in range(12)]
    ones = np.linalg.matrix_power(np.eye(7) + squares / 7, 7)
    wanted = {
        exponential: np.trace(expm(squares)) - 7,
        polynomial: np.trace(ones) - 7,
        truncated: sum(np.trace(powers[k]) / math.factorial(k) for k in range(1, 11)),
        log_determinant: -np.linalg.slogdet(np.eye(7) - squares)[1],
    }
    for value, number in wanted.items():
        assert float(value(weights)) == pytest.approx(number, abs=1e-10)
    scaled = 7 * math.log(1.7) - np.linalg.slogdet(1.7 * np.eye(7) - squares)[1]
    assert float(log_determinant(weights, 1.7)) == pytest.approx(scaled, abs=1e-10)


def test_gradients_are_their_closed_forms() -> None:
    weights = effects()
    squares = (weights**2).numpy()
    wanted = {
        exponential: expm(squares).T * 2 * weights.numpy(),
        log_determinant: np.linalg.inv(np.eye(7) - squares).T * 2 * weights.numpy(),
    }
    for value, slope in wanted.items():
        at = weights.clone().requires_grad_()
        (3 * value(at)).backward()
        np.testing.assert_allclose(at.grad, 3 * slope, atol=1e-12)


@each_value
def test_gradients_are_differences(value: object) -> None:
    assert torch.autograd.gradcheck(value, effects().requires_grad_())


@each_value
def test_zero_for_a_dag_alone(value: object) -> None:
    weights = dag()
    assert abs(float(value(weights))) < 1e-10
    i, j = weights.nonzero()[3].tolist()
    weights[j, i] = 1e-3  # closes a cycle that float32 does not see
    weights[i, j] = 1e-1
    assert float(value(weights.float())) > 1e-10
    loop = torch.zeros(7, 7)
    loop[2, 2] = 0.5
    assert float(value(loop)) > 0.2


@each_value
def test_signs_of_a_cycle_do_not_cancel(value: object) -> None:
    weights = torch.zeros(4, 4)
    weights[0, 1], weights[1, 0] = 0.5, 0.5
    weights[2, 3], weights[3, 2] = 0.5, -0.5
    halves = torch.zeros(4, 4)
    halves[0, 1], halves[1, 0] = 0.5, 0.5
    assert float(value(weights)) == pytest.approx(2 * float(value(halves)))


def test_ten_terms_see_no_cycle_of_eleven() -> None:
    ring = torch.eye(11).roll(1, 1) * 0.9
    assert float(truncated(ring)) == 0.0
    assert float(truncated(ring, terms=11)) > 0.0
    assert float(polynomial(ring)) > 0.0


def test_a_log_determinant_has_a_domain() -> None:
    ring = torch.eye(3).roll(1, 1)
    for size, inside in ((0.99, True), (1.0, False), (1.01, False), (9.0, False)):
        found = log_determinant_of((size * ring.double()) ** 2, 1.0)
        assert found.inside == inside
    with pytest.raises(ValueError, match=r"below s = 1.0. Found 1.0201"):
        log_determinant(1.01 * ring)
    assert float(log_determinant(1.01 * ring, s=1.1)) > 0.0


@pytest.mark.parametrize("seed", range(20))
def test_the_domain_is_a_spectral_radius(seed: int) -> None:
    squares = effects(9, 0.33, seed) ** 2
    radius = float(torch.linalg.eigvals(squares).abs().max())
    for s in (0.9 * radius, 0.999 * radius, 1.001 * radius, 1.1 * radius):
        assert log_determinant_of(squares, s).inside == (s > radius)
    assert log_determinant_of(dag(9, seed) ** 2, 0.5).inside


def test_walks_that_come_back_are_found() -> None:
    graph = dag(8) != 0
    assert is_acyclic(graph)
    assert is_acyclic(torch.zeros(0, 0, dtype=torch.bool))
    i, j = graph.nonzero()[5].tolist()
    graph[j, i] = True
    assert not is_acyclic(graph)
    assert not is_acyclic(torch.eye(2) > 0)


def test_weak_effects_are_dropped_until_no_cycle_is_left() -> None:
    weights = dag(6)
    assert torch.equal(prune(weights, 0.0), weights)
    kept = prune(weights, 1.5)
    assert torch.equal(kept, weights * (weights.abs() >= 1.5))
    ring = torch.tensor([[0.0, 2.0, 0.1], [0.0, 0.0, -0.7], [0.5, 0.0, 0.0]])
    wanted = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, -0.7], [0.0, 0.0, 0.0]])
    assert torch.equal(prune(ring, 0.3), wanted)
    assert torch.equal(prune(ring, 0.7), wanted)
    assert torch.equal(prune(ring.sign(), 0.3), torch.zeros(3, 3))
    assert torch.equal(prune(torch.zeros(3, 3), 0.0), torch.zeros(3, 3))


def test_differences_are_counted_by_kind() -> None:
    truth, found = torch.zeros(2, 5, 5, dtype=torch.bool)
    for i, j in ((0, 1), (1, 2), (2, 3), (0, 3)):
        truth[i, j] = True
    for i, j in ((0, 1), (2, 1), (3, 2), (4, 0)):
        found[i, j] = True
    assert compare(found, truth) == Difference(1, 2, 1, 1)
    assert compare(found, truth).distance == 4
    assert compare(truth, truth) == Difference(4, 0, 0, 0)
    assert compare(torch.zeros_like(truth), truth).distance == 4


def test_varsortability_counts_pairs_on_paths() -> None:
    graph = torch.zeros(4, 4, dtype=torch.bool)
    graph[0, 1] = graph[1, 2] = True  # pairs 0-1, 1-2 and 0-2; 3 stands alone
    rows = torch.randn(50, 1, generator=torch.Generator().manual_seed(0))
    for scales, wanted in (
        ((1, 2, 3, 9), 1.0),
        ((3, 2, 1, 9), 0.0),
        ((2, 1, 3, 9), 2 / 3),
        ((1, 1, 1, 1), 0.5),
    ):
        scaled = rows * torch.tensor(scales)
        assert varsortability(scaled, graph) == pytest.approx(wanted)
    assert math.isnan(varsortability(rows * torch.ones(4), graph & False))
