"""Edges and their direction found again, always a DAG, and rows that are refused."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from ple_study.experts.causal import search as module
from ple_study.experts.causal.dag import is_acyclic
from ple_study.experts.causal.search import Dagma, descend, inverse_within
from ple_study.experts.causal.sem import LinearSEM
from tests.experts.causal.test_sem import NAMES, model, rows


def test_a_search_finds_edges_and_their_direction() -> None:
    weights = torch.zeros(5, 5, dtype=torch.float64)
    for cause, effect, weight in ((3, 0, 1.2), (3, 4, -0.9), (0, 1, 0.8), (4, 1, 1.5)):
        weights[cause, effect] = weight
    seen = rows(LinearSEM(NAMES, weights), samples=2000)
    found = Dagma().fit(seen, NAMES)
    assert found.names == NAMES
    assert torch.equal(found.weights != 0, weights != 0)
    torch.testing.assert_close(found.weights, weights, atol=0.07, rtol=0)
    again = Dagma().fit(seen.float(), NAMES)
    torch.testing.assert_close(again.weights, found.weights, atol=1e-4, rtol=0)


def test_the_last_mu_has_twice_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []

    def counted(*given: Any) -> Any:
        mu, domain, allowed = given[3:]
        steps.append((round(mu, 9), domain, allowed))
        return given[1]

    monkeypatch.setattr(module, "descend", counted)
    Dagma(iterations=7).fit(rows(model(), samples=50), NAMES)
    mus, domains = (1.0, 0.1, 0.01, 0.001, 0.0001), (1.0, 0.9, 0.8, 0.7, 0.6)
    assert steps == list(zip(mus, domains, (7, 7, 7, 7, 14), strict=True))


def test_the_first_step_is_as_long_as_its_rate() -> None:
    covariance = np.array([[1.0, 0.5, 0.2], [0.5, 2.0, 0.4], [0.2, 0.4, 1.5]])
    one = descend(Dagma(lr=0.01), np.zeros((3, 3)), covariance, 1.0, 1.0, 1)
    np.testing.assert_allclose(one, 0.01 * (1 - np.eye(3)), rtol=1e-6)


def test_effects_that_stay_are_least_squares() -> None:
    seen = rows(model(), samples=500)
    found = Dagma(iterations=200).fit(seen, NAMES)
    centred = seen - seen.mean(0)
    for j in range(5):
        causes = found.weights[:, j].nonzero().flatten()
        if len(causes):
            wanted = torch.linalg.lstsq(centred[:, causes], centred[:, j]).solution
            torch.testing.assert_close(found.weights[causes, j], wanted)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_found_is_a_dag(seed: int) -> None:
    seen = rows(model(seed), seed=seed)
    seen = (seen - seen.mean(0)) / seen.std(0)
    hasty = Dagma(iterations=1 + 100 * seed, threshold=0.0, lr=0.03)
    assert is_acyclic(hasty.fit(seen, NAMES).weights != 0)


@pytest.mark.parametrize(
    ("spoil", "names", "message"),
    [
        (lambda x: x, NAMES[:4], "5 columns need a name each. Found 4"),
        (lambda x: x, (*NAMES[:4], "age"), "unique.*age"),
        (lambda x: x[:4], NAMES, "5 columns need as many rows or more. Found 4"),
        (lambda x: x.index_fill(1, torch.tensor(2), torch.nan), NAMES, "'spend'.*NaN"),
        (lambda x: x.index_fill(1, torch.tensor(1), 3.0), NAMES, "'income' must vary"),
    ],
)
def test_rows_that_teach_nothing_are_refused(
    spoil: object, names: tuple, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Dagma().fit(spoil(rows(model())), names)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="iterations and lr above 0"):
        Dagma(iterations=0)
    for bad in ({"lr": math.nan}, {"sparsity": math.inf}, {"tolerance": math.nan}):
        with pytest.raises(ValueError, match="all finite"):
            Dagma(**bad)
    with pytest.raises(ValueError, match="threshold and tolerance must be 0 or more"):
        Dagma(threshold=-0.1)


def test_a_stage_begins_within_its_domain() -> None:
    """The scales of some columns leave one stage outside the domain of the next."""
    weights = np.array([[0.0, 0.97], [0.97, 0.0]])  # of spectral radius 0.94
    assert inverse_within(weights, 0.9) is None
    assert inverse_within(np.array([[0.0, 1.0], [1.0, 0.0]]), 1.0) is None
    covariance = np.array([[2.0, 1.0], [1.0, 2.0]])
    ended = descend(Dagma(), weights, covariance, 0.1, 0.9, steps=20)
    assert np.isfinite(ended).all()
    assert inverse_within(ended, 1.0) is not None


def test_columns_of_very_unequal_scale_are_searched() -> None:
    seen = rows(model(), samples=400) * torch.tensor([1.0, 300.0, 0.01, 50.0, 7.0])
    assert is_acyclic(Dagma(iterations=200).fit(seen, NAMES).weights != 0)
