"""A run is a function of its arguments, and ends at its best epoch."""

import random
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from ple_study.data.loader import Loader, Scaler
from ple_study.objective.losses import task_losses
from ple_study.training import Training, fit
from tests.runs import BOTTOM, PLE, SHORT, SMALL, run, same
from tests.studies import mixed


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


def test_a_run_with_a_frozen_part_is_a_loop_that_anyone_can_write():
    spec = replace(BOTTOM, trunk=replace(SMALL, norm="batch"))
    training = Training(epochs=2, batch_size=32, clip=0.5)
    common = {"training": training, "seed": 3, "device": "cpu"}
    start = fit(mixed(seed=4), spec, **common)
    found = fit(mixed(), spec, start=start, frozen=("trunk",), **common)
    study, model = mixed(), deepcopy(start.model)
    rows = study.part("train")
    rows = replace(rows, batch=start.scaler(rows.batch))
    loader = Loader(rows, 32, shuffle=True, seed=3)
    free = {n: p for n, p in model.named_parameters() if not n.startswith("trunk")}
    flat = [p for n, p in free.items() if n.endswith("bias")]
    rest = [p for n, p in free.items() if not n.endswith("bias")]
    groups = [{"params": rest, "weight_decay": 0.01}, {"params": flat}]
    optimiser = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.0, fused=True)
    weights = torch.tensor([task.weight for task in study.schema.tasks])
    states = []
    for _ in range(2):
        model.train()
        model.trunk.eval()
        for piece in loader:
            logits = model(piece.batch).logits
            losses = task_losses(
                study.schema.tasks, logits, piece.labels, piece.weights
            )
            optimiser.zero_grad()
            (weights * losses.values).sum().backward()
            torch.nn.utils.clip_grad_norm_(list(free.values()), 0.5)
            optimiser.step()
        states.append(deepcopy(model.state_dict()))
    wanted = states[found.best_epoch - 1]
    for name, tensor in found.model.state_dict().items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-5, atol=1e-6)


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


@pytest.mark.parametrize("spec", [BOTTOM, type(BOTTOM), "UPGrad", None])
@pytest.mark.plain
def test_what_is_no_weighting_is_refused(spec):
    with pytest.raises(ValueError, match="A run needs the spec of a weighting"):
        fit(mixed(), BOTTOM, weighting=spec)
