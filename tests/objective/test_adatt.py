"""Task transfer: its algebra against loops, and what it does wrong."""

import json
import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from ple_study.checkpoint import spec_to_json
from ple_study.objective.adatt import AdaTTSpec
from ple_study.objective.losses import TaskLosses
from ple_study.objective.weighting import (
    FixedWeighting,
    FixedWeightingSpec,
    UncertaintyWeightingSpec,
    Weighting,
    WeightingSpec,
)
from tests.objective.affinities import (
    DIM,
    TASKS,
    THREAD,
    by_loops,
    directions,
    example,
    step,
)

MODES = ("source", "masked")
NOW = AdaTTSpec(warmup=0, every=1000)
LOWER = -1.5


def set_up(spec, tasks=TASKS, affinity=None, learned=None):
    """In float64, with these numbers in place of what would be measured."""
    weighting = spec.build(tasks).double()
    weighting.step = 1  # the next measurement is 999 steps away
    with torch.no_grad():
        if affinity is not None:
            weighting.affinity.copy_(affinity)
        if learned is not None and weighting.learned is not None:
            weighting.learned.copy_(learned)
    return weighting


def drawn_affinity(seed):
    draw = torch.Generator().manual_seed(seed)
    found = 2 * torch.rand(4, 4, generator=draw, dtype=torch.float64) - 1
    return ((found + found.T) / 2).fill_diagonal_(1.0)


def transferred(mode, spec, share, weighting, terms, present):
    """The terms as the thread's text states them, cell by cell."""
    a, p, size = weighting.affinity, weighting.prior, len(terms)
    w = weighting.learned.detach() if mode == "source" else torch.zeros_like(a)
    scores, blocked = torch.zeros_like(a), torch.zeros(size, size, dtype=torch.bool)
    for i in range(size):
        for j in range(size):
            scores[i, j] = (w[i, j] + a[i, j]) * (1 - share) + p[i, j] * share
            blocked[i, j] = i == j or a[i, j] < -0.1
    weights, found = by_loops(mode, scores, blocked, present), []
    for i in range(size):
        added = spec.strength * sum(
            float(weights[i, j]) * terms[j] for j in range(size)
        )
        cap = 0.5 * terms[i] if mode == "source" else 0.5 * abs(terms[i])
        added = min(added, cap)
        found.append(terms[i] + (max(added, -cap) if mode == "masked" else added))
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("absent", [(), (1,), (0, 2, 3)])
@pytest.mark.parametrize("strength", [0.1, 3.0])
@pytest.mark.parametrize("learned_terms", [False, True])
def test_terms_are_those_of_loops(mode, absent, strength, learned_terms):
    inner = UncertaintyWeightingSpec() if learned_terms else FixedWeightingSpec()
    spec = replace(NOW, mode=mode, strength=strength, inner=inner, freeze=4)
    draw = torch.Generator().manual_seed(9)
    for seed in range(4):
        learned = torch.randn(4, 4, generator=draw, dtype=torch.float64)
        weighting = set_up(spec, TASKS, drawn_affinity(seed), learned)
        if learned_terms:  # some terms negative, some near zero
            nn.init.constant_(weighting.inner.log_variances, LOWER)
        weighting.begin_epoch(1)
        values = (0.02, 0.3, 5.0, 0.9)
        found = step(weighting, values, absent=absent)
        there = torch.tensor([place not in absent for place in range(4)])
        terms = step(weighting.inner, values, absent=absent).tolist()
        assert not learned_terms or len(absent) > 1 or min(terms) < 0
        wanted = transferred(mode, spec, 0.4, weighting, terms, there)
        assert found.tolist() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_are_those_of_one_factor_a_task(mode):
    affinity = example()
    weighting = set_up(replace(NOW, mode=mode), THREAD, affinity)
    values = torch.linspace(1.0, 2.0, 16).tolist()
    shared = nn.Parameter(torch.zeros(DIM, dtype=torch.float64))
    loss = directions(16) @ shared + torch.tensor(values).double()
    loss.retain_grad()
    total = weighting(TaskLosses(loss, torch.ones(16, dtype=torch.bool)), [shared])
    factors = 1 + 0.1 * weighting.transfer_weights().sum(0)
    terms = weighting.weights * loss.detach()
    assert total.item() == pytest.approx(float(factors @ terms), rel=1e-12)
    total.backward()
    torch.testing.assert_close(loss.grad, factors * weighting.weights)
    low, high = float(factors.min()), float(factors.max())
    if mode == "source":
        assert [low, high] == pytest.approx([1.098, 1.102], abs=5e-4)
    else:
        assert abs(low - 1.1) < 0.02 > abs(high - 1.1)


def test_a_cap_that_binds_sends_no_gradient():
    weighting = set_up(replace(NOW, strength=9.0), affinity=torch.eye(4))
    shared = nn.Parameter(torch.zeros(DIM, dtype=torch.float64))
    loss = directions() @ shared + torch.tensor([0.1, 1.0, 1.0, 1.0]).double()
    loss.retain_grad()
    terms = weighting.terms(TaskLosses(loss, torch.ones(4, dtype=torch.bool)), [shared])
    assert terms[0].item() == pytest.approx(1.5 * 0.8 * 0.1)
    terms[0].backward()
    assert loss.grad.tolist() == pytest.approx([0.8, 0, 0, 0])


@pytest.mark.parametrize("mode", MODES)
def test_evaluation_transfers_nothing_and_changes_nothing(mode):
    weighting = replace(NOW, mode=mode, every=1).build(TASKS).double().eval()
    before = {key: value.clone() for key, value in weighting.state_dict().items()}
    assert step(weighting).equal(step(FixedWeighting(TASKS)))
    found = weighting.state_dict()
    assert all(value.equal(found[key]) for key, value in before.items())
    nothing = TaskLosses(torch.ones(4).double(), torch.ones(4, dtype=torch.bool))
    assert weighting(nothing).item() == pytest.approx(5.3)  # no shared parameters


def test_training_needs_shared_parameters():
    losses = TaskLosses(torch.ones(4), torch.ones(4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"with shared parameters. Found none\."):
        NOW.build(TASKS)(losses)


def test_learned_weights_go_to_the_lowest_loss():
    weighting = set_up(replace(NOW, mode="source"), affinity=torch.eye(4))
    optimiser = torch.optim.Adam(weighting.parameters(), lr=1.0)
    for _ in range(150):
        optimiser.zero_grad()
        step(weighting, (2.0, 1.0, 1.2, 0.3)).sum().backward()  # times WEIGHTS
        optimiser.step()
    assert (weighting.transfer_weights()[:3, 3] > 0.999).all()


def test_only_the_source_learns_its_weights():
    inner = UncertaintyWeightingSpec(lr_factor=7.0)
    source = AdaTTSpec(mode="source", inner=inner).build(TASKS)
    masked = AdaTTSpec(inner=inner).build(TASKS)
    (first, second), (only,) = source.rates(), masked.rates()
    assert [id(p) for p in first[0]] == [id(source.inner.log_variances)]
    assert [id(p) for p in second[0]] == [id(source.learned)]
    assert (first[1], second[1], only[1]) == (7.0, 1.0, 7.0)
    assert [id(p) for p in only[0]] == list(map(id, masked.parameters()))
    assert not source.learned.any()


def test_a_negative_term_is_capped_in_both_modes_and_mute_in_one():
    unit = [replace(task, weight=1.0) for task in TASKS]
    for mode, wanted in (("source", -4.35), ("masked", -2.9 + 0.1)):
        weighting = set_up(replace(NOW, mode=mode), unit, torch.eye(4))
        loss = torch.tensor([-2.9, 1.0, 1.0, 1.0], dtype=torch.float64)
        loss.requires_grad_()
        found = TaskLosses(loss, torch.ones(4, dtype=torch.bool))
        shared = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        weighting.step = 1
        term = weighting.terms(found, [shared])[0]
        assert term.item() == pytest.approx(wanted)
        term.backward()
        assert loss.grad[1:].any() == (mode == "masked")


@dataclass(frozen=True, kw_only=True)
class Heard:
    """An inner weighting that records what it is told."""

    def build(self, tasks):
        class Inner(FixedWeighting):
            def __init__(self, tasks):
                super().__init__(tasks)
                self.heard = []

            def terms(self, losses, shared=()):
                self.heard.append(len(shared))
                return super().terms(losses, shared)

            def begin_epoch(self, epoch):
                self.heard.append(f"epoch {epoch}")

        return Inner(tasks)


def test_the_inner_weighting_hears_all():
    spec = AdaTTSpec(inner=Heard())
    weighting = spec.build(TASKS)
    assert isinstance(spec, WeightingSpec)
    assert isinstance(weighting, Weighting)
    assert weighting.names == ["task0", "task1", "task2", "task3"]
    weighting.begin_epoch(3)
    step(weighting)
    assert weighting.inner.heard == ["epoch 3", 1]


@pytest.mark.plain
def test_spec_is_json():
    spec = AdaTTSpec(prior=[0.4, 0.2], within={"a": 0.9})
    data = json.loads(json.dumps(spec_to_json(spec)))
    assert data["inner"] == {"spec": "FixedWeightingSpec"}
    again = {k: v for k, v in data.items() if k not in ("spec", "inner")}
    assert AdaTTSpec(**again) == spec


@pytest.mark.plain
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inner": "fixed"}, "AdaTT needs the spec of a weighting.*Found 'fixed'"),
        ({"mode": "mask"}, r"Mode of AdaTT .*'mask'. Did you mean 'masked'\?"),
        ({"strength": -0.1}, r"finite and at least 0. Found -0\.1"),
        ({"strength": math.inf}, "strength to be finite"),
        ({"strength": math.nan}, "strength to be finite"),
        ({"every": 0}, "every to be at least 1. Found 0"),
        ({"warmup": -1}, "warmup to be at least 0. Found -1"),
        ({"warmup": 3, "freeze": 3}, "for never, or above warmup 3. Found 3"),
        ({"warmup": 0, "freeze": -1}, "freeze to be 0 for never"),
        ({"prior": (0.5,)}, r"two shares in \[0, 1\]. Found \(0\.5,\)"),
        ({"prior": (0.5, 1.1)}, "two shares"),
        ({"prior": (-0.1, 0.5)}, "two shares"),
        ({"within": {"value": 0.0}}, r"above 0, by group. Found \{'value': 0\.0\}"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        AdaTTSpec(**change)
