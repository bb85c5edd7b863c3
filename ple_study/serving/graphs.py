"""What the files of a service compute: answers, how sure they are, and who made them.

Outputs are named by what they say: a task's name for its answer; of a model with
evidential heads ``uncertainty/answer/TASK`` and, ``[batch, task]`` over the tasks that
have a head, ``uncertainty/vacuity``, ``uncertainty/aleatoric`` and
``uncertainty/epistemic``; of a model with gates ``explanation/gate/LEVEL``. A file that
explains by leaving experts out has instead ``explanation/loo``, ``[batch, task,
expert]``, ``explanation/margin`` and ``explanation/class``, ``[batch, task]``, and
``explanation/present``, ``[batch, expert]``.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ple_study.baselines import PLE
from ple_study.batch import Batch, Output
from ple_study.data.loader import Scaler
from ple_study.export import example
from ple_study.fitted import Fitted, probabilities
from ple_study.gates.cgc import CGCLayer
from ple_study.interpret.coalitions import Said, explained, listen, mean_blocks
from ple_study.interpret.margins import margins
from ple_study.interpret.readouts import asked_of
from ple_study.model import HeterogeneousPLE
from ple_study.objective.evidence import Opinion
from ple_study.schema import TaskSpec
from ple_study.tasks.evidential import parameters_of, to_logits

SHIFT = 6  # from where digamma's series counts


class Answers(nn.Module):
    """A tensor an answer, from numbers as they stand in the table; then the gates'."""

    def __init__(self, fitted: Fitted, gates: bool = True) -> None:
        super().__init__()
        self.model: Any = copy.deepcopy(fitted.model).cpu().eval()
        self.tasks = fitted.schema.tasks
        sure = fitted.model.evidential is not None
        self.sure = [task for task in self.tasks if sure and parameters_of(task)]
        self.slots = slots(fitted) if gates else []
        self.scaler_mean: Tensor
        self.scaler_std: Tensor
        for name, tensor in fitted.scaler._asdict().items():
            self.register_buffer(f"scaler_{name}", tensor)

    @property
    def told(self) -> list[str]:
        """The names of the answers and of what evidence says."""
        parts = Opinion._fields[1:] if self.sure else ()
        return [
            *(task.name for task in self.tasks),
            *(f"uncertainty/answer/{task.name}" for task in self.sure),
            *(f"uncertainty/{part}" for part in parts),
        ]

    @property
    def names(self) -> list[str]:
        """The names of the outputs, in order."""
        levels = range(1, len(self.slots) + 1)
        return [*self.told, *(f"explanation/gate/{level}" for level in levels)]

    def forward(self, batch: Batch) -> tuple[Tensor, ...]:
        output = self.model(self.scaled(batch))
        weights = output.weights[: len(self.slots)]
        return *self.tell(output.logits, output.evidence), *weights

    def scaled(self, batch: Batch) -> Batch:
        return Scaler(self.scaler_mean, self.scaler_std)(batch)

    def tell(
        self, logits: dict[str, Tensor], evidence: Mapping[str, Tensor]
    ) -> list[Tensor]:
        """What ``told`` names."""
        answers = probabilities(self.tasks, logits)
        opinions = [opinion(task, evidence[task.name]) for task in self.sure]
        first, *parts = zip(*opinions, strict=True) if opinions else [()]
        beside = [torch.stack(part, dim=1) for part in parts]
        return [*(answers[task.name] for task in self.tasks), *first, *beside]


class Contributions(Answers):
    """The same, and the leave-one-out contribution of each expert to each task.

    Every customer is asked E + 1 times: without each of E experts, whose block is the
    mean of what it says of ``background``, and as she is (``interpret.coalitions``).
    """

    def __init__(self, fitted: Fitted, background: Batch) -> None:
        model = explained(fitted)
        super().__init__(fitted, gates=False)
        self.experts = list(model.experts.names)
        for place, mean in enumerate(mean_blocks(listen(fitted, background)[0].blocks)):
            self.register_buffer(f"unheard_{place}", mean.cpu())

    @property
    def names(self) -> list[str]:
        parts = ("loo", "margin", "class", "present")
        return [*self.told, *(f"explanation/{part}" for part in parts)]

    def forward(self, batch: Batch) -> tuple[Tensor, ...]:
        batch = self.scaled(batch)
        blocks, present = self.model.experts(batch)
        rest: dict[str, Any] = {"events": {}, "diagrams": {}, "vectors": {}}
        said = Said(replace(batch, customer=None, **rest), tuple(blocks), present)
        heard = asked_of("loo", len(blocks))[1:]  # all last
        mixed = [
            torch.where(
                heard[:, place, None], own[:, None], self.get_buffer(f"unheard_{place}")
            ).flatten(0, 1)
            for place, own in enumerate(blocks)
        ]
        many = said.times(len(heard))
        output: Output = self.model.answer(many.batch, mixed, many.present)
        logits = {k: _apart(z, len(heard)) for k, z in output.logits.items()}
        whole = {name: z[:, -1] for name, z in logits.items()}
        evidence = {k: _apart(e, len(heard))[:, -1] for k, e in output.evidence.items()}
        chosen = torch.stack([whole[t.name].argmax(1) for t in self.tasks], dim=1)
        found = margins(self.tasks, logits, chosen).double()
        raw = (found[:, -1:] - found[:, :-1]).mT
        return *self.tell(whole, evidence), raw, found[:, -1], chosen, present


def _apart(rows: Tensor, count: int) -> Float[Tensor, "batch coalition _"]:
    return rows.view(-1, count, rows.shape[1])


def digamma(x: Tensor) -> Tensor:
    """psi(x) for x >= 1 of functions that ONNX has, within 2e-12 in float64.

    psi(x) = psi(y) - sum_{k < 6} 1 / (x + k), y = x + 6, and psi(y) = log y - 1 / (2 y)
    - 1 / (12 y^2) + 1 / (120 y^4) - 1 / (252 y^6) + 1 / (240 y^8) - 1 / (132 y^10).
    """
    y = x + SHIFT
    below = torch.stack([1 / (x + step) for step in range(SHIFT)]).sum(0)
    z = 1 / (y * y)
    series = z * (1 / 240 - z / 132)
    series = z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - series)))
    return y.log() - 0.5 / y - series - below


def opinion(task: TaskSpec, evidence: Float[Tensor, "batch k"]) -> Opinion:
    """As ``objective.evidence.opinion``, of functions that ONNX has."""
    e = evidence.double()
    if task.kind == "regression":
        nu, alpha, beta = e[:, 1], e[:, 2], e[:, 3]
        noise = beta / (alpha - 1) * task.scale[1] ** 2
        found = to_logits(task, e), torch.full_like(nu, torch.nan), noise, noise / nu
    else:
        total = e.sum(1)
        p = e / total[:, None]
        mean = digamma(total + 1) - (p * digamma(e + 1)).sum(1)
        entropy = -(p * p.log()).sum(1)
        found = p, e.shape[1] / total, mean, entropy - mean
    return Opinion(*(part.to(evidence.dtype) for part in found))


def slots(fitted: Fitted) -> list[list[list[str]]]:
    """The names of a model's gate weights: by level and task, a name a slot.

    A slot is an expert of the pool by its name, a ``private`` expert of the task's own
    or a ``shared`` one, numbered from 1. Those of a model that is not the library's are
    numbered throughout. Empty without gates.
    """
    model, tasks = fitted.model, len(fitted.schema.tasks)
    if isinstance(model, PLE):
        return [_of_layer(level, (), tasks) for level in model.levels]
    if isinstance(model, HeterogeneousPLE):
        stages, names = model.gates, list(model.experts.names)
        first = [_of_layer(stages.stage1, names, tasks)] if stages.stage1 else []
        return first + ([[names] * tasks] if stages.stage2 else [])
    with torch.no_grad():
        weights = copy.deepcopy(model).cpu().eval()(example(fitted.schema)).weights
    counts = [level.shape[2] for level in weights]
    return [[[f"slot {i + 1}" for i in range(n)]] * tasks for n in counts]


def _of_layer(layer: Any, blocks: Sequence[str], tasks: int) -> list[list[str]]:
    level: CGCLayer = layer
    owners = level.owners
    own = [f"private {1 + owners[:at].count(who)}" for at, who in enumerate(owners)]
    shared = [f"shared {1 + at}" for at in range(level.shared.lanes)]
    names = [*own, *shared, *blocks]
    return [[names[place] for place in places] for places in level.gate.slots[:tasks]]
