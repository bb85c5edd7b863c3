"""Embeddings of those in the graph, of those outside it, and of newcomers."""

import numpy as np
import pytest
import torch
from scipy import sparse

from ple_study.data.graphs.csr import tensor
from ple_study.experts.lightgcn.embeddings import embedded
from tests.experts.lightgcn.test_propagation import CUSTOMERS, nodes_of, weights


def fitted(layers=3):
    seen = weights()
    size = torch.empty(sum(seen.shape), 0)
    return embedded(seen, nodes_of(size), layers)


def rows(dense):
    return tensor(sparse.csr_array(np.asarray(dense, dtype=np.float64)))


def test_who_has_no_edge_has_no_embedding():
    found = fitted()
    assert found.customers.isnan().all(1).nonzero()[:, 0].tolist() == [3]
    assert found.merchants.isnan().all(1).nonzero()[:, 0].tolist() == [0]
    assert found.customers[[0, 1, 2, 4]].isfinite().all()


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_a_known_customer_comes_anew_to_all_that_he_had_but_layer_0(layers):
    found = fitted(layers)
    first = nodes_of(torch.empty(12, 0))[:CUSTOMERS] / (layers + 1)
    again = found.newcomers(weights()) + first
    torch.testing.assert_close(
        again, found.customers, atol=1e-12, rtol=0, equal_nan=True
    )


def test_visits_to_who_was_not_in_training_say_nothing():
    found = fitted()
    visits = [[0, 2, 0, 0, 1, 0, 0], [5, 2, 0, 0, 1, 0, 0], [5, 0, 0, 0, 0, 0, 0]]
    one, with_unknown, only_unknown = found.newcomers(rows(visits))
    assert torch.equal(one, with_unknown)
    assert only_unknown.isnan().all()


def test_twice_the_visits_pull_as_a_longer_walk_would():
    visits = np.array([[0.0, 2, 0, 0, 1, 0, 0]])
    one, two = (fitted().newcomers(rows(k * visits)) for k in (1, 4))
    torch.testing.assert_close(two, 2 * one)  # w / sqrt(sum w)


def test_bad_newcomers_are_refused():
    with pytest.raises(ValueError, match=r"of 7 merchants.*Found 6 merchants"):
        fitted().newcomers(rows([[1, 0, 1, 0, 0, 1]]))
    for bad in (-1.0, np.nan):
        with pytest.raises(ValueError, match=rf"positive weights.*\[{bad}\]"):
            fitted().newcomers(rows([[bad, 0, 1, 0, 0, 1, 1]]))
