"""A graph laid into a ball: layers, links, and what training brings about."""

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from ple_study.data.graphs.csr import tensor
from ple_study.data.graphs.tree import Tree
from ple_study.experts.hgcn import graph as module
from ple_study.experts.hgcn.graph import HGCN, UnifiedHGCN, link_loss, steps
from ple_study.experts.hgcn.hyperbolic import exp0, squared_distance
from ple_study.experts.hgcn.links import Links, with_itself

NODES, WIDTH, DIM = 6, 4, 3


def binary_tree(levels=5):
    """Every node has two children, named by the way to it."""
    paths = [()]
    for path in paths:
        if len(path) < levels:
            paths += [(*path, "l"), (*path, "r")]
    return Tree(tuple(sorted(paths, key=lambda path: (len(path), path))))


def ring():
    near = np.roll(np.eye(NODES), 1, 0)
    return tensor(sparse.csr_array(near + near.T))


def model(**options):
    draw = torch.Generator().manual_seed(0)
    return HGCN((WIDTH, 5, DIM), draw=draw, **options)


def features():
    draw = torch.Generator().manual_seed(1)
    return torch.randn(NODES, WIDTH, generator=draw)


def test_layers_are_means_of_linear_maps_with_relu_between():
    net, x, mean = model(), features(), with_itself(ring()).float()
    first, second = net.layers
    dense = mean.to_dense()
    wanted = dense @ second((dense @ first(x)).relu())
    torch.testing.assert_close(net(x, mean), wanted)


@pytest.mark.parametrize("space", ["hyperbolic", "euclidean"])
def test_a_link_is_as_likely_as_fermi_and_dirac_say(space):
    net, pairs = model(space=space, curvature=1.7), torch.tensor([[0, 2, 3], [1, 2, 5]])
    x = net(features(), with_itself(ring()).float()).detach()
    u, v = x[pairs[0]], x[pairs[1]]
    squared = 4 * (u - v).square().sum(1)
    if space == "hyperbolic":
        squared = squared_distance(u, v, torch.tensor(1.7))
    wanted = 1 / (((squared - 2) / 1).exp() + 1)
    torch.testing.assert_close(net.link_logits(x, pairs).sigmoid(), wanted)


def test_curvature_is_positive_begins_as_asked_and_learns():
    for start in (1e-3, 1.0, 200.0):
        assert float(model(curvature=start).c.detach()) == pytest.approx(
            start, rel=1e-4
        )
    net = model()
    assert net.raw.requires_grad
    with torch.no_grad():
        net.raw.fill_(-50.0)
    assert net.c > 0
    assert not model(space="euclidean").raw.requires_grad


def test_the_loss_is_cross_entropy_by_weight_and_reaches_everything():
    dense = ring().to_dense().numpy() * np.arange(1, 7)
    links = Links(tensor(sparse.csr_array(dense)))
    net, x = model(), features().requires_grad_()
    tangents = net(x, with_itself(ring()).float())
    draw = torch.Generator().manual_seed
    found = link_loss(net, tangents, links, draw(3))
    pairs, apart = links.pairs, links.apart(draw(3))
    judge = nn.BCEWithLogitsLoss(weight=links.weights)
    wanted = judge(net.link_logits(tangents, pairs), torch.ones(12)) + (
        nn.BCEWithLogitsLoss()(net.link_logits(tangents, apart), torch.zeros(12))
    )
    torch.testing.assert_close(found, wanted)
    found.backward()
    for name, part in [*net.named_parameters(), ("features", x)]:
        assert part.grad.isfinite().all(), name
        assert part.grad.any(), name


def test_a_tree_finds_room_and_depth():
    tree = binary_tree()
    settings = UnifiedHGCN(dim=3, epochs=100, rate=0.03)
    found = settings.fit(tree.adjacency)
    assert len(found.losses) == 101
    assert found.losses[-1] < 0.5 * found.losses[0]
    torch.testing.assert_close(found.points, exp0(found.tangents, found.c))
    one, other = tree.edges
    near = squared_distance(found.tangents[one], found.tangents[other], found.c)
    all_of = squared_distance(found.tangents[:, None], found.tangents[None], found.c)
    assert near.mean() < 0.3 * all_of.mean()


def test_a_seed_says_all_and_the_global_generator_moves_no_result():
    graph, settings = ring(), UnifiedHGCN(dim=DIM, epochs=3)
    one = settings.fit(graph)
    torch.rand(5)
    again = settings.fit(graph)
    assert torch.equal(one.tangents, again.tangents)
    assert one.losses == again.losses
    assert UnifiedHGCN(dim=DIM, epochs=3, seed=1).fit(graph).losses != one.losses


def test_parts_and_nodes_alone_are_finite_and_pushed_apart():
    parts = sparse.block_diag([np.ones((3, 3)), np.ones((3, 3)), np.zeros((1, 1))])
    parts.setdiag(0)
    graph = tensor(sparse.csr_array(parts))
    found = UnifiedHGCN(dim=DIM, epochs=60, rate=0.05).fit(graph)
    assert found.points.isfinite().all()
    apart = squared_distance(found.tangents[:, None], found.tangents[None], found.c)
    assert apart[:3, 3:6].min() > apart[:3, :3].max()
    assert apart[6, :6].min() > apart[:3, :3].max()


def test_layers_and_first_features_begin_as_the_authors():
    wide = HGCN((400, 300), draw=torch.Generator().manual_seed(0))
    weight = next(p for p in wide.parameters() if p.ndim == 2)
    end = (2 * 6 / 700) ** 0.5  # Glorot's for relu
    assert 0.99 * end < weight.abs().max() <= end
    graph, found = tensor(sparse.eye_array(500).tocsr()), {}

    def seen(model, features, *rest, **options):
        found["std"], found["steps"] = features.std().item(), []
        for step in steps(model, features, *rest, **options):
            found["steps"].append(step)
            yield step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "steps", seen)
        fitted = UnifiedHGCN(epochs=3, layers=1).fit(graph)
    assert 0.09 < found["std"] < 0.11
    assert len(found["steps"]) == len(fitted.losses) == 4
    assert torch.equal(fitted.tangents, found["steps"][-1].tangents)


@pytest.mark.plain
def test_bad_settings_and_features_are_refused():
    for wrong in (
        {"dim": 0},
        {"layers": 0},
        {"epochs": 0},
        {"rate": 0.0},
        {"rate": torch.inf},
    ):
        with pytest.raises(
            ValueError, match="dim, layers and epochs must be 1 or more"
        ):
            UnifiedHGCN(**wrong)
    for dims, curvature in (((3,), 1.0), ((3, 0), 1.0), ((3, 2), 0.0)):
        with pytest.raises(ValueError, match=r"two widths or more.*curvature"):
            HGCN(dims, curvature)
    with pytest.raises(ValueError, match=r"space must be one of.*'hyperbolic'\?"):
        HGCN((3, 2), space="hyperbolik")
    for x, found in (
        (features()[1:], "5 rows, 0 not"),
        (features().log(), r"6 rows, [1-9]\d* not finite"),
    ):
        draw = torch.Generator()
        with pytest.raises(ValueError, match=f"each of 6 nodes.*{found}"):
            next(steps(model(), x, ring(), rate=0.1, draw=draw))
