import math

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy as scipy_entropy
from scipy.stats import variation

from ple_study import collapse
from ple_study.baselines import MMoESpec, PLESpec
from ple_study.batch import Batch
from ple_study.experts.mlp import MLPSpec
from ple_study.schema import Feature, Schema, TaskSpec
from tests.sizes import BATCH, DIMS, EXPERTS, TASKS


def gates(seed=0, batch=BATCH, tasks=TASKS, slots=EXPERTS, sharp=1.0):
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(batch, tasks, slots, generator=draw, dtype=torch.float64)
    return (sharp * scores).softmax(-1)


def outputs(seed=0, rows=50, dims=DIMS):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, dim, generator=draw, dtype=torch.float64) for dim in dims]


def close(found, expected):
    torch.testing.assert_close(
        found, torch.as_tensor(expected, dtype=found.dtype), rtol=1e-12, atol=1e-14
    )


def test_entropies_agree_with_scipy():
    w = gates()
    close(collapse.entropy(w), scipy_entropy(w.numpy(), axis=-1))
    close(collapse.sample_entropy(w), scipy_entropy(w.numpy(), axis=-1).mean(0))
    close(collapse.mean_entropy(w), scipy_entropy(w.numpy().mean(0), axis=-1))


def test_routing_information_is_the_mean_divergence_from_the_mean_gate():
    w = gates().numpy()
    divergence = scipy_entropy(w, w.mean(0, keepdims=True), axis=-1).mean(0)
    close(collapse.routing_information(gates()), divergence)
    constant = gates()[:1].expand(BATCH, -1, -1)
    assert collapse.routing_information(constant).abs().max() < 1e-14


def test_uniform_and_single_gates_are_the_ends_of_the_scale():
    even = torch.full((BATCH, TASKS, EXPERTS), 1 / EXPERTS, dtype=torch.float64)
    entropies = collapse.mean_entropy(even)
    close(collapse.entropy_ratio(entropies, [EXPERTS] * TASKS), [1.0] * TASKS)
    close(collapse.effective_experts(entropies), [float(EXPERTS)] * TASKS)
    one = torch.zeros(BATCH, TASKS, EXPERTS).double()
    one[..., 2] = 1
    entropies = collapse.mean_entropy(one)
    close(collapse.entropy_ratio(entropies, [EXPERTS] * TASKS), [0.0] * TASKS)
    close(collapse.effective_experts(entropies), [1.0] * TASKS)
    alone = collapse.entropy_ratio(entropies[:1], [1])
    assert alone.isnan().all()


def test_load_counts_every_task_and_customer():
    w = gates()
    close(collapse.load(w), w.numpy().reshape(-1, EXPERTS).mean(0))
    assert float(collapse.load(w).sum()) == pytest.approx(1)
    expected = variation(collapse.load(w).numpy())
    assert collapse.load_variation(collapse.load(w)) == pytest.approx(expected)


def test_separation_agrees_with_scipy():
    w = gates(sharp=5)
    means = w.numpy().mean(0)
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = np.mean([jensenshannon(means[i], means[j], base=2) for i, j in pairs])
    assert collapse.task_separation(w) == pytest.approx(expected, rel=1e-12)


def test_separation_of_equal_disjoint_and_single_tasks():
    same = gates(sharp=5)[:, :1].expand(-1, TASKS, -1)
    assert collapse.task_separation(same) == 0
    apart = torch.eye(TASKS).expand(BATCH, -1, -1)
    assert collapse.task_separation(apart) == pytest.approx(1)
    assert math.isnan(collapse.task_separation(same[:, :1]))


def test_slots_become_experts_and_padding_is_left_out():
    w = torch.tensor([[[0.1, 0.2, 0.7], [0.6, 0.4, 0.0]]])
    laid = collapse.by_expert(w, [[0, 2, 3], [1, 3]])
    expected = [[[0.1, 0.0, 0.2, 0.7], [0.0, 0.6, 0.0, 0.4]]]
    assert laid.equal(torch.tensor(expected))
    # A value in the padding is not a weight.
    w[0, 1, 2] = 0.5
    assert collapse.by_expert(w, [[0, 2, 3], [1, 3]]).equal(laid)


@pytest.mark.parametrize("slots", [[[0, 1]], [[0, 1, 2, 3], [0]]])
def test_slots_that_do_not_fit_are_refused(slots):
    with pytest.raises(ValueError, match="at most 3 experts for each of 2 tasks"):
        collapse.by_expert(gates(tasks=2, slots=3), slots)


def test_dead_experts_are_those_that_do_not_vary():
    alive, still = outputs(dims=(6, 7))
    faint = 1e-4 * still + 5
    found = collapse.dead_experts([alive, faint, torch.ones(50, 8)])
    assert found.tolist() == [False, True, True]
    assert collapse.dead_experts([alive[:1]]).tolist() == [True]


def by_kernel(x, y):
    """Alignment from the [rows, rows] kernels: the definition."""
    centre = np.eye(len(x)) - 1 / len(x)
    kernels = [centre @ z @ z.T @ centre for z in (x.numpy(), y.numpy())]
    product = (kernels[0] * kernels[1]).sum()
    return product / np.prod([np.linalg.norm(k) for k in kernels])


def test_alignment_agrees_with_its_kernel_form():
    experts = outputs()
    experts[2] = experts[2] + 3 * experts[0] @ torch.ones(6, 8).double()
    expected = [[by_kernel(x, y) for y in experts] for x in experts]
    close(collapse.cka(experts), expected)


def test_alignment_ignores_rotation_scale_and_shift():
    x, _, _ = outputs()
    turn = torch.linalg.qr(outputs(seed=1, rows=6, dims=(6,))[0])[0]
    found = collapse.cka([x, 3 * x @ turn + 7])
    close(found, np.ones((2, 2)))


def test_alignment_with_a_constant_is_nan():
    x, y, _ = outputs()
    found = collapse.cka([x, torch.ones_like(y), y])
    assert found.isnan().tolist() == [
        [False, True, False],
        [True, True, True],
        [False, True, False],
    ]
    assert collapse.redundancy(found) == pytest.approx(float(found[0, 2]))


def test_canonical_correlations_are_cosines_of_principal_angles():
    x, y, _ = outputs()
    y[:, :3] += x[:, 2:5]
    angles = subspace_angles((x - x.mean(0)).numpy(), (y - y.mean(0)).numpy())
    found = collapse.canonical_correlations(x, y)
    torch.testing.assert_close(
        found, torch.tensor(np.sort(np.cos(angles))[::-1].copy())
    )
    # A column that adds no direction adds no correlation.
    wider = torch.cat([x, x[:, :1] + x[:, 1:2], torch.ones(50, 1)], dim=1)
    torch.testing.assert_close(collapse.canonical_correlations(wider, y), found)


def test_mean_correlations_of_all_pairs():
    experts = outputs()
    experts[2] = experts[0] @ torch.randn(6, 6, dtype=torch.float64)  # the same space
    found = collapse.correlations(experts, first=3)
    wanted = collapse.canonical_correlations(experts[0], experts[1])[:3].mean()
    close(found[0, 1], wanted)
    close(found, found.T)
    close(found.diagonal(), torch.ones(3))
    assert float(found[0, 2]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("value", "level"), [(0.2, "low"), (0.4, "low"), (0.5, "mid"), (0.71, "high")]
)
def test_levels_of_redundancy_are_the_sources(value, level):
    assert collapse.redundancy_level(value) == level


def test_no_level_without_a_correlation():
    with pytest.raises(ValueError, match="needs a correlation"):
        collapse.redundancy_level(math.nan)


def test_private_share_is_the_weight_of_the_first_slots():
    w = gates()
    found = collapse.private_share(w, [1, 0, 3])
    wanted = [w[:, 0, 0].mean(), torch.tensor(0.0), 1 - w[:, 2, 3].mean()]
    close(found, torch.stack([x.double() for x in wanted]))


def test_gradient_shares_follow_the_weights_and_starve_who_is_not_heard():
    experts = [x.requires_grad_() for x in outputs(dims=(7, 7, 7, 7))]
    weights = torch.tensor([0.6, 0.3, 0.1, 0.0], dtype=torch.float64)
    mixed = sum(w * x for w, x in zip(weights, experts[:3], strict=False))
    total = mixed.sum()
    close(collapse.gradient_shares(total, experts), weights)
    found = collapse.starved(collapse.gradient_shares(total, experts))
    assert found.tolist() == [False, False, False, True]
    assert not collapse.starved(torch.tensor([0.99, 0.0051, 0.0049])).any()


@pytest.mark.parametrize("rows", [7, 100, 1000])
def test_constants_are_alike_to_nobody_also_in_single_precision(rows):
    constant = [torch.full((rows, 4), 0.1), torch.full((rows, 3), 0.7)]
    assert collapse.cka(constant).isnan().all()
    assert collapse.correlations(constant)[0, 1].isnan()


SCHEMA = Schema(
    features=tuple(Feature(name=f"x{i}") for i in range(6)),
    tasks=tuple(TaskSpec(name=f"y{i}") for i in range(TASKS)),
)
EXPERT = MLPSpec(dims=(7,))


@pytest.mark.parametrize(
    ("spec", "counts"),
    [
        (MMoESpec(experts=EXPERTS, expert=EXPERT), [EXPERTS] * TASKS),
        (PLESpec(levels=2, shared=2, private=(2, 1, 3), expert=EXPERT), [4, 3, 5]),
    ],
)
def test_panel_of_a_model_with_unequal_experts(spec, counts):
    torch.manual_seed(0)
    model = spec.build(SCHEMA)
    rows = Batch(torch.randn(50, 6), torch.zeros(50, 0, dtype=torch.int64))
    output = model(rows)
    slots = model.levels[-1].gate.slots[:TASKS]
    assert [len(places) for places in slots] == counts
    found = collapse.panel(output.weights[-1], output.experts, slots)
    for task, count in enumerate(counts):
        own = output.weights[-1][:, task, :count].detach().numpy()
        used = scipy_entropy(own.mean(0))
        assert float(found.mean_entropy[task]) == pytest.approx(used, rel=1e-5)
        assert float(found.ratio[task]) == pytest.approx(
            used / math.log(count), rel=1e-5
        )
        assert float(found.effective[task]) == pytest.approx(math.exp(used), rel=1e-5)
    assert (found.information >= 0).all()
    assert found.load.shape == found.dead.shape == (len(output.experts),)
    assert float(found.load.sum()) == pytest.approx(1, rel=1e-5)
    assert 0 <= found.redundancy <= 1
    assert 0 <= found.separation <= 1
