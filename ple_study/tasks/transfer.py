"""Logit transfer: what one task answers, another may read, along a graph of tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Literal, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ple_study.experts.mlp import Lanes, MLPSpec
from ple_study.names import one_of
from ple_study.schema import Schema, TaskSpec, Transfer
from ple_study.tasks.towers import Towers

Method = Literal["residual", "output_concat", "hidden_concat"]
Init = Literal["zero", "source"]


@dataclass(frozen=True, kw_only=True)
class TransferSpec:
    """How a target takes in what its sources say.

    method: "residual" adds to the target's vector h a branch of each source's answer;
    "output_concat" reads h and the answers side by side; "hidden_concat" reads h and
    what the sources' towers read, and no answer.
    init: "zero" is h plus a branch whose last map starts at zero, so that the model
    starts as one of the same weights without transfer; "source" is the published form,
    whose branch ends in a norm and a SiLU, and which replaces h where it reads it.
    detach: a target's loss does not train its sources.
    """

    method: Method = "residual"
    init: Init = "zero"
    detach: bool = False

    def __post_init__(self) -> None:
        one_of("method", self.method, get_args(Method))
        one_of("init", self.init, get_args(Init))
        if not isinstance(self.detach, bool):
            raise ValueError(f"detach is True or False. Found {self.detach!r}.")


class Branch(nn.Sequential):
    """SiLU(LN(W m + b)); with ``init="zero"``, a linear map behind it that starts at 0.

    Without that map the norm undoes any scale of W, so that a small W is no small
    branch.
    """

    def __init__(self, dim_in: int, dim: int, init: Init) -> None:
        super().__init__(nn.Linear(dim_in, dim), nn.LayerNorm(dim), nn.SiLU())
        if init == "zero":
            last = nn.Linear(dim, dim)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.append(last)


class Receiver(nn.Module):
    """One target: its own vector and its sources' messages to what its tower reads."""

    def __init__(
        self,
        dim: int,
        widths: Sequence[int],
        edges: Sequence[Transfer],
        spec: TransferSpec,
    ) -> None:
        super().__init__()
        self.edges, self.spec = list(edges), spec
        reads = [dim + sum(widths)] if spec.method != "residual" else widths
        self.branches = nn.ModuleList(Branch(w, dim, spec.init) for w in reads)

    def forward(
        self,
        own: Float[Tensor, "batch dim"],
        messages: Sequence[Float[Tensor, "batch _"]],
    ) -> Float[Tensor, "batch dim"]:
        if self.spec.detach:
            messages = [message.detach() for message in messages]
        if self.spec.method == "residual":
            said = zip(self.edges, self.branches, messages, strict=True)
            added = [edge.strength * branch(m) for edge, branch, m in said]
            return own + torch.stack(added).sum(0)
        answer: Tensor = self.branches[0](torch.cat([own, *messages], dim=1))
        return own + answer if self.spec.init == "zero" else answer


class TransferTowers(nn.Module):
    """Towers in the order of the task graph, each after those that inform it.

    The tasks that no waiting task informs answer together, then those that they set
    free, and so on: without an edge all towers are one step.
    """

    def __init__(
        self, schema: Schema, dim: int, tower: MLPSpec, spec: TransferSpec | None
    ) -> None:
        super().__init__()
        self.tasks = {task.name: task for task in schema.tasks}
        edges, spec = (schema.transfers, spec) if spec else ((), TransferSpec())
        self.hidden = spec.method == "hidden_concat"
        self.order = steps(schema.task_names, edges)
        self.towers = nn.ModuleList(
            Towers([self.tasks[name] for name in names], dim, tower)
            for names in self.order
        )
        into = {name: [e for e in edges if e.target == name] for name in self.tasks}
        self.sources = {name: found for name, found in into.items() if found}
        width = {t.name: dim if self.hidden else t.outputs for t in schema.tasks}
        self.receivers = nn.ModuleList(
            Receiver(dim, [width[edge.source] for edge in found], found, spec)
            for found in self.sources.values()
        )

    def forward(self, inputs: Lanes) -> dict[str, Tensor]:
        """One ``[batch, dim]`` a task to logits by task."""
        reads = dict(zip(self.tasks, inputs, strict=True))
        receivers = dict(zip(self.sources, self.receivers, strict=True))
        logits: dict[str, Tensor] = {}
        for names, towers in zip(self.order, self.towers, strict=True):
            for name in names:
                if name in receivers:
                    into = self.sources[name]
                    messages = [self._message(edge, reads, logits) for edge in into]
                    reads[name] = receivers[name](reads[name], messages)
            logits |= cast(Towers, towers)([reads[name] for name in names])
        return {name: logits[name] for name in self.tasks}

    def _message(
        self, edge: Transfer, reads: dict[str, Tensor], logits: dict[str, Tensor]
    ) -> Tensor:
        if self.hidden:
            return reads[edge.source]
        said = answer(self.tasks[edge.source], logits[edge.source])
        said = 1 - said if edge.kind == "inverse" else said
        return said.to(reads[edge.target].dtype)


def answer(
    task: TaskSpec, logits: Float[Tensor, "batch outputs"]
) -> Float[Tensor, "batch outputs"]:
    """What a task says: probabilities, or a value in deviations from what is usual."""
    if task.kind == "binary":
        return logits.sigmoid()
    if task.kind == "regression":
        usual, strays = task.scale
        return (logits - usual) / strays
    return logits.softmax(1)


def steps(names: Sequence[str], edges: Sequence[Transfer]) -> list[list[str]]:
    """Tasks by when they can answer, each list in the order of ``names``.

    The edges name tasks and form no cycle, as a ``Schema`` makes sure.
    """
    sorter = TopologicalSorter({name: set[str]() for name in names})
    for edge in edges:
        sorter.add(edge.target, edge.source)
    sorter.prepare()
    found = []
    while sorter.is_active():
        ready = sorter.get_ready()
        found.append([name for name in names if name in ready])
        sorter.done(*ready)
    return found
