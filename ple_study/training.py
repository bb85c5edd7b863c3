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
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import lightning as L
import torch
from lightning.fabric.plugins.environments.torchelastic import (
    TorchElasticEnvironment,
)
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.strategies import DDPStrategy

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
from ple_study.progress import WORLD, Progress, place_of
from ple_study.ranks import World, launched
from ple_study.schema import Schema
from ple_study.start import begun, check_start, weights_hash

__all__ = ["Fitted", "Training", "fit", "pick_device"]

Precision = Literal["32", "bf16"]
TRAINING, WEIGHTING = Training(), FixedWeightingSpec()


@runtime_checkable
class Source(Protocol):
    """What a run asks of a study: a ``Study`` in memory, or a ``StreamedStudy``.

    ``loader`` gives the training rows in batches of ``size``, shuffled by ``seed``,
    scaled and on the device; of several ranks, this one's part of them, in as many
    batches as the others'. ``fingerprint`` is a hash of the rows and of their order.
    """

    @property
    def schema(self) -> Schema: ...

    def part(self, name: str) -> Rows: ...

    def scaler(self) -> Scaler: ...

    def loader(
        self,
        size: int,
        *,
        seed: int,
        scaler: Scaler,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
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
    the epoch; which one it is changes with every epoch. Of W processes, less than two
    rows a process are left out, at most 2 W - 1.

    Launched by ``torchrun``, all processes train one model (``ple_study.ranks``), on
    the CPU or each on its own CUDA device. Every process judges all validation rows.

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
    world = launched()
    where, place = pick_device(device, world), place_of(folder, resume)
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
    if world.size > 1:
        options[WORLD] = world.size
    run = json.loads(json.dumps(options))  # as the file will answer it
    scaler = start.scaler if start else study.scaler()
    with seeded(where, seed), _quiet():
        val, size = scaler.ready(study.part("val"), where), training.batch_size
        part = {"rank": world.rank, "world": world.size} if world.size > 1 else {}
        loader = study.loader(size, seed=seed, scaler=scaler, device=where, **part)
        model = begun(spec, study.schema, start)
        weights = weighting.build(study.schema.tasks)
        steps = training.epochs * len(loader)
        how = training, steps, frozen, world.size
        learner = Learner(study.schema, model, weights, *how)
        state = Progress(learner, val, loader, run, place, world)
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
        **_devices(where, state.world),
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
    # Kept gradients would keep what other ranks added to rows of theirs.
    alone = state.world.size == 1
    with row_gradients(state.learner.model) if alone else nullcontext():
        trainer.fit(state.learner, state.loader)


def _devices(where: torch.device, world: World) -> dict[str, Any]:
    """Where a trainer works, and, of several processes, with which others."""
    accelerator = "gpu" if where.type == "cuda" else where.type
    if world.size == 1:
        devices = [where.index] if where.type == "cuda" else 1
        return {"accelerator": accelerator, "devices": devices}
    return {
        "accelerator": accelerator,
        "devices": world.local_size,
        "num_nodes": world.size // world.local_size,
        "plugins": [TorchElasticEnvironment()],
        # A batch, or an epoch, may leave a part unused: absent inputs, frozen gates.
        # Buffers are shared at the end of an epoch (``Progress``).
        "strategy": DDPStrategy(find_unused_parameters=True, broadcast_buffers=False),
        "use_distributed_sampler": False,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning speaks of its own set-up; a caller wants to hear of errors alone."""
    logs = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
