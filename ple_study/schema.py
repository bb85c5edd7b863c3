"""What a study is about: its columns, its tasks and how tasks feed each other.

Everything here is numbers and names, checked when made. No tensor, no module.
"""

from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal, get_args

from ple_study.names import nearest, one_of, unique
from ple_study.task import Loss, TaskKind, TaskSpec, Transfer

__all__ = [
    "Feature",
    "FeatureKind",
    "Loss",
    "Schema",
    "Sequence",
    "TaskKind",
    "TaskSpec",
    "Transfer",
    "Value",
]

FeatureKind = Literal["numeric", "probability", "categorical"]
Value = str | int | bool


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One column of the input table.

    A ``numeric`` column is standardised with the mean and the deviation of the training
    rows; a ``probability`` column is left as it is, so that rows that sum to one still
    do. A ``categorical`` column is coded by its place in ``vocabulary``, counted from
    one; code 0 is kept for values that the vocabulary does not know.
    """

    name: str
    kind: FeatureKind = "numeric"
    group: str = "base"
    vocabulary: tuple[Value, ...] = ()
    dim: int = 16  # embedding width of a categorical column

    def __post_init__(self) -> None:
        one_of(f"Kind of feature {self.name!r}", self.kind, get_args(FeatureKind))
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        unique(f"Vocabulary of feature {self.name!r}", self.vocabulary)
        if (self.kind == "categorical") != bool(self.vocabulary):
            raise ValueError(
                f"A categorical feature has a vocabulary and no other has one. Found "
                f"feature {self.name!r} of kind {self.kind!r} with "
                f"{len(self.vocabulary)} values."
            )
        if self.dim < 1:
            raise ValueError(f"Feature {self.name!r} needs dim >= 1. Found {self.dim}.")

    @property
    def size(self) -> int:
        """Number of codes: every known value and one for the unknown."""
        return len(self.vocabulary) + 1


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """A named series of events: ``steps`` at most, each with these channels."""

    name: str
    steps: int
    channels: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        unique(f"Channels of sequence {self.name!r}", self.channels)
        if self.steps < 1 or not self.channels:
            raise ValueError(
                f"Sequence {self.name!r} needs one step and one channel or more. Found "
                f"{self.steps} steps and {len(self.channels)} channels."
            )


@dataclass(frozen=True, kw_only=True)
class Schema:
    """All that is fixed before training: columns, series, tasks, transfers.

    ``states`` is (modes, numbers a mode) of the hidden-state summaries, ``clusters``
    the number of customer clusters, ``diagrams`` the names of the persistence diagrams;
    zero or empty when the study has none.

    Raises ValueError for names used twice, a transfer that names no task, and a cycle.
    """

    features: tuple[Feature, ...]
    tasks: tuple[TaskSpec, ...]
    sequences: tuple[Sequence, ...] = ()
    diagrams: tuple[str, ...] = ()
    states: tuple[int, int] = (0, 0)
    clusters: int = 0
    transfers: tuple[Transfer, ...] = field(default=())

    def __post_init__(self) -> None:
        for name in ("features", "tasks", "sequences", "diagrams", "transfers"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "states", tuple(self.states))
        unique("Feature names", (f.name for f in self.features))
        unique("Task names", self.task_names)
        unique("Sequence names", (s.name for s in self.sequences))
        unique("Diagram names", self.diagrams)
        shared = {f.name for f in self.features} & set(self.task_names)
        if shared:
            raise ValueError(
                f"A column is a feature or a task. Both: {sorted(shared)}."
            )
        if not self.tasks:
            raise ValueError("A schema needs at least one task. Found none.")
        self._check_transfers()

    def _check_transfers(self) -> None:
        graph: dict[str, set[str]] = {name: set() for name in self.task_names}
        for edge in self.transfers:
            for name in (edge.source, edge.target):
                if name not in graph:
                    raise ValueError(
                        f"Transfer {edge.source} -> {edge.target} names an unknown "
                        f"task {name!r}. Tasks are {list(graph)}."
                        f"{nearest(name, graph)}"
                    )
            graph[edge.target].add(edge.source)
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            cycle = " -> ".join(error.args[1])
            raise ValueError(f"Transfers must form no cycle. Found {cycle}.") from None

    @property
    def numeric(self) -> tuple[Feature, ...]:
        """The columns of ``Batch.numeric``, in order (probabilities among them)."""
        return tuple(f for f in self.features if f.kind != "categorical")

    @property
    def categorical(self) -> tuple[Feature, ...]:
        """The columns of ``Batch.categorical``, in order."""
        return tuple(f for f in self.features if f.kind == "categorical")

    @property
    def task_names(self) -> tuple[str, ...]:
        return tuple(t.name for t in self.tasks)

    def task(self, name: str) -> TaskSpec:
        """The task of this name. Raises ValueError when there is none."""
        for task in self.tasks:
            if task.name == name:
                return task
        raise ValueError(
            f"Unknown task {name!r}. Tasks are {list(self.task_names)}."
            f"{nearest(name, self.task_names)}"
        )

    def to_json(self) -> dict[str, Any]:
        """The schema as plain JSON values; ``Schema.from_json`` reads it back."""
        parts = ("features", "tasks", "sequences", "transfers")
        rest = {k: v for k, v in vars(self).items() if k not in parts}
        # vars rather than asdict, which would copy a large vocabulary value by value.
        return rest | {k: [dict(vars(part)) for part in vars(self)[k]] for k in parts}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Schema":
        parts = {
            "features": Feature,
            "tasks": TaskSpec,
            "sequences": Sequence,
            "transfers": Transfer,
        }
        built: dict[str, Any] = {
            name: tuple(part(**_tuples(item)) for item in data.get(name, ()))
            for name, part in parts.items()
        }
        return cls(
            **_tuples({k: v for k, v in data.items() if k not in parts}), **built
        )


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    """JSON knows lists alone."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
