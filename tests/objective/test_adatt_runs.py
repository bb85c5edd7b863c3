"""Task transfer as it runs: measurements, phases, resumed runs, processes."""

from dataclasses import replace

import pytest
import torch
from torch import distributed

from ple_study.learner import Learner
from ple_study.objective.adatt import AdaTTSpec
from ple_study.objective.weighting import FixedWeighting, UncertaintyWeightingSpec
from tests.objective.affinities import TASKS, directions, step
from tests.runs import run, same

MODES = ("source", "masked")


def cosine(a, b):
    return float(a @ b / (a @ a).sqrt() / (b @ b).sqrt())


@pytest.mark.parametrize("mode", MODES)
def test_affinity_is_measured_every_so_many_steps(mode):
    weighting = AdaTTSpec(mode=mode, every=3, warmup=2).build(TASKS).double()
    assert weighting.affinity.equal(torch.eye(4).double())
    g = directions(seed=1)
    wanted = [[cosine(a, b) for b in g] for a in g]
    for count in range(1, 9):
        step(weighting, seed=count)
        if count in (4, 7):
            g = directions(seed=count)
            wanted = [
                [0.9 * wanted[i][j] + 0.1 * cosine(g[i], g[j]) for j in range(4)]
                for i in range(4)
            ]
        torch.testing.assert_close(weighting.affinity, torch.tensor(wanted).double())
    below = {
        a.name: [b.name for j, b in enumerate(TASKS) if wanted[i][j] < -0.1]
        for i, a in enumerate(TASKS)
    }
    assert weighting.conflicts() == below
    assert any(below.values())


def test_a_pair_is_first_measured_when_both_are_there():
    weighting = AdaTTSpec(every=1).build(TASKS).double()
    step(weighting, absent=[1])
    assert weighting.affinity[1].tolist() == [0, 1, 0, 0]
    g, h = directions(), directions(seed=1)
    step(weighting, seed=1)
    assert float(weighting.affinity[1, 2]) == pytest.approx(cosine(h[1], h[2]))
    both = 0.9 * cosine(g[0], g[2]) + 0.1 * cosine(h[0], h[2])
    assert float(weighting.affinity[0, 2]) == pytest.approx(both)
    before = weighting.affinity.clone()
    step(weighting, seed=2, absent=[1])
    assert weighting.affinity[1].equal(before[1])
    assert weighting.affinity[:, 1].equal(before[:, 1])
    assert not weighting.affinity[0, 2].equal(before[0, 2])


def test_affinity_is_of_the_raw_losses():
    tasks = [replace(task, weight=0.0) for task in TASKS]
    weighting = AdaTTSpec().build(tasks).double()
    step(weighting)
    assert weighting.seen.all()


def test_before_the_warm_up_ends_nothing_is_transferred():
    weighting = AdaTTSpec(warmup=2, strength=0.2).build(TASKS).double()
    plain = step(FixedWeighting(TASKS)).tolist()
    for epoch in (0, 1, 2, 3):
        weighting.begin_epoch(epoch)
        assert (step(weighting).tolist() == plain) == (epoch < 2)


def test_the_priors_share_falls_from_the_warm_up_to_the_freeze():
    weighting = AdaTTSpec(warmup=3, freeze=8).build(TASKS)
    found = []
    for epoch in range(11):
        weighting.begin_epoch(epoch)
        found.append(weighting.prior_share)
    shares = [*[0.5] * 4, 0.42, 0.34, 0.26, 0.18, *[0.1] * 3]
    assert found == pytest.approx(shares)
    never = AdaTTSpec(warmup=2, prior=(0.3, 0.2)).build(TASKS)
    never.begin_epoch(50)
    assert never.prior_share == 0.3
    assert not never.frozen


def test_frozen_weights_are_constant():
    spec = AdaTTSpec(mode="source", warmup=0, freeze=2, every=1)
    weighting = spec.build(TASKS).double()
    optimiser = torch.optim.AdamW(weighting.parameters(), lr=0.1, weight_decay=0)
    seen = []
    for epoch in range(5):
        weighting.begin_epoch(epoch)
        optimiser.zero_grad()
        step(weighting, seed=epoch).sum().backward()
        assert (weighting.learned.grad is None) == (epoch >= 2)
        optimiser.step()
        seen.append(weighting.transfer_weights())
    assert seen[2].equal(seen[3])
    assert seen[3].equal(seen[4])
    assert not seen[0].equal(seen[1])
    assert not seen[1].equal(seen[2])
    assert not seen[4].requires_grad
    # What is transferred is what is reported.
    terms = step(FixedWeighting(TASKS))
    torch.testing.assert_close(step(weighting), terms + 0.1 * seen[4] @ terms)


@pytest.mark.parametrize("mode", MODES)
def test_a_state_dict_continues_to_the_bit(mode):
    inner = UncertaintyWeightingSpec(start="loss")
    spec = AdaTTSpec(mode=mode, inner=inner, every=3, warmup=1, freeze=4)

    def train(weighting, counts):
        optimiser = torch.optim.SGD(weighting.parameters(), lr=0.3)
        for count in counts:
            optimiser.zero_grad()
            found = step(weighting, seed=count, absent=[1] if count < 4 else [])
            found.sum().backward()
            optimiser.step()
        return found

    one, other = spec.build(TASKS), spec.build(TASKS)
    one.begin_epoch(2)
    train(one, range(5))
    state = {key: value.clone() for key, value in one.state_dict().items()}
    other.load_state_dict(state)
    assert (other.step, other.epoch) == (5, 2)
    assert train(one, range(5, 12)).equal(train(other, range(5, 12)))
    after = other.state_dict()
    assert all(value.equal(after[key]) for key, value in one.state_dict().items())
    assert not after["affinity"].equal(state["affinity"])


def test_a_resumed_run_ends_as_if_nothing_had_happened(tmp_path, monkeypatch):
    inner = UncertaintyWeightingSpec()
    spec = AdaTTSpec(mode="source", inner=inner, every=4, freeze=3)
    whole, calls = Learner.training_step, []

    def until_broken(*args):
        calls.append(None)
        if len(calls) == 2 * 6 + 4:  # the fourth step of the third epoch
            raise InterruptedError
        return whole(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "training_step", until_broken)
        with pytest.raises(InterruptedError):
            run(folder=tmp_path, weighting=spec)
    resumed = run(folder=tmp_path, resume=True, weighting=spec)
    assert same(resumed, run(weighting=spec))
    assert not same(resumed, run(weighting=inner))


def test_processes_measure_the_gradients_of_all(monkeypatch):
    weighting = AdaTTSpec().build(TASKS).double()
    here, there = directions(), directions(seed=1)
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "all_reduce", lambda found: found.add_(there))
    step(weighting, absent=[3])  # observed in the other process alone
    here[3] = 0
    wanted = [[cosine(a, b) for b in here + there] for a in here + there]
    torch.testing.assert_close(weighting.affinity, torch.tensor(wanted).double())
