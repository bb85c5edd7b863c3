"""The planted truth is what was asked for, and the labels are what it says."""

import math

import pytest
import torch

from ple_study.data.synthetic import (
    pair_weights,
    planted,
    regression_pair,
    shared_and_private,
    shared_weights,
    signal,
)


@pytest.mark.parametrize("correlation", [-1.0, -0.3, 0.0, 0.5, 1.0])
def test_pair_weights_have_the_cosine_and_length_asked_for(correlation: float) -> None:
    weights = pair_weights(dim=7, correlation=correlation, scale=2.5, seed=3)
    gram = weights @ weights.T / 2.5**2
    wanted = torch.tensor([[1.0, correlation], [correlation, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(gram, wanted)


def test_shared_weights_have_the_cosines_of_their_shares() -> None:
    shares = (0.1, 0.5, 0.9)
    weights = shared_weights(num_tasks=3, dim=8, shared=shares, seed=1)
    cosine = weights @ weights.T
    for j in range(3):
        for k in range(3):
            wanted = 1.0 if j == k else math.sqrt(shares[j] * shares[k])
            assert cosine[j, k].item() == pytest.approx(wanted)


def test_labels_are_the_formula_and_noise() -> None:
    weights = pair_weights(dim=6, correlation=0.4, seed=5)
    study = planted(weights, num_rows=4000, noise=0.1, seed=5)
    x = study.rows.batch.numeric
    label = torch.stack(list(study.rows.labels.values()), dim=1)
    noise = label - signal(x, weights, seed=5)
    assert noise.std().item() == pytest.approx(0.1, rel=0.05)
    assert abs(noise.mean().item()) < 0.01
    assert x.std().item() == pytest.approx(1, rel=0.02)


def test_signal_is_the_sum_that_the_paper_prints() -> None:
    """Along one line the signal is w.x plus five sines; the sines are found from it."""
    weights = torch.eye(1, 6, dtype=torch.float64)
    x = torch.zeros(3, 6)
    x[:, 0] = torch.tensor([-1.0, 0.5, 2.0])
    generator = torch.Generator().manual_seed(4 * 9 + 1)
    alpha, beta = torch.randn(2, 5, generator=generator, dtype=torch.float64).tolist()
    for row in range(3):
        score = x[row, 0].item()
        sines = sum(math.sin(a * score + b) for a, b in zip(alpha, beta, strict=True))
        found = signal(x, weights, seed=9)[row, 0].item()
        assert found == pytest.approx(score + sines)


def test_noise_free_labels_are_the_signal() -> None:
    weights = shared_weights(num_tasks=3, dim=7, shared=0.5, seed=2)
    study = shared_and_private(num_tasks=3, dim=7, num_rows=50, noise=0.0, seed=2)
    wanted = signal(study.rows.batch.numeric, weights, seed=2).float()
    for k, name in enumerate(study.schema.task_names):
        torch.testing.assert_close(study.rows.labels[name], wanted[:, k])


def test_label_correlation_grows_with_the_dial() -> None:
    found = []
    for correlation in (0.0, 0.5, 0.9, 1.0):
        study = regression_pair(correlation=correlation, dim=8, num_rows=4000)
        pair = torch.stack(list(study.rows.labels.values()))
        found.append(torch.corrcoef(pair)[0, 1].item())
    assert found == sorted(found)
    assert abs(found[0]) < 0.1
    assert found[-1] > 0.98


def test_one_seed_one_study_and_the_dial_moves_the_second_task_alone() -> None:
    one, same = (regression_pair(num_rows=40, dim=6, seed=4) for _ in range(2))
    other = regression_pair(num_rows=40, dim=6, seed=4, correlation=0.9)
    new = regression_pair(num_rows=40, dim=6, seed=5)
    assert torch.equal(one.rows.batch.numeric, same.rows.batch.numeric)
    assert torch.equal(one.rows.labels["task_1"], same.rows.labels["task_1"])
    assert torch.equal(one.split["val"], same.split["val"])
    assert torch.equal(one.rows.batch.numeric, other.rows.batch.numeric)
    assert torch.equal(one.rows.labels["task_0"], other.rows.labels["task_0"])
    assert not torch.equal(one.rows.labels["task_1"], other.rows.labels["task_1"])
    assert not torch.equal(one.rows.batch.numeric, new.rows.batch.numeric)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    regression_pair(num_rows=30, dim=6)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match=r"correlation in -1..1.*correlation=1.5"):
        regression_pair(correlation=1.5)
    with pytest.raises(ValueError, match=r"dim > num_tasks.*5 tasks, dim=5"):
        shared_and_private(num_tasks=5, dim=5)
    with pytest.raises(ValueError, match=r"one share a task.*2 shares"):
        shared_and_private(num_tasks=3, shared=(0.5, 0.5))
    with pytest.raises(
        ValueError, match=r"Shares must lie in 0..1. Found \(1.2, 0.5\)"
    ):
        shared_and_private(num_tasks=2, shared=(1.2, 0.5))
