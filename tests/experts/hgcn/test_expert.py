"""A customer's 47 numbers, one by one, and the expert that reads them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ple_study.data.graphs.disk import places as plane_places
from ple_study.experts.hgcn.expert import (
    HGCNExpert,
    HGCNSpec,
    Places,
    hierarchy,
    number_names,
)
from ple_study.experts.hgcn.graph import UnifiedHGCN
from ple_study.experts.hgcn.hyperbolic import distance, exp0, log0
from tests.customers import SCHEMA, customers
from tests.experts.hgcn.test_shares import EVENTS, NODE, TODAY, TREE, seen

C = torch.tensor(0.6)


def places():
    draw = torch.Generator().manual_seed(0)
    learned = exp0(torch.randn(len(TREE), 8, generator=draw) / 3, C)
    place = plane_places(TREE.parent.numpy())
    plane = torch.from_numpy(np.stack([place.real, place.imag], 1))
    return Places(learned, C, plane)


def numbers(events=EVENTS):
    found = hierarchy(seen(events), TREE, NODE, places(), TODAY)
    return dict(zip(number_names(), found.T, strict=True))


def take(found, start, customer=0):
    return torch.stack([v[customer] for k, v in found.items() if k.startswith(start)])


def test_there_are_47_and_nobody_is_half_there():
    found = hierarchy(seen(), TREE, NODE, places(), TODAY)
    assert found.shape == (5, 47)
    assert found.dtype == torch.float32
    assert len(set(number_names())) == 47
    # 2 went nowhere, 3 to where the tree does not reach, 4 for nothing.
    assert found.isnan().all(1).tolist() == [False, False, True, True, True]
    assert found[:2].isfinite().all()


def test_who_went_to_one_place_is_there():
    found, where = numbers(), places()
    torch.testing.assert_close(take(found, "level 1, learned", 1), where.learned[1])
    torch.testing.assert_close(take(found, "own level, learned", 1), where.learned[4])
    tangent = log0(where.learned[4], C)
    torch.testing.assert_close(take(found, "own level, tangent", 1), tangent)
    top, below = where.plane[1].float(), where.plane[4].float()
    angle = torch.atan2(top[1], top[0]) / torch.pi
    wanted = torch.stack([*top, top.norm(), angle])
    torch.testing.assert_close(take(found, "level 1 ", 1)[4:], wanted)
    torch.testing.assert_close(take(found, "level 1 lately", 1), wanted)
    torch.testing.assert_close(take(found, "level 2 ", 1)[:2], below)
    # The plane's levels are 1.6 apart.
    torch.testing.assert_close(take(found, "depth", 1), torch.tensor([1.6, 3.2]))
    cosine = torch.cosine_similarity(top, below, 0)
    torch.testing.assert_close(take(found, "coherence", 1)[0], (1 + cosine) / 2)
    assert take(found, "spread", 1).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert take(found, "entropy", 1).tolist() == pytest.approx([0, 0], abs=1e-6)


def test_who_went_to_two_places_is_between_them_by_weight():
    found, where = numbers(), places()
    pair = where.plane[[1, 2]]
    weights = torch.tensor([30 * np.exp(-1 / 180), 40 * np.exp(-1 / 180)])
    weights[0] += 10 * np.exp(-60 / 180) + 20 * np.exp(-10 / 180)
    middle = take(found, "level 1 x", 0).double(), take(found, "level 1 y", 0).double()
    middle = torch.stack(middle, 1).expand(2, -1)
    far = distance(middle, pair, torch.tensor(1.0).double())
    # Between two points on their way, nearer to the heavier.
    way = distance(pair[:1], pair[1:], torch.tensor(1.0).double())
    torch.testing.assert_close(far.sum(), way[0], atol=1e-5, rtol=0)
    assert (far[0] < far[1]) == (weights[0] > weights[1])
    shares = weights / weights.sum()
    spread = take(found, "spread at level 1")[0].double()
    torch.testing.assert_close(spread, (far * shares).sum(), atol=1e-5, rtol=0)
    entropy = -(shares * shares.log()).sum() / np.log(2)
    assert float(take(found, "entropy at level 1")) == pytest.approx(float(entropy))


def test_the_order_of_visits_and_other_customers_do_not_matter():
    one = hierarchy(seen(), TREE, NODE, places(), TODAY)
    other = hierarchy(seen(EVENTS[::-1]), TREE, NODE, places(), TODAY)
    torch.testing.assert_close(one, other, equal_nan=True)
    alone = hierarchy(seen(EVENTS[:4]), TREE, NODE, places(), TODAY)
    torch.testing.assert_close(alone[0], one[0])


def test_a_trained_graph_has_a_place_for_every_node():
    fitted = UnifiedHGCN(epochs=5).fit(TREE.adjacency)
    learned = Places(fitted.points, fitted.c, places().plane)
    found = hierarchy(seen(), TREE, NODE, learned, TODAY)
    assert found[:2].isfinite().all()


def test_places_that_do_not_fit_are_refused():
    few = places()._replace(plane=places().plane[1:])
    with pytest.raises(ValueError, match=r"Each of 7 nodes.*\(7, 6\)"):
        hierarchy(seen(), TREE, NODE, few, TODAY)
    for bad in (2.0, np.nan):
        outside = places()
        outside.plane[2, 0] = bad
        with pytest.raises(ValueError, match=r"inside the ball.* at row 2"):
            hierarchy(seen(), TREE, NODE, outside, TODAY)


def test_the_expert_is_its_formula():
    expert, batch = HGCNExpert("hierarchy", 6, 9, 8), customers()
    up, act, down = expert.refine
    assert tuple(map(type, expert.refine)) == (nn.Linear, nn.GELU, nn.Linear)
    x = batch.vectors["hierarchy"].nan_to_num(0.0)
    torch.testing.assert_close(expert(batch), expert.ending(x + down(act(up(x)))))


def test_defaults_are_those_of_the_study():
    expert = HGCNSpec().build(SCHEMA)
    assert (expert.dim, expert.refine[0].out_features) == (128, 128)
    vectors = tuple(replace(v, dim=47) for v in SCHEMA.vectors)
    wide = HGCNSpec().build(replace(SCHEMA, vectors=vectors))
    assert wide.refine[0].in_features == 47
