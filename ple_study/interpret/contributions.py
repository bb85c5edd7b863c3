"""What each expert contributes to one prediction.

::

    found = contributions(fitted, batch, study.part("train").batch)
    found.share[0]  # of the first customer, [task, expert]

A contribution belongs to the model's answer, and is no cause of what a customer does;
that holds for the causal expert too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ple_study.batch import Batch
from ple_study.fitted import Fitted, probabilities
from ple_study.interpret.coalitions import (
    Question,
    asking,
    explained,
    listen,
    mean_blocks,
)
from ple_study.interpret.margins import Classes, chosen_classes
from ple_study.interpret.readouts import AGAINST, READOUTS, asked_of, values
from ple_study.names import one_of, unique
from ple_study.schema import TaskSpec

Readout = Literal["gate", "norm", "grad_block", "loo", "shapley", "ig"]
PerTask = Float[Tensor, "batch task"]


@dataclass(frozen=True, kw_only=True)
class Contributions:
    """One number a customer, task and expert, in float64 and on the CPU.

    raw: of ``gate`` and ``norm`` never below zero, else positive where the expert moves
    the margin up (``margins``). base, full: the margin where no expert is heard, and
    where all are. usual: the mean answer to the background, the probability of the
    class explained or the value. private: stage 1's weight on the task's own experts,
    which are always heard; zero where there are none. classes: the class explained.
    present: whether an expert had something to read. unheard: what each says instead.
    """

    readout: Readout
    hold_gate: bool
    about: tuple[TaskSpec, ...]
    experts: tuple[str, ...]
    raw: Float[Tensor, "batch task expert"]
    base: PerTask
    full: PerTask
    usual: PerTask
    private: PerTask
    classes: Int[Tensor, "batch task"]
    present: Bool[Tensor, "batch expert"]
    unheard: tuple[Float[Tensor, " _"], ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(task.name for task in self.about)

    @property
    def share(self) -> Float[Tensor, "batch task expert"]:
        """``|raw|`` over its sum; even where all are zero."""
        size = self.raw.abs()
        total = size.sum(2, keepdim=True)
        return (size / total).where(total > 0, 1 / size.shape[2])

    @property
    def gap(self) -> PerTask:
        """full - base - sum of raw: zero for ``shapley``, near zero for ``ig``."""
        return self.full - self.base - self.raw.sum(2)


def contributions(
    fitted: Fitted,
    batch: Batch,
    background: Batch,
    *,
    readout: Readout = "shapley",
    tasks: Sequence[str] | None = None,
    classes: Classes | None = None,
    hold_gate: bool = False,
) -> Contributions:
    """How much each expert has to do with each answer to these customers.

    Batches are given as the study has them, unscaled. ``background``: customers, such
    as the training part, whose mean expert outputs stand for "not heard"; those of whom
    an expert had nothing to read count with what it then says. ``classes``: by task the
    class to explain, one number or one a customer, instead of the class predicted.

    A block is replaced before the gates, which decide anew; with ``hold_gate`` their
    weights stay those of the full answer. ``gate``, ``norm`` and ``grad_block`` replace
    nothing. ``readouts`` has the formulas.

    An expert that has nothing to read of a customer stays absent in all coalitions, and
    says its learned vector where it is heard. So it can contribute: that it is absent.

    Raises ValueError for another kind of model, an empty batch, an unknown task, class
    or readout, ``hold_gate`` where nothing is replaced, ``gate`` and ``norm`` of a
    model without gates, and ``shapley`` of more than 10 experts.
    """
    model = explained(fitted)
    _check(readout, hold_gate, bool(model.gates.stage1 or model.gates.stage2))
    about = _chosen(fitted, tasks)
    heard = asked_of(readout, len(model.experts.names))
    with asking(model):
        other, usual = listen(fitted, background)
        said, output = listen(fitted, batch)
        unheard = mean_blocks(other.blocks)
        chosen = chosen_classes(about, output.logits, classes)
        asked = Question(
            model=model,
            said=said,
            weights=output.weights,
            unheard=unheard,
            tasks=about,
            chosen=chosen.to(said.present.device),
            hold_gate=hold_gate,
        )
        of_coalitions = values(asked, heard)
        raw = READOUTS[readout](asked, of_coalitions)
    return Contributions(
        readout=readout,
        hold_gate=hold_gate,
        about=about,
        experts=tuple(model.experts.names),
        raw=raw.cpu().double(),
        base=of_coalitions[:, 0],
        full=of_coalitions[:, -1],
        usual=_usual(about, usual.logits, chosen),
        private=_private(asked),
        classes=chosen.cpu(),
        present=said.present.cpu(),
        unheard=tuple(mean.cpu() for mean in unheard),
    )


def _check(readout: str, hold_gate: bool, gates: bool) -> None:
    one_of("A readout", readout, get_args(Readout))
    if hold_gate and readout not in AGAINST:
        raise ValueError(
            f"hold_gate is for {AGAINST}, where blocks are replaced. Found the readout "
            f"{readout!r}."
        )
    if readout in ("gate", "norm") and not gates:
        raise ValueError(
            f"The readout {readout!r} needs a gate. Found a model with neither stage."
        )


def _chosen(fitted: Fitted, tasks: Sequence[str] | None) -> tuple[TaskSpec, ...]:
    names = fitted.schema.task_names if tasks is None else tuple(tasks)
    if isinstance(tasks, str) or not names:
        raise ValueError(f"Tasks are a list of one name or more. Found {tasks!r}.")
    unique("Tasks", names)
    return tuple(fitted.schema.task(name) for name in names)


def _usual(
    tasks: Sequence[TaskSpec],
    logits: dict[str, Float[Tensor, "row _"]],
    chosen: Int[Tensor, "batch task"],
) -> PerTask:
    answers = probabilities(tasks, {task.name: logits[task.name] for task in tasks})
    means = [answer.double().mean(0) for answer in answers.values()]
    pairs = zip(means, chosen.unbind(1), strict=True)
    return torch.stack([mean[own] for mean, own in pairs], dim=1)


def _private(asked: Question) -> PerTask:
    size = len(asked.chosen), len(asked.tasks)
    if not asked.model.gates.stage1:
        return torch.zeros(size, dtype=torch.float64)
    slots = asked.weights[0][:, asked.places, : -len(asked.unheard)]
    return slots.double().sum(2).cpu()
