"""A linear SEM: interventions against sums over paths, and what they leave alone."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from ple_study.experts.causal.sem import Edge, LinearSEM

NAMES = ("age", "income", "spend", "visits", "churn")
ORDER = (3, 0, 4, 1, 2)  # causes first


def model(seed: int = 0) -> LinearSEM:
    draw = torch.Generator().manual_seed(seed)
    full = torch.randn(5, 5, generator=draw, dtype=torch.float64).triu(1)
    weights = torch.zeros(5, 5, dtype=torch.float64)
    for i, j in itertools.product(range(5), repeat=2):
        weights[ORDER[i], ORDER[j]] = full[i, j]
    return LinearSEM(NAMES, weights)


def rows(sem: LinearSEM, samples: int = 80, seed: int = 1) -> Tensor:
    """Made one variable after the other, with means."""
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples, 5, generator=draw, dtype=torch.float64) + 2.0
    made = torch.zeros_like(noise)
    for j in ORDER:
        made[:, j] = noise[:, j] + made @ sem.weights[:, j]
    return made


def path_sum(weights: Tensor, start: int, end: int) -> float:
    """The sum over directed paths of the product of effects, path by path."""
    if start == end:
        return 1.0
    return sum(
        float(weights[start, middle]) * path_sum(weights, middle, end)
        for middle in weights[start].nonzero().flatten().tolist()
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-3.0, 0.0, 12.5])
def test_an_intervention_has_the_analytic_mean(name: str, value: float) -> None:
    """E[x_k | do(x_j = v)] = E[x_k] + (v - E[x_j]) times the sum of paths j -> k."""
    sem, j = model(), NAMES.index(name)
    seen = rows(sem)
    found = sem.do(seen, {name: value}).mean(0)
    mean = seen.mean(0)
    for k in range(5):
        reach = path_sum(sem.weights, j, k)
        wanted = float(mean[k]) + (value - float(mean[j])) * reach
        assert float(found[k]) == pytest.approx(wanted, abs=1e-8)


def test_what_drove_a_variable_no_longer_does() -> None:
    sem = model()
    seen = rows(sem)
    first, last = NAMES[ORDER[0]], NAMES[ORDER[-1]]
    set_both = sem.do(sem.do(seen, {last: 1.0}), {first: 9.0})
    assert (set_both[:, ORDER[-1]] != 1.0).all()  # a change after the act is heard
    together = sem.do(seen, {last: 1.0, first: 9.0})
    assert (together[:, ORDER[-1]] == 1.0).all()
    changed = sem.do(seen, {last: 1.0}) != seen
    assert changed.any(0).nonzero().flatten().tolist() != []
    torch.testing.assert_close(
        sem.do(seen, {last: 1.0})[:, list(ORDER[:-1])], seen[:, list(ORDER[:-1])]
    )  # an effect does not reach back to its causes
    torch.testing.assert_close(sem.do(seen, {}), seen)


def test_an_intervention_is_not_an_observation() -> None:
    """Rows in which a confounded variable happens to be high tell another story."""
    weights = torch.zeros(3, 3, dtype=torch.float64)
    weights[0, 1] = weights[0, 2] = 1.0
    sem = LinearSEM(("u", "x", "y"), weights)
    draw = torch.Generator().manual_seed(0)
    seen = torch.randn(4000, 3, generator=draw, dtype=torch.float64)
    seen = torch.linalg.solve(torch.eye(3) - weights, seen, left=False)
    assert float(seen[seen[:, 1] > 1.5][:, 2].mean()) > 0.9
    acted = sem.do(seen, {"x": 2.0})
    assert torch.equal(acted[:, 2], seen[:, 2])


def test_effects_and_noise_are_of_the_equations() -> None:
    sem = model()
    seen = rows(sem)
    torch.testing.assert_close(sem.noise(seen), seen - seen @ sem.weights)
    for i, j in itertools.product(range(5), repeat=2):
        wanted = path_sum(sem.weights, i, j)
        assert float(sem.total_effects()[i, j]) == pytest.approx(wanted, abs=1e-10)
    edges = sem.edges()
    assert len(edges) == 10
    assert edges == sorted(edges, key=lambda edge: -abs(edge.weight))
    one = edges[0]
    place = NAMES.index(one.cause), NAMES.index(one.effect)
    assert one == Edge(one.cause, one.effect, float(sem.weights[place]))


def test_an_unknown_variable_is_named() -> None:
    with pytest.raises(ValueError, match=r"variable 'agee'.*Did you mean 'age'"):
        model().do(rows(model()), {"agee": 1.0})


@pytest.mark.plain  # so that the model speaks, and not the type checker
@pytest.mark.parametrize(
    ("names", "weights", "message"),
    [
        (("a", "b"), [[0.0, 2.0], [2.0, 0.0]], "form no cycle"),
        (("a", "b"), [[0.0, math.nan], [0.0, 0.0]], "must be finite"),
        (("a", "a"), [[0.0, 1.0], [0.0, 0.0]], "must be unique"),
        (("a",), [[0.0, 1.0], [0.0, 0.0]], r"1 variables have.*\[2, 2\]"),
    ],
)
def test_what_is_no_model_is_refused(
    names: tuple[str, ...], weights: list[list[float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LinearSEM(names, torch.tensor(weights))
