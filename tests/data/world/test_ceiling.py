"""The ceiling, against labels drawn again and again for the same customers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ple_study import metrics
from ple_study.data.world import Bank
from ple_study.data.world.ceiling import best_logits, wedges
from ple_study.data.world.labels import labels, scores
from ple_study.data.world.tasks import LENSES
from ple_study.fitted import probabilities

DRAWS = 20_000
SOME = 4  # customers


def drawn_again(bank: Bank) -> dict[str, np.ndarray]:
    """Labels of the first customers, each drawn ``DRAWS`` times, all of them known."""
    rng = np.random.default_rng(5)
    who = bank.truth().customers.rows(np.repeat(np.arange(SOME), DRAWS))
    seen = tuple(replace(task, observed=1.0) for task in bank.signal.tasks)
    signal = replace(bank.signal, tasks=seen)
    score = scores(bank.plan, signal, who, rng)
    return labels(bank.plan, signal, score, rng, chained=bank.chained)


@pytest.mark.parametrize("chained", [True, False])
def test_answers_are_what_happens_to_a_customer_in_the_long_run(chained: bool) -> None:
    bank = Bank(600, seed=3, size="small", chained=chained)
    tasks = bank.schema.tasks
    found = probabilities(tasks, best_logits(bank))
    happened = drawn_again(bank)
    for task in tasks:
        often = happened[task.name].reshape(SOME, DRAWS)
        answer = found[task.name][:SOME].numpy()
        if task.kind == "regression":
            np.testing.assert_allclose(answer[:, 0], np.median(often, 1), atol=0.02)
            continue
        kinds = range(task.classes) if task.classes > 1 else (1,)
        share = np.stack([(often == kind).mean(1) for kind in kinds], 1)
        np.testing.assert_allclose(answer, share, atol=0.018, err_msg=task.name)


def test_what_is_told_in_part_leaves_the_rest_open() -> None:
    """Over all customers an answer is right as often as it says, and less is less."""
    bank = Bank(6000, seed=3, size="small")
    rows = [bank.block(number).labels for number in range(len(bank))]
    known = {
        name: torch.from_numpy(np.concatenate([part[name] for part in rows])).float()
        for name in bank.schema.task_names
    }
    scores_of = []
    for told in (1.0, 0.5, 0.0):
        logits = best_logits(bank, np.full(len(LENSES), told))
        found = metrics.evaluate(bank.schema, logits, known)
        scores_of.append(metrics.score(found))
        classes = [
            t.name for t in bank.schema.tasks if t.kind in ("binary", "multiclass")
        ]
        assert max(found[name]["ece"] for name in classes) < 0.03
    assert scores_of == sorted(scores_of, reverse=True)
    assert scores_of[0] > 0.5
    whole = best_logits(bank)
    for name, logits in best_logits(bank, np.ones(len(LENSES))).items():
        assert torch.equal(logits, whole[name])


def test_wedges_are_shares_of_a_cloud_of_points() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([0.05, 0.3, 0.2, 0.45])
    mean = np.array([[0.0, 0.0], [1.0, -2.0], [-7.0, 0.4]])
    found = wedges(mean, shares)
    np.testing.assert_allclose(found[0], shares)
    points = mean[:, None] + rng.normal(size=(3, 400_000, 2))
    turn = np.arctan2(points[..., 1], points[..., 0]) / (2 * np.pi) + 0.5
    codes = np.searchsorted(np.cumsum(shares)[:-1], turn)
    often = np.stack([(codes == kind).mean(1) for kind in range(4)], 1)
    np.testing.assert_allclose(found, often, atol=0.003)


def test_refusals() -> None:
    bank = Bank(600, size="small")
    with pytest.raises(ValueError, match="needs noise above 0"):
        best_logits(replace(bank, noise=0.0))
    for bad in (np.ones(6), np.full(7, 1.2), np.full(7, np.nan)):
        with pytest.raises(ValueError, match="number from 0 to 1 for each"):
            best_logits(bank, bad)
