"""From a study and a spec to a trained model: ``fit``.

A run is a function of its arguments: the seed fixes the start, the dropout and the
order of the rows, whatever random numbers the caller drew before, and leaves the
caller's generator as it was. With a folder the run is saved after every epoch; one that
was killed begins its unfinished epoch again and ends as if nothing had happened.
"""

import json
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

import lightning as L
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import TQDMProgressBar

from ple_study.batch import ModelSpec, Rows
from ple_study.checkpoint import spec_to_json
from ple_study.data.loader import Batches, Scaler
from ple_study.devices import pick_device, seeded
from ple_study.experts.row_gradients import row_gradients
from ple_study.fitted import Fitted, check_monitor
from ple_study.learner import Learner, Training
from ple_study.objective.weighting import (
    FixedWeightingSpec,
    WeightingSpec,
    check_weighting,
)
from ple_study.progress import Progress, place_of
from ple_study.schema import Schema
from ple_study.start import begun, check_start, weights_hash

__all__ = ["Fitted", "Training", "fit", "pick_device"]

Precision = Literal["32", "bf16"]
TRAINING, WEIGHTING = Training(), FixedWeightingSpec()


@runtime_checkable
class Source(Protocol):
    """What a run asks of a study: a ``Study`` in memory, or a ``StreamedStudy``.

    ``loader`` gives the training rows in batches of ``size``, shuffled by ``seed``,
    scaled and on the device; ``fingerprint`` is a hash of the rows and of their order.
    """

    @property
    def schema(self) -> Schema: ...

    def part(self, name: str) -> Rows: ...

    def scaler(self) -> Scaler: ...

    def loader(
        self, size: int, *, seed: int, scaler: Scaler, device: torch.device
    ) -> Batches: ...

    def fingerprint(self) -> str: ...


def fit(
    study: Source,
    spec: ModelSpec,
    *,
    training: Training = TRAINING,
    weighting: WeightingSpec = WEIGHTING,
    start: Fitted | None = None,
    frozen: Sequence[str] = (),
    seed: int = 0,
    device: str = "auto",
    precision: Precision = "32",
    folder: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Fitted:
    """Train ``spec`` on the study's training rows; the best epoch's weights are kept.

    Of tasks that share nothing each keeps its own best epoch's.

    The study comes unscaled: the scaler is learned here, from the training rows, and
    travels with the model. ``device`` is ``auto`` (the environment's PLE_STUDY_DEVICE,
    or else CUDA where there is one), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    ``folder`` is where the run is saved; ``resume`` goes on from there, with the same
    arguments. ``progress`` shows a bar where standard output is a terminal.

    ``start`` is a model of the same spec and schema: the run begins with its weights
    and uses its scaler; optimiser, weighting and random numbers begin anew. ``frozen``
    names submodules, such as ``experts`` or ``levels.0``, that stay as they are, to the
    bit, while the rest learns (``Frozen``); afterwards they may learn again.

    Where the last batch of an epoch would hold a single row, that row is left out of
    the epoch; which one it is changes with every epoch.

    Raises ValueError when the monitor is no metric of the study, when ``start`` is of
    another model, when ``frozen`` names what is not there or leaves nothing to learn,
    when losses stop being finite, when the folder holds a run already, and, resuming,
    when it holds none, a damaged one or one of other arguments.
    """
    check_monitor(study.schema, training.monitor)
    _check_precision(precision)
    check_weighting("A run", weighting)
    if start:
        check_start(start, spec, study.schema)
    where, place = pick_device(device), place_of(folder, resume)
    options = {
        "schema": study.schema.to_json(),
        "spec": spec_to_json(spec),
        "weighting": spec_to_json(weighting),
        "training": asdict(training),
        "start": weights_hash(start),
        "frozen": list(frozen),
        "seed": seed,
        "precision": precision,
        "rows": study.fingerprint() if place else "",
    }
    run = json.loads(json.dumps(options))  # as the file will answer it
    scaler = start.scaler if start else study.scaler()
    with seeded(where, seed), _quiet():
        val, size = scaler.ready(study.part("val"), where), training.batch_size
        loader = study.loader(size, seed=seed, scaler=scaler, device=where)
        model = begun(spec, study.schema, start)
        weights = weighting.build(study.schema.tasks)
        steps = training.epochs * len(loader)
        learner = Learner(study.schema, model, weights, training, steps, frozen)
        state = Progress(learner, val, loader, run, place)
        if resume:
            state.restore()
        _train(state, where, precision, progress)
    model.load_state_dict(state.best)
    learner.frozen.release()
    model = model.to(where).eval()
    return Fitted(model, spec, study.schema, scaler, state.history, run)


def _check_precision(precision: str) -> None:
    if precision not in get_args(Precision):
        raise ValueError(
            f"A precision is one of {get_args(Precision)}. Found {precision!r}."
        )


def _train(
    state: Progress, where: torch.device, precision: str, progress: bool
) -> None:
    if state.finished:
        return
    training = state.learner.options
    bar = progress and sys.stdout.isatty()
    trainer = L.Trainer(
        accelerator="gpu" if where.type == "cuda" else where.type,
        devices=[where.index] if where.type == "cuda" else 1,
        precision="32-true" if precision == "32" else "bf16-mixed",
        max_epochs=training.epochs - len(state.history),
        callbacks=[state, *([TQDMProgressBar(refresh_rate=20)] if bar else [])],
        enable_progress_bar=bar,
        # Whatever would work once a step, or write by itself, is off.
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    state.learner.to(where)  # before its tables are looked at
    with row_gradients(state.learner.model):
        trainer.fit(state.learner, state.loader)


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning speaks of its own set-up; a caller wants to hear of errors alone."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        log.setLevel(level)
