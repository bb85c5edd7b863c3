"""Our search for a DAG, and what we count of it, against dagma 1.1.1 on equal data."""

import warnings
from collections.abc import Iterator
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from ple_study.experts.causal.dag import compare, is_acyclic, log_determinant
from ple_study.experts.causal.search import Dagma

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    linear = pytest.importorskip(
        "dagma.linear",
        reason="the peer is not installed: pip install dagma==1.1.1",
        exc_type=ImportError,
    )
    utils = pytest.importorskip("dagma.utils", exc_type=ImportError)

SIZE, EDGES, SAMPLES = 8, 12, 600


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Their data are drawn from numpy's global generator; it is left as it was."""
    monkeypatch.setattr(linear, "tqdm", MagicMock())  # no progress bar
    state = np.random.get_state()
    yield
    np.random.set_state(state)


def random_graph() -> np.ndarray:
    upper = np.triu(np.random.rand(SIZE, SIZE) < 0.4, 1)
    order = np.random.permutation(SIZE)
    return upper[order][:, order]


def test_edges_are_counted_alike() -> None:
    np.random.seed(0)
    for _ in range(200):
        truth, found = random_graph(), random_graph()
        theirs = utils.count_accuracy(truth.astype(int), found.astype(int))
        ours = compare(torch.from_numpy(found), torch.from_numpy(truth))
        assert ours.distance == theirs["shd"]
        assert ours.right / truth.sum() == pytest.approx(theirs["tpr"])
        assert ours.right + ours.reversed + ours.extra == theirs["nnz"]


def test_the_value_and_its_gradient_are_theirs() -> None:
    model = linear.DagmaLinear("l2")
    model.d, model.Id = SIZE, np.eye(SIZE)
    np.random.seed(0)
    for s in (1.0, 0.7):
        weights = 0.2 * np.random.randn(SIZE, SIZE)
        value, slope = model._h(weights, s)
        at = torch.tensor(weights, requires_grad=True)
        ours = log_determinant(at, s)
        ours.backward()
        assert ours.item() == pytest.approx(value, abs=1e-10)
        np.testing.assert_allclose(at.grad, slope, atol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_edges_found_are_as_right_as_theirs(seed: int) -> None:
    utils.set_random_seed(seed)
    truth = utils.simulate_dag(SIZE, EDGES, "ER")
    rows = utils.simulate_linear_sem(utils.simulate_parameter(truth), SAMPLES, "gauss")
    # Theirs centres the rows that it is handed.
    theirs = linear.DagmaLinear("l2").fit(rows.copy(), lambda1=0.03)
    ours = Dagma().fit(torch.tensor(rows), [f"x{i}" for i in range(SIZE)]).weights
    assert is_acyclic(ours != 0)
    wanted = torch.tensor(truth != 0)
    reached = compare(torch.tensor(theirs != 0), wanted).distance
    assert compare(ours != 0, wanted).distance <= reached
