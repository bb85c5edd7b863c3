"""Where a run stands: its history, its best weights, and all of it on disk.

Saved after every epoch: model, weighting, optimiser, best weights, the states of the
random numbers and the history. A run that goes on from there begins the epoch that was
cut off again. Of several processes the first decides and writes; all read.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from ple_study import checkpoint
from ple_study.batch import Rows
from ple_study.checkpoint import inside, under
from ple_study.data.loader import Batches
from ple_study.fitted import judge, kept, monitored
from ple_study.learner import Learner
from ple_study.ranks import ALONE, World, draw_apart, share_buffers

FILE = "checkpoint.safetensors"
WORLD = "number of processes"  # a run's, unless it is one


class Progress(L.Callback):
    """Closes every epoch: evaluates, keeps the best weights, saves, stops in time."""

    def __init__(
        self,
        learner: Learner,
        val: Rows,
        loader: Batches,
        run: Mapping[str, Any],
        folder: Path | None,
        world: World = ALONE,
    ) -> None:
        self.learner, self.val, self.loader, self.world = learner, val, loader, world
        self.run, self.path = run, folder / FILE if folder else None
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.saved: dict[str, Tensor] = {}

    @property
    def finished(self) -> bool:
        """Whether all epochs are over, or too many without an improvement."""
        epochs, training = len(self.history), self.run["training"]
        idle = epochs - max(self.peaks.values()) if epochs else 0
        return bool(epochs >= training["epochs"] or idle >= training["patience"])

    @property
    def peaks(self) -> dict[str, int]:
        """Each task's best epoch so far, from one."""
        return kept(self.learner.model, self.history, self.run["training"])

    def on_train_start(self, trainer: L.Trainer, _: L.LightningModule) -> None:
        self._check_ranks(trainer)
        if self.saved:
            set_moments(trainer.optimizers[0], inside(self.saved, "moments"))
            set_random(self.learner.device, self.loader, inside(self.saved, "random"))
            self.saved = {}
        else:
            self.save(trainer)

    def _check_ranks(self, trainer: L.Trainer) -> None:
        done, steps = len(self.history), self.learner.steps
        own = {**self.run, "number of epochs": done, "number of steps": steps}
        first = trainer.strategy.broadcast(own)
        other = [name for name, value in own.items() if value != first[name]]
        if other:
            raise ValueError(
                "All processes must be given the same run. Found, in process "
                f"{self.world.rank}, another {', '.join(other)} than in process 0."
            )

    def on_train_epoch_start(self, *_: object) -> None:
        if self.world.size > 1:
            epoch, rank = len(self.history), self.world.rank
            draw_apart(self.learner.device, self.run["seed"], epoch, rank)

    def on_train_epoch_end(self, trainer: L.Trainer, _: L.LightningModule) -> None:
        if self.world.size > 1:
            share_buffers(self.learner.model)
        # Answers may differ in a last bit, what follows from them must not.
        self.history.append(trainer.strategy.broadcast(self._close()))
        self._keep()
        self.save(trainer)
        trainer.should_stop = self.finished

    def _keep(self) -> None:
        """The weights of the tasks that were never better than now."""
        parts, model = self.learner.model.parts(), self.learner.model
        better = [name for name, n in self.peaks.items() if n == len(self.history)]
        starts = tuple(parts.get(name, "") for name in better)
        for name, tensor in model.state_dict().items():
            if name.startswith(starts):
                self.best[name] = tensor.detach().clone()

    def _close(self) -> dict[str, Any]:
        epoch, train = len(self.history) + 1, self.learner.losses()
        broken = [name for name, loss in train.items() if not math.isfinite(loss)]
        if broken:
            raise ValueError(
                f"Losses must stay finite. In epoch {epoch} those of {broken} did not: "
                "lower the learning rate, or scale the labels of a regression."
            )
        entry = {"epoch": epoch, "train": train}
        entry |= judge(self.learner.schema, self.learner.model, self.val)
        monitor = self.run["training"]["monitor"]
        if math.isnan(monitored(entry, monitor)):
            raise ValueError(
                f"{monitor!r} must be defined on the validation rows. Found NaN: their "
                "labels are missing or all alike."
            )
        return entry

    def save(self, trainer: L.Trainer) -> None:
        if self.path is not None and self.world.rank == 0:
            self._write(self.path, trainer)
        trainer.strategy.barrier()  # nobody reads what is not written yet

    def _write(self, path: Path, trainer: L.Trainer) -> None:
        tensors = {
            **under("model", self.learner.model.state_dict()),
            **under("weighting", self.learner.weighting.state_dict()),
            **under("best", self.best),
            **under("moments", get_moments(trainer.optimizers[0])),
            **under("random", get_random(self.learner.device, self.loader)),
        }
        checkpoint.write(path, tensors, {"run": self.run, "history": self.history})

    def restore(self) -> None:
        """Go on from the file. Raises ValueError when it is of another run."""
        assert self.path is not None
        self.saved, meta = checkpoint.read(self.path)
        found, asked = ({WORLD: 1, **run} for run in (meta["run"], self.run))
        checkpoint.check_same(self.path, found, asked)
        self.learner.model.load_state_dict(inside(self.saved, "model"))
        self.learner.weighting.load_state_dict(inside(self.saved, "weighting"))
        self.history, self.best = meta["history"], inside(self.saved, "best")
        self.learner.done = len(self.history) * len(self.loader)


def place_of(folder: str | Path | None, resume: bool) -> Path | None:
    """Where a run is saved, if anywhere.

    Raises ValueError when there is nothing to resume in, or a run to write over.
    """
    if folder is None and not resume:
        return None
    if folder is None:
        raise ValueError("Resuming needs the folder of the run. Found none.")
    if not resume and (Path(folder) / FILE).exists():
        raise ValueError(
            f"{folder} must hold no run yet: resume it, or name another folder. "
            f"Found {FILE}."
        )
    return Path(folder)


def get_moments(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as named tensors: ``place.name``."""
    state = optimiser.state_dict()["state"]
    return {f"{i}.{k}": t for i, parts in state.items() for k, t in parts.items()}


def set_moments(
    optimiser: torch.optim.Optimizer, moments: Mapping[str, Tensor]
) -> None:
    """What ``get_moments`` answered, back in its place."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in moments.items():
        place, part = name.split(".")
        state.setdefault(int(place), {})[part] = tensor
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def get_random(device: torch.device, loader: Batches) -> dict[str, Tensor]:
    """The states of dropout's generators and of the loader's."""
    found = {"cpu": torch.get_rng_state(), "loader": loader.generator.get_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def set_random(
    device: torch.device, loader: Batches, states: Mapping[str, Tensor]
) -> None:
    """What ``get_random`` answered, back in its place."""
    torch.set_rng_state(states["cpu"])
    loader.generator.set_state(states["loader"])
    if device.type == "cuda" and "cuda" in states:  # none, if it began on a CPU
        torch.cuda.set_rng_state(states["cuda"], device)
