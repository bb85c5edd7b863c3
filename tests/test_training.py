"""A run is a function of its arguments, and no kill changes what it answers."""

import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ple_study import progress, training
from ple_study.baselines import MMoESpec, PLESpec, SharedBottomSpec
from ple_study.checkpoint import read
from ple_study.data.loader import Loader, Scaler
from ple_study.experts.mlp import MLPSpec
from ple_study.objective.losses import task_losses
from ple_study.objective.weighting import UncertaintyWeightingSpec
from ple_study.schema import TaskSpec
from ple_study.training import Training, fit
from tests.studies import mixed

SMALL = MLPSpec(dims=(8, 7), dropout=0.2)
TOWER = MLPSpec(dims=(6,))
BOTTOM = SharedBottomSpec(trunk=SMALL, tower=TOWER)
PLE = PLESpec(levels=2, shared=2, private=1, expert=SMALL, tower=TOWER)
SHORT = Training(epochs=4, batch_size=32, lr=0.01, schedule="cosine")
ROOT = Path(__file__).parents[1]


def same(first, second):
    """Whether two fitted models have equal histories and equal bits."""
    states = first.model.state_dict(), second.model.state_dict()
    return first.history == second.history and all(
        torch.equal(tensor, states[1][name]) for name, tensor in states[0].items()
    )


def run(**changes):
    learned = UncertaintyWeightingSpec()
    options = {"training": SHORT, "weighting": learned, "seed": 5, "device": "cpu"}
    return fit(mixed(), PLE, **(options | changes))


def test_training_beats_the_trivial_answer_on_every_task():
    fitted = fit(mixed(), BOTTOM, training=replace(SHORT, epochs=30), device="cpu")
    found = fitted.evaluate(mixed().part("test"))
    assert all(metrics["skill"] > 0.1 for metrics in found.values()), found
    losses = [[epoch["train"][task] for epoch in fitted.history] for task in found]
    assert all(loss[-1] < loss[0] for loss in losses)


def test_the_unit_of_a_label_is_only_the_unit_of_its_answers():
    def answers(unit, offset):
        study = mixed()
        labels = dict(
            study.rows.labels, spend=study.rows.labels["spend"] * unit + offset
        )
        scale = (2.0 * unit + offset, 3.0 * unit)
        tasks = tuple(
            replace(task, scale=scale) if task.name == "spend" else task
            for task in study.schema.tasks
        )
        study = replace(
            study,
            schema=replace(study.schema, tasks=tasks),
            rows=replace(study.rows, labels=labels),
        )
        fitted = fit(study, BOTTOM, training=replace(SHORT, epochs=2), device="cpu")
        return fitted.predict(study.part("test").batch)

    own, cents = answers(1.0, 0.0), answers(128.0, 1000.0)
    for name, found in cents.items():
        found = (found - 1000.0) / 128.0 if name == "spend" else found
        torch.testing.assert_close(found, own[name], rtol=1e-4, atol=1e-4)


def test_the_model_has_the_weights_of_its_best_epoch():
    fitted = fit(mixed(), BOTTOM, training=replace(SHORT, lr=0.3), device="cpu")
    scores = [epoch["score"] for epoch in fitted.history]
    assert scores.index(max(scores)) + 1 == fitted.best_epoch < len(scores)
    best = fitted.history[fitted.best_epoch - 1]["val"]
    found = fitted.evaluate(mixed().part("val"))
    assert {k: v for k, v in best["spend"].items() if k != "loss"} == found["spend"]
    assert not fitted.model.training


def test_a_run_is_a_loop_that_anyone_can_write():
    still = replace(BOTTOM, trunk=replace(SMALL, dropout=0.0))
    training = Training(epochs=2, batch_size=32, clip=0.5)
    fitted = fit(mixed(), still, training=training, seed=3, device="cpu")
    study = mixed()
    scaler = Scaler.fit(study.schema, study.part("train").batch)
    rows = study.part("train")
    loader = Loader(replace(rows, batch=scaler(rows.batch)), 32, shuffle=True, seed=3)
    torch.manual_seed(3)
    model = still.build(study.schema)
    flat = [p for n, p in model.named_parameters() if n.endswith("bias")]
    rest = [p for n, p in model.named_parameters() if not n.endswith("bias")]
    groups = [{"params": rest, "weight_decay": 0.01}, {"params": flat}]
    optimiser = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.0, fused=True)
    weights = torch.tensor([task.weight for task in study.schema.tasks])
    for _ in range(2):
        for part in loader:
            losses = task_losses(
                study.schema.tasks, model(part.batch).logits, part.labels, part.weights
            )
            optimiser.zero_grad()
            (weights * losses.values).sum().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimiser.step()
    for found, expected in zip(
        fitted.model.parameters(), model.parameters(), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.plain  # the shape checker itself draws random numbers
def test_a_seed_fixes_every_bit_and_leaves_the_caller_alone():
    first = run()
    torch.rand(17)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1]
    python_state = random.getstate()
    assert same(first, run())
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()
    assert python_state == random.getstate()
    assert not same(first, run(seed=6))


def test_nothing_is_written_where_no_terminal_listens(capfd):
    run()
    assert capfd.readouterr() == ("", "")


def test_early_stopping_waits_for_its_own_monitor():
    training = replace(SHORT, epochs=40, patience=2, monitor="brand/loss", lr=0.1)
    fitted = fit(mixed(), BOTTOM, training=training, device="cpu")
    losses = [epoch["val"]["brand"]["loss"] for epoch in fitted.history]
    assert losses.index(min(losses)) + 1 == fitted.best_epoch
    assert len(losses) == fitted.best_epoch + 2 < 40
    scores = [epoch["score"] for epoch in fitted.history]
    assert scores.index(max(scores)) + 1 != fitted.best_epoch
    assert set(fitted.peaks) == set(fitted.schema.task_names)


def test_a_monitor_must_be_a_metric_of_the_study():
    with pytest.raises(ValueError, match=r"score.*churn/auc.*Found 'churn/r2'"):
        run(training=replace(SHORT, monitor="churn/r2"))


def test_a_monitor_must_be_defined_on_the_validation_rows():
    study = mixed()
    study.rows.labels["churn"][study.split["val"]] = 0
    with pytest.raises(ValueError, match=r"'churn/auc' must be defined.*Found NaN"):
        fit(study, PLE, training=replace(SHORT, monitor="churn/auc"), device="cpu")


def test_losses_that_overflow_are_named():
    study = mixed()
    study.rows.labels["spend"] *= 1e30
    with pytest.raises(ValueError, match=r"epoch 1 those of \['spend'\] did not"):
        fit(study, PLE, training=SHORT, device="cpu")


def test_a_last_batch_of_one_row_does_not_stop_batch_normalisation():
    spec = replace(BOTTOM, trunk=replace(SMALL, norm="batch"))
    study = mixed()
    size = (len(study.split["train"]) - 1) // 4
    assert len(study.split["train"]) % size == 1
    fitted = fit(study, spec, training=replace(SHORT, batch_size=size), device="cpu")
    assert len(fitted.history) == 4


def test_half_precision_ends_near_full_precision():
    full, half = run(), run(precision="bf16")
    assert not same(full, half)
    assert half.history[-1]["score"] == pytest.approx(
        full.history[-1]["score"], abs=0.1
    )
    assert all(p.dtype == torch.float32 for p in half.model.parameters())


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"cuda:99.*Found \d+ cuda devices"):
        run(device="cuda:99")
    with pytest.raises(ValueError, match=r"auto, cpu.*Found 'tpu'"):
        run(device="tpu")


KILLED = """
import os, signal, sys
from ple_study.{module} import {owner}
from tests.test_training import run

whole, calls = {owner}.{name}, 0

def until_killed(*args, **options):
    global calls
    calls += 1
    if calls == {calls}:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*args, **options)

{owner}.{name} = until_killed
run(folder=sys.argv[1])
"""


def killed(folder, **place):
    code = KILLED.format(**place)
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.parametrize(
    ("place", "epochs"),
    [
        # Six steps an epoch: the fourth step of the third.
        ({"module": "learner", "owner": "Learner", "name": "training_step"}, 2),
        # Between the writing of the second epoch's file and its move.
        ({"module": "checkpoint", "owner": "Path", "name": "replace"}, 1),
    ],
    ids=["step", "write"],
)
def test_a_killed_run_ends_as_if_nothing_had_happened(tmp_path, place, epochs):
    calls = 2 * 6 + 4 if epochs == 2 else 3
    killed(tmp_path, calls=calls, **place)
    assert len(read(tmp_path / "checkpoint.safetensors")[1]["history"]) == epochs
    resumed = run(folder=tmp_path, resume=True)
    assert same(resumed, run())
    assert same(resumed, run(folder=tmp_path, resume=True))
    assert len(resumed.history) == SHORT.epochs > epochs


def test_a_folder_with_a_run_is_not_written_over(tmp_path):
    run(folder=tmp_path)
    with pytest.raises(ValueError, match=r"hold no run yet.*Found checkpoint"):
        run(folder=tmp_path)


def test_resuming_names_what_is_wrong_with_the_folder(tmp_path):
    with pytest.raises(ValueError, match="needs the folder"):
        run(resume=True)
    with pytest.raises(ValueError, match="Found no such file"):
        run(folder=tmp_path / "nowhere", resume=True)
    run(folder=tmp_path)
    with pytest.raises(ValueError, match="Found another seed, precision"):
        run(folder=tmp_path, resume=True, seed=6, precision="bf16")
    study, wide = mixed(), MMoESpec(experts=2, expert=SMALL, tower=TOWER)
    again = {"training": SHORT, "seed": 5, "folder": tmp_path, "resume": True}
    with pytest.raises(ValueError, match="Found another spec, weighting"):
        fit(study, wide, device="cpu", **again)
    again["weighting"] = UncertaintyWeightingSpec()
    tasks = (*study.schema.tasks[:3], TaskSpec(name="brand", kind="regression"))
    other = replace(study, schema=replace(study.schema, tasks=tasks))
    with pytest.raises(ValueError, match=r"Found another schema\."):
        fit(other, PLE, device="cpu", **again)
    with pytest.raises(ValueError, match=r"Found another rows\."):
        fit(mixed(seed=1), PLE, device="cpu", **again)
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ValueError, match="must be a whole safetensors file"):
        run(folder=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("option", "value"),
    [("epochs", 0), ("batch_size", 0), ("patience", 0), ("lr", 0.0), ("clip", -1.0)],
)
def test_training_options_out_of_range_are_named(option, value):
    with pytest.raises(ValueError, match=f"needs {option} >.*Found {value}"):
        Training(**{option: value})


@pytest.mark.plain
def test_an_unknown_schedule_is_named():
    with pytest.raises(ValueError, match="Found 'linear'"):
        Training(schedule="linear")


def test_a_table_of_categories_alone_trains():
    study = mixed()
    features = study.schema.categorical
    numeric = torch.zeros(len(study.rows), 0)
    study = replace(
        study,
        schema=replace(study.schema, features=features),
        rows=replace(study.rows, batch=replace(study.rows.batch, numeric=numeric)),
    )
    fitted = fit(study, BOTTOM, training=replace(SHORT, epochs=1), device="cpu")
    assert len(fitted.history) == 1


def test_a_model_needs_a_column():
    study = mixed()
    batch = replace(
        study.rows.batch,
        numeric=torch.zeros(len(study.rows), 0),
        categorical=torch.zeros(len(study.rows), 0, dtype=torch.long),
    )
    study = replace(
        study,
        schema=replace(study.schema, features=()),
        rows=replace(study.rows, batch=batch),
    )
    with pytest.raises(ValueError, match="reads at least one column"):
        fit(study, BOTTOM, device="cpu")


@pytest.mark.plain
@pytest.mark.parametrize("precision", [32, "float32", "64"])
def test_an_unknown_precision_is_named(precision):
    with pytest.raises(ValueError, match=f"A precision is one of.*Found {precision!r}"):
        fit(mixed(), BOTTOM, precision=precision, device="cpu")


def test_everything_that_a_run_sees_is_in_its_fingerprint():
    study = mixed()
    first = training.fingerprint(study)
    assert training.fingerprint(mixed()) == first
    rows, split = study.rows, study.split
    heavier = {"churn": rows.weights["churn"] * 2}
    moved = {**split, "val": split["test"], "test": split["val"]}
    for other in (
        replace(study, rows=replace(rows, weights=heavier)),
        replace(study, rows=replace(rows, weights={})),
        replace(study, split=moved),
    ):
        assert training.fingerprint(other) != first


def test_a_run_begun_without_a_gpu_has_none_of_its_random_numbers():
    loader, here = Loader(mixed().rows, 8), torch.device("cpu")
    states = progress.get_random(here, loader)
    with torch.random.fork_rng():
        progress.set_random(torch.device("cuda", 0), loader, states)
