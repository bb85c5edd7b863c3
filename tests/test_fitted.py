"""What a trained model answers, whatever the size of the question."""

import math
from dataclasses import replace

import pytest
import torch

from ple_study import fitted as module
from ple_study.baselines import PLESpec
from ple_study.batch import tree_map
from ple_study.data.loader import Scaler
from ple_study.experts.mlp import MLPSpec
from ple_study.fitted import Fitted, best, check_monitor, infer
from tests.sizes import BATCH
from tests.studies import SCHEMA, mixed

SPEC = PLESpec(
    levels=2,
    shared=2,
    private=(1, 2, 1, 0),
    expert=MLPSpec(dims=(8, 7), dropout=0.5, norm="batch"),
    tower=MLPSpec(dims=(6,)),
)


@pytest.fixture
def fitted():
    scaler = Scaler.fit(SCHEMA, mixed().part("train").batch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SPEC.build(SCHEMA)
    return Fitted(model, SPEC, SCHEMA, scaler)


def test_probabilities_are_probabilities_and_a_regression_is_its_value(fitted):
    batch = mixed(rows=BATCH + 4).rows.batch
    answers, logits = fitted.predict(batch), fitted.output(batch).logits
    ones = torch.ones(len(batch))
    assert answers["churn"].shape == (len(batch), 1)
    torch.testing.assert_close(answers["churn"], 1 / (1 + (-logits["churn"]).exp()))
    for task in ("channel", "brand"):
        torch.testing.assert_close(answers[task].sum(1), ones)
        assert torch.equal(answers[task].argsort(1), logits[task].argsort(1))
    assert torch.equal(answers["spend"], logits["spend"])
    assert not any(answer.requires_grad for answer in answers.values())


def test_pieces_change_nothing(fitted, monkeypatch):
    batch = mixed(rows=3 * BATCH + 1).rows.batch
    whole = fitted.output(batch)
    monkeypatch.setattr(module, "CHUNK", BATCH)
    assert len(list(infer(fitted.model, batch))) == 4
    pieces = fitted.output(batch)
    for before, after in zip(
        (*whole.logits.values(), *whole.weights, *whole.experts),
        (*pieces.logits.values(), *pieces.weights, *pieces.experts),
        strict=True,
    ):
        torch.testing.assert_close(before, after, rtol=1e-5, atol=1e-6)
    slots = [level.sum(2) for level in pieces.weights]
    torch.testing.assert_close(slots, [torch.ones(len(batch), 4)] * 2)


def test_asking_leaves_the_model_in_its_mode(fitted):
    batch = mixed(rows=BATCH).rows.batch
    for mode in (True, False):
        fitted.model.train(mode)
        buffers = tree_map(torch.clone, dict(fitted.model.named_buffers()))
        first, second = fitted.predict(batch), fitted.predict(batch)
        assert fitted.model.training is mode
        assert all(torch.equal(first[task], second[task]) for task in first)
        for name, buffer in fitted.model.named_buffers():
            assert torch.equal(buffer, buffers[name])


def test_no_row_gets_no_answer(fitted):
    nobody = mixed(rows=9).rows.batch.rows(torch.tensor([], dtype=torch.long))
    with pytest.raises(ValueError, match="Found an empty batch"):
        fitted.predict(nobody)


def test_numbers_are_scaled_as_in_training(fitted):
    batch = mixed(rows=BATCH).rows.batch
    moved = replace(batch, numeric=batch.numeric * 3 + 7)
    scaler = Scaler(fitted.scaler.mean * 3 + 7, fitted.scaler.std * 3)
    again = replace(fitted, scaler=scaler)
    mean, std = fitted.scaler
    given = replace(batch, numeric=(batch.numeric - mean) / std)
    plain = next(iter(infer(fitted.model, given))).logits["churn"]
    torch.testing.assert_close(fitted.output(batch).logits["churn"], plain)
    torch.testing.assert_close(
        again.output(moved).logits["churn"], plain, rtol=1e-4, atol=1e-4
    )


def history(scores, losses):
    return [
        {"score": score, "val": {"churn": {"loss": loss, "auc": 1 - loss}}}
        for score, loss in zip(scores, losses, strict=True)
    ]


@pytest.mark.parametrize(
    ("monitor", "epoch"), [("score", 2), ("churn/loss", 3), ("churn/auc", 3)]
)
def test_the_best_epoch_is_the_first_of_the_best(monitor, epoch):
    nan = math.nan
    found = history([0.1, 0.4, nan, 0.4], [0.9, 0.8, 0.2, 0.2])
    assert best(found, monitor) == epoch


def test_a_metric_that_is_never_defined_is_best_at_first():
    assert best(history([math.nan] * 3, [1.0] * 3), "score") == 1


def test_monitors_are_the_metrics_of_each_kind():
    for monitor in ("score", "spend/r2", "brand/recall@10", "churn/skill"):
        check_monitor(SCHEMA, monitor)
    for monitor in ("loss", "spend/auc", "nobody/auc", "churn"):
        with pytest.raises(ValueError, match=f"Found '{monitor}'"):
            check_monitor(SCHEMA, monitor)


@pytest.mark.parametrize(("patience", "epoch"), [(1, 1), (2, 1), (3, 4)])
def test_what_comes_after_patience_has_run_out_does_not_count(patience, epoch):
    found = history([0.3, 0.2, 0.1, 0.4, 0.4], [1.0] * 5)
    assert best(found, "score", patience) == epoch
