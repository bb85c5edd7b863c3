"""Training ranks what was visited above the rest; the expert refines that."""

from itertools import islice

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from ple_study.data.graphs.csr import tensor
from ple_study.experts.lightgcn.bpr import Visited
from ple_study.experts.lightgcn.expert import LightGCN, LightGCNExpert, LightGCNSpec
from ple_study.experts.lightgcn.propagation import SymmetricGraph, layer_mean
from tests.customers import SCHEMA, customers

SMALL = LightGCN(dim=6, layers=2, epochs=30, batch_size=32, rate=0.05)


def two_tastes(seed=0, customers=40, merchants=24):
    """Even customers visit the first half, odd ones the second; 5 has no visit."""
    rng = np.random.default_rng(seed)
    alike = np.arange(customers)[:, None] % 2 == np.arange(merchants) // 12
    dense = (rng.random((customers, merchants)) < 0.5) & alike
    dense[5], dense[:, 7] = False, False
    return tensor(sparse.csr_array(dense.astype(np.float64))), alike


def test_training_finds_the_tastes_that_it_was_not_shown():
    weights, alike = two_tastes()
    found = SMALL.fit(weights)
    assert len(found.losses) == 30
    assert found.losses[-1] < 0.5 * found.losses[0]
    scores = found.customers @ found.merchants.T
    hidden = torch.from_numpy(alike) & (weights.to_dense() == 0)
    right, wrong = scores[hidden], scores[torch.from_numpy(~alike)]
    assert right.nanmean() > wrong.nanmean() + 1
    assert found.customers.isnan().all(1).nonzero().tolist() == [[5]]
    assert found.merchants.isnan().all(1).nonzero().tolist() == [[7]]
    later = found.newcomers(weights) @ found.merchants.T
    assert later[hidden].nanmean() > later[torch.from_numpy(~alike)].nanmean() + 0.5


def test_a_seed_says_all_and_the_global_generator_is_left_alone():
    weights, _ = two_tastes()
    state = torch.random.get_rng_state()
    one, again = (LightGCN(dim=6, epochs=2).fit(weights) for _ in range(2))
    other = LightGCN(dim=6, epochs=2, seed=1).fit(weights)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one.losses == again.losses
    assert torch.equal(one.customers.nan_to_num(), again.customers.nan_to_num())
    assert one.losses != other.losses


def test_a_step_is_adam_on_ranking_and_layer_0_alone():
    """The first step by hand: a rate times the sign of the gradient."""
    weights, _ = two_tastes()
    visits, decay, rate = len(weights.values()), 0.3, 1e-4
    settings = LightGCN(dim=6, batch_size=visits, rate=rate, decay=decay)
    after = next(settings.passes(weights))
    draw = torch.Generator().manual_seed(0)
    start = (0.1 * torch.randn(64, 6, generator=draw)).requires_grad_()
    u, i, j = Visited(weights).draw(visits, draw)
    mean = layer_mean(SymmetricGraph.bipartite(weights), start, 3)
    apart = (mean[u] * (mean[40 + i] - mean[40 + j])).sum(1)
    ranked = -torch.nn.functional.logsigmoid(apart).mean()
    lengths = sum(start[k].square().sum() for k in (u, 40 + i, 40 + j)) / visits
    loss = ranked + decay / 2 * lengths
    loss.backward()
    assert after.loss == pytest.approx(float(loss.detach()), rel=1e-6)
    moved = after.nodes - start.detach()
    clear = start.grad.abs() > 1e-6
    wanted = -rate * start.grad.sign()
    torch.testing.assert_close(moved[clear], wanted[clear], atol=2e-6, rtol=0)


def test_as_many_triples_as_visits_in_batches():
    weights, _ = two_tastes()
    settings = LightGCN(dim=6, batch_size=100)
    passes = list(islice(settings.passes(weights), 2))
    assert len(weights.values()) % 100  # the last batch is a part of one
    assert passes[0].loss != passes[1].loss


@pytest.mark.parametrize(
    "wrong",
    [
        {"dim": 0},
        {"epochs": 0},
        {"batch_size": 0},
        {"layers": -1},
        {"rate": 0.0},
        {"decay": -1.0},
        {"decay": torch.nan},
        {"rate": torch.inf},
    ],
)
def test_bad_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="dim, epochs and batch_size must be 1 or mor"):
        LightGCN(**wrong)


def test_bad_weights_are_refused():
    for bad in (-1.0, np.nan):
        with pytest.raises(ValueError, match=rf"must be positive\. Found {bad}"):
            SMALL.fit(tensor(sparse.csr_array(np.array([[bad, 0.0], [1.0, 0.0]]))))
    with pytest.raises(ValueError, match="Ranking needs a customer who"):
        SMALL.fit(tensor(sparse.csr_array(np.ones((2, 3)))))


def test_the_expert_is_its_formula():
    expert, batch = LightGCNExpert("graph", 7, 9, 8).eval(), customers()
    norm, up, act, drop, down = expert.refine
    kinds = (nn.LayerNorm, nn.Linear, nn.GELU, nn.Dropout, nn.Linear)
    assert tuple(map(type, expert.refine)) == kinds
    assert drop.p == 0.1
    e = batch.vectors["graph"].nan_to_num(0.0)
    wanted = expert.ending(e + down(act(up(norm(e)))))
    torch.testing.assert_close(expert(batch), wanted)


def test_defaults_are_those_of_the_study():
    expert = LightGCNSpec().build(SCHEMA)
    assert (expert.dim, expert.refine[1].out_features) == (64, 128)
    with pytest.raises(ValueError, match=r"dropout in \[0, 1\)"):
        LightGCNSpec(dropout=1.0)
