"""Two phases: all of a model learns, and then its head alone on parts that are frozen.

What the head gains by that is an open question; the fair control is one phase of as
many epochs as both have.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from ple_study import metrics
from ple_study.batch import ModelSpec
from ple_study.data.loader import Study
from ple_study.fitted import LOWER, Fitted, check_monitor, monitored
from ple_study.learner import Training
from ple_study.objective.losses import TaskLosses
from ple_study.objective.weighting import WeightingSpec
from ple_study.progress import FILE, place_of
from ple_study.start import Frozen
from ple_study.training import WEIGHTING, Precision, fit

FIRST = Training(epochs=15, schedule="cosine")
SECOND = replace(FIRST, epochs=8)


@dataclass(frozen=True, kw_only=True)
class TwoPhase:
    """How each phase is trained, and which parts phase 2 leaves as phase 1 left them.

    ``frozen`` names submodules, as in ``fit``; the default are those of a
    ``HeterogeneousPLE`` that come before its tasks' own: embeddings, experts, gates.
    """

    first: Training = FIRST
    second: Training = SECOND
    frozen: tuple[str, ...] = ("columns", "experts", "gates")

    def __post_init__(self) -> None:
        if isinstance(self.frozen, str):
            raise ValueError(
                f"frozen is a list of names. Found the word {self.frozen!r}."
            )
        object.__setattr__(self, "frozen", tuple(self.frozen))


TWO_PHASE = TwoPhase()


class Phases(NamedTuple):
    """What each phase ended with; the recipe's answer is the second's.

    Each has its own history, counted from epoch one.
    """

    first: Fitted
    second: Fitted

    @property
    def gain(self) -> float:
        """What phase 2 added on the validation rows; below zero, it harmed.

        The difference of the monitor that phase 2 had, between the weights that either
        phase kept, turned so that more is better.
        """
        monitor: str = self.second.run["training"]["monitor"]
        sign = -1 if monitor.rpartition("/")[2] in LOWER else 1
        return sign * (_kept(self.second, monitor) - _kept(self.first, monitor))


def _kept(fitted: Fitted, monitor: str) -> float:
    """The monitor of the weights that were kept: each task's at its own epoch."""
    epochs, history = fitted.epochs, fitted.history
    val = {task: history[epoch - 1]["val"][task] for task, epoch in epochs.items()}
    return monitored({"val": val, "score": metrics.score(val)}, monitor)


def fit_two_phase(
    study: Study,
    spec: ModelSpec,
    *,
    phases: TwoPhase = TWO_PHASE,
    weighting: WeightingSpec = WEIGHTING,
    second_weighting: WeightingSpec | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: Precision = "32",
    folder: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Phases:
    """Train ``spec``, then from its best epoch on all that ``phases`` does not freeze.

    Phase 1 is ``fit``. Phase 2 is ``fit`` too, with its weights as ``start``: scaler
    and weights stay, while optimiser, schedule, early stopping, random numbers and
    weighting begin anew. It keeps the best of its own epochs, also where phase 1 was
    better (``Phases.gain``).

    ``second_weighting`` is phase 2's, by default a new one of the same spec. Where that
    one looks at gradients in parameters that are frozen by then, hand over one that
    does not; of one that wraps another to do so, the other.

    In ``folder`` the phases are saved as ``first`` and ``second``; ``resume`` goes on
    in the one that was cut off.

    Raises ValueError as ``fit`` does; what is wrong with phase 2 is said before phase 1
    begins.
    """
    later = second_weighting or weighting
    _check_second(study, spec, phases, later)
    one, two = (_inside(folder, name) for name in ("first", "second"))
    again = resume and two is not None and (two / FILE).exists()
    place_of(two, again)  # before an hour of phase 1
    run = partial(
        fit,
        study,
        spec,
        seed=seed,
        device=device,
        precision=precision,
        progress=progress,
    )
    first = run(training=phases.first, weighting=weighting, folder=one, resume=resume)
    second = run(
        training=phases.second,
        weighting=later,
        start=first,
        frozen=phases.frozen,
        folder=two,
        resume=again,
    )
    return Phases(first, second)


def _inside(folder: str | Path | None, name: str) -> Path | None:
    return None if folder is None else Path(folder) / name


def _check_second(
    study: Study, spec: ModelSpec, phases: TwoPhase, weighting: WeightingSpec
) -> None:
    check_monitor(study.schema, phases.second.monitor)
    tasks = study.schema.tasks
    with torch.random.fork_rng(devices=[]):
        built, model = weighting.build(tasks), spec.build(study.schema)
    Frozen(model, phases.frozen)
    if not any(p.requires_grad for p in model.shared_parameters()):
        present = torch.ones(len(tasks), dtype=torch.bool)
        built(TaskLosses(present.float(), present))  # that needs some says so
