"""Triples are true: a merchant that was visited, and one that was not."""

import numpy as np
import pytest
import torch
from scipy import sparse

from ple_study.data.graphs.csr import tensor
from ple_study.experts.lightgcn.bpr import Triples, Visited, bpr_loss

#                   0  1  2  3  4  5
SEEN = np.array([
    [0, 1, 0, 1, 0, 0],
    [1, 1, 1, 1, 1, 1],  # everything: nothing to rank
    [0, 0, 0, 0, 0, 0],  # nothing
    [0, 0, 0, 0, 0, 1],
    [1, 1, 1, 0, 1, 1],
])  # fmt: skip


def visited(dense=SEEN):
    return Visited(tensor(sparse.csr_array(dense.astype(np.float64))))


def drawn(number=12_000, seed=0):
    return visited().draw(number, torch.Generator().manual_seed(seed))


def test_every_triple_is_a_visit_and_a_merchant_that_was_not_visited():
    customer, seen, other = drawn()
    assert (SEEN[customer, seen] == 1).all()
    assert (SEEN[customer, other] == 0).all()


def test_draws_are_even_over_customers_over_visits_and_over_the_rest():
    customer, seen, other = (part.numpy() for part in drawn())
    numbers = np.bincount(customer, minlength=5)
    assert numbers[[1, 2]].tolist() == [0, 0]
    for who in (0, 3, 4):  # five deviations of a binomial
        assert abs(numbers[who] - 4000) < 5 * (12_000 * 2 / 9) ** 0.5
        for column, wanted in ((seen, SEEN[who] == 1), (other, SEEN[who] == 0)):
            found = np.bincount(column[customer == who], minlength=6)
            share = numbers[who] / wanted.sum()
            assert (found[~wanted] == 0).all()
            assert (abs(found[wanted] - share) <= 5 * share**0.5).all()


def test_one_seed_draws_the_same_and_another_does_not():
    assert all(map(torch.equal, drawn(50, 1), drawn(50, 1)))
    assert not torch.equal(drawn(50, 1).other, drawn(50, 2).other)


def test_merchants_stand_after_all_customers():
    triples = Triples(*(torch.tensor([i]) for i in (1, 2, 3)))
    assert [int(part) for part in triples.nodes(10)] == [1, 12, 13]


def test_the_loss_is_its_formula_and_does_not_underflow():
    draw = torch.Generator().manual_seed(0)
    u, i, j = torch.randn(3, 5, 6, generator=draw, dtype=torch.float64)
    wanted = -((u * i).sum(1) - (u * j).sum(1)).sigmoid().log().mean()
    torch.testing.assert_close(bpr_loss(u, i, j), wanted)
    far = bpr_loss(1e3 * u, -u * 1e3, 1e3 * u)
    assert far.isfinite()
    assert far > 1e5


@pytest.mark.parametrize("dense", [SEEN[[1]], SEEN[[2]], SEEN[[1, 2]]])
def test_nothing_to_rank_is_an_error(dense):
    with pytest.raises(ValueError, match=rf"not all\. Found {len(dense)} customers, 6"):
        visited(dense)
