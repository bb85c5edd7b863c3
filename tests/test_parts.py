"""Tasks that share nothing are trained as if each were alone."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from ple_study.baselines import PLESpec, SharedBottomSpec, SingleTaskSpec
from ple_study.batch import Rows
from ple_study.data.loader import Study
from ple_study.experts.mlp import MLPSpec
from ple_study.fitted import best, kept
from ple_study.learner import Learner
from ple_study.training import Training, fit
from tests.studies import SCHEMA, mixed

SMALL = MLPSpec(dims=(8, 7))
ALONE = SingleTaskSpec(trunk=SMALL, tower=MLPSpec(dims=(6,)))
# A rate at which tasks peak at different epochs, and gradients that need a bound.
TRAINING = Training(epochs=30, batch_size=32, lr=0.1, clip=0.5, patience=3)
NAMES = [task.name for task in SCHEMA.tasks]


def study_of(tasks):
    study, names = mixed(), {task.name for task in tasks}
    labels, weights = (
        {name: tensor for name, tensor in part.items() if name in names}
        for part in (study.rows.labels, study.rows.weights)
    )
    rows = Rows(study.rows.batch, labels, weights)
    return Study(replace(study.schema, tasks=tuple(tasks)), rows, study.split)


def run(tasks=SCHEMA.tasks, spec=ALONE, **options):
    options = {"training": TRAINING, "device": "cpu", "seed": 2} | options
    return fit(study_of(tasks), spec, **options)


@pytest.fixture(scope="module")
def whole():
    return run()


@pytest.mark.parametrize("place", range(len(NAMES)), ids=NAMES)
def test_each_task_ends_where_a_run_of_its_own_does(place):
    tasks = SCHEMA.tasks[place:] + SCHEMA.tasks[:place]  # the first draws the same
    own, together = run(tasks[:1]), run(tasks)
    assert together.epochs[tasks[0].name] == own.best_epoch
    assert len(own.history) <= len(together.history)
    for found, expected in zip(
        together.model.models[0].parameters(), own.model.parameters(), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_run_lasts_until_every_task_has_run_out_of_patience(whole):
    assert len(set(whole.epochs.values())) > 2
    last = max(whole.epochs.values())
    assert whole.best_epoch == last
    assert len(whole.history) == last + TRAINING.patience < TRAINING.epochs


def test_each_task_has_the_weights_of_its_own_best_epoch(whole):
    found = whole.evaluate(study_of(SCHEMA.tasks).part("val"))
    for name, epoch in whole.epochs.items():
        best = whole.history[epoch - 1]["val"][name]
        assert found[name] == {k: v for k, v in best.items() if k != "loss"}


@pytest.mark.parametrize("epochs", [1, 4, 7])
def test_a_run_that_was_cut_off_ends_as_if_nothing_had_happened(
    tmp_path, monkeypatch, epochs, whole
):
    step, calls = Learner.training_step, []

    def until_cut(*given):
        calls.append(given)
        if len(calls) == 6 * epochs + 3:  # six steps an epoch
            raise RuntimeError("cut")
        return step(*given)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "training_step", until_cut)
        with pytest.raises(RuntimeError, match="cut"):
            run(folder=tmp_path)
    resumed = run(folder=tmp_path, resume=True)
    assert resumed.history == whole.history
    assert resumed.epochs == whole.epochs
    states = resumed.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(t, states[1][name]) for name, t in states[0].items())


def test_the_parts_are_all_of_the_model_and_nothing_twice():
    model = ALONE.build(SCHEMA)
    starts = model.parts()
    assert list(starts) == NAMES
    for name, _ in model.named_parameters():
        assert sum(name.startswith(start) for start in starts.values()) == 1


@pytest.mark.parametrize("spec", [PLESpec(), SharedBottomSpec()])
def test_a_model_that_shares_is_one_part(spec, whole):
    model = spec.build(SCHEMA)
    assert model.parts() == {}
    assert len(set(kept(model, whole.history, vars(TRAINING)).values())) == 1


def test_a_named_monitor_stops_all_tasks_at_once():
    fitted = run(training=replace(TRAINING, monitor="churn/auc"))
    assert set(fitted.epochs.values()) == {fitted.peaks["churn"]}


def test_a_task_without_a_skill_goes_by_the_score_of_all(whole):
    history = deepcopy(whole.history)
    for entry in history:
        entry["val"]["spend"]["skill"] = float("nan")
    found = kept(whole.model, history, vars(TRAINING))
    expected = best(history, "score", TRAINING.patience)
    assert found == whole.epochs | {"spend": expected}
    assert expected != whole.epochs["spend"]
