"""Prior, running mean and transfer weights, against loops and the thread's numbers."""

import math

import pytest
import torch

from ple_study.objective.affinity import (
    STRENGTHS,
    masked_weights,
    prior_matrix,
    running_mean,
    source_weights,
)
from ple_study.schema import TaskSpec
from tests.objective.affinities import EVERYONE, OWN, PLACE, THREAD, by_loops, example

MODES = {"source": source_weights, "masked": masked_weights}


def drawn(size=4, seed=0):
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(size, size, generator=draw, dtype=torch.float64)
    blocked = torch.rand(size, size, generator=draw) < 0.3
    return scores, blocked | torch.eye(size, dtype=torch.bool)


@pytest.mark.parametrize(
    ("task", "inside", "outside", "values"),
    [
        ("ctr", "engagement", "churn", (0.1455, 0.0545)),
        ("churn", "ltv", "nba", (0.1228, 0.0526)),
        ("balance_util", "timing", "ctr", (0.1176, 0.0588)),
        ("nba", "merchant_affinity", "timing", (0.1077, 0.0462)),
    ],
)
def test_priors_of_the_thread(task, inside, outside, values):
    row = prior_matrix(THREAD, STRENGTHS)[PLACE[task]]
    found = [float(row[PLACE[inside]]), float(row[PLACE[outside]])]
    assert found == pytest.approx(values, abs=5e-5)
    assert float(row[PLACE[task]]) == 0
    assert float(row.sum()) == pytest.approx(1, abs=1e-6)


def test_prior_is_its_definition():
    groups = ("a", "b", "a", "c", "b", "b")
    tasks = [TaskSpec(name=f"t{i}", group=group) for i, group in enumerate(groups)]
    found = prior_matrix(tasks, {"b": 0.5, "other": 9.0})
    for i, own in enumerate(groups):
        row = [
            0.0 if i == j else 0.3 if own != other else 0.5 if own == "b" else 0.7
            for j, other in enumerate(groups)
        ]
        wanted = [value / sum(row) for value in row]
        assert found[i].tolist() == pytest.approx(wanted, rel=1e-6)


def test_a_task_alone_has_no_prior():
    assert prior_matrix([TaskSpec(name="one")], STRENGTHS).tolist() == [[0.0]]


def test_running_mean_replaces_then_decays_and_keeps_what_is_unknown():
    kept, nan = -0.35, math.nan
    affinity = torch.tensor([[1.0, 0.5], [kept, 1.0]], dtype=torch.float64)
    found = torch.tensor([[-0.6, -0.6], [nan, 1.0 + 1e-7]], dtype=torch.float64)
    seen = torch.tensor([[True, False], [True, True]])
    mean = running_mean(affinity, seen, found)
    assert mean.flatten().tolist() == pytest.approx([0.84, -0.6, kept, 1.0], abs=1e-7)
    unseen = torch.zeros(2, 2, dtype=torch.bool)
    assert float(running_mean(affinity, unseen, found)[1, 1]) == 1.0
    assert float(running_mean(affinity, unseen, found)[1, 0]) == kept
    low = running_mean(affinity, unseen, torch.full_like(affinity, -1.0 - 1e-7))
    assert low.eq(-1.0).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("absent", [(), (1,), (0, 3), (0, 1, 2), (0, 1, 2, 3)])
def test_weights_are_those_of_loops(mode, absent):
    for seed in range(5):
        scores, blocked = drawn(seed=seed)
        blocked[2] = blocked[2] | (seed == 4)  # nothing left in a row
        present = torch.tensor([place not in absent for place in range(4)])
        found = MODES[mode](scores, blocked, present)
        torch.testing.assert_close(found, by_loops(mode, scores, blocked, present))


@pytest.mark.parametrize("mode", MODES)
def test_rows_with_nothing_left_send_no_nan_back(mode):
    scores, blocked = drawn()
    blocked[2] = True
    present = torch.tensor([True, False, True, True])
    scores.requires_grad_()
    weights = MODES[mode](scores, blocked, present)
    (weights * torch.arange(16.0).view(4, 4)).sum().backward()
    assert weights.isfinite().all()
    assert scores.grad.isfinite().all()
    assert not scores.grad[blocked].any()


def test_masked_rows_sum_to_one_or_are_zero():
    scores, blocked = drawn()[0], torch.eye(4, dtype=torch.bool)
    blocked[2] = True
    found = masked_weights(scores, blocked, torch.tensor([True, False, True, True]))
    assert not found[blocked].any()
    assert found.sum(1).tolist() == pytest.approx([1.0, 0.0, 0.0, 1.0])


def test_a_zero_score_blocks_nothing():
    affinity, prior = example(), prior_matrix(THREAD, STRENGTHS).double()
    scores, ctr, churn = (affinity + prior) / 2, PLACE["ctr"], PLACE["churn"]
    blocked = source_weights(scores, OWN | (affinity < -0.1), EVERYONE)
    free = source_weights(scores, OWN, EVERYONE)
    assert float(blocked[ctr, churn]) == pytest.approx(0.0579, abs=5e-5)
    assert float(free[ctr, churn]) == pytest.approx(0.0447, abs=5e-5)
    assert float(blocked[ctr, PLACE["nba"]]) == pytest.approx(0.0610, abs=5e-5)
    assert float(blocked[ctr, ctr]) == float(blocked[ctr, churn])
    masked = masked_weights(scores, OWN | (affinity < -0.1), EVERYONE)
    assert float(masked[ctr, churn]) == float(masked[ctr, ctr]) == 0.0


def test_the_prior_hardly_moves_the_weights():
    prior = prior_matrix(THREAD, STRENGTHS).double()
    scores = (torch.eye(16, dtype=torch.float64) + prior) / 2
    for weights in MODES.values():
        row = weights(scores, OWN, EVERYONE)[PLACE["ctr"]]
        ratio = float(row[PLACE["cvr"]] / row[PLACE["nba"]])
        assert ratio == pytest.approx(1.047, abs=5e-4)


def test_one_task_has_only_itself():
    alone = torch.ones(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.bool)
    assert source_weights(*alone, EVERYONE[:1]).item() == 1
    assert masked_weights(*alone, EVERYONE[:1]).item() == 0
