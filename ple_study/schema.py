"""What a study is about: its columns, its tasks and how tasks feed each other.

Everything here is numbers and names, checked when made. No tensor, no module.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ple_study.inputs import Feature, FeatureKind, Sequence, Value, Vector
from ple_study.names import filled, listed, nearest, unique
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
    "Vector",
]


@dataclass(frozen=True, kw_only=True)
class Schema:
    """All that is fixed before training: columns, series, tasks, transfers.

    ``states`` is (modes, numbers a mode) of the hidden-state summaries, ``clusters``
    the number of customer clusters, ``diagrams`` the names of the persistence diagrams;
    zero or empty when the study has none.

    Raises ValueError for names used twice, a transfer that names no task or is stated
    twice, and a cycle.
    """

    features: tuple[Feature, ...]
    tasks: tuple[TaskSpec, ...]
    sequences: tuple[Sequence, ...] = ()
    diagrams: tuple[str, ...] = ()
    states: tuple[int, int] = (0, 0)
    clusters: int = 0
    vectors: tuple[Vector, ...] = ()
    transfers: tuple[Transfer, ...] = field(default=())

    def __post_init__(self) -> None:
        lists = ("features", "tasks", "sequences", "diagrams", "vectors", "transfers")
        for name in lists:
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "states", tuple(self.states))
        unique("Feature names", (f.name for f in self.features))
        unique("Task names", self.task_names)
        unique("Sequence names", (s.name for s in self.sequences))
        unique("Diagram names", self.diagrams)
        unique("Vector names", (v.name for v in self.vectors))
        shared = {f.name for f in self.features} & set(self.task_names)
        if shared:
            raise ValueError(
                f"A column is a feature or a task. Both: {sorted(shared)}."
            )
        if self.clusters < 0 or not _states(self.states):
            raise ValueError(
                "A schema has clusters >= 0, and states (modes, numbers a mode) of "
                f"which both or none are zero. Found {self.clusters} and {self.states}."
            )
        if not self.tasks:
            raise ValueError("A schema needs at least one task. Found none.")
        self._check_transfers()

    def _check_transfers(self) -> None:
        unique("Transfers", (f"{e.source} -> {e.target}" for e in self.transfers))
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
        parts = ("features", "tasks", "sequences", "vectors", "transfers")
        rest = {k: v for k, v in vars(self).items() if k not in parts}
        # vars rather than asdict, which would copy a large vocabulary value by value.
        return rest | {k: [dict(vars(part)) for part in vars(self)[k]] for k in parts}

    @classmethod
    def from_json(cls, data: Any) -> "Schema":
        """What ``to_json`` answered. Raises ValueError where it is something else."""
        parts = {
            "features": Feature,
            "tasks": TaskSpec,
            "sequences": Sequence,
            "vectors": Vector,
            "transfers": Transfer,
        }
        if not isinstance(data, Mapping):
            raise ValueError(f"A schema is a JSON object. Found {data!r:.60}.")
        built: dict[str, Any] = {
            name: tuple(filled(part, item) for item in listed(name, data[name]))
            for name, part in parts.items()
            if name in data
        }
        return filled(cls, {**data, **built})


def _states(states: tuple[int, ...]) -> bool:
    return len(states) == 2 and (min(states) > 0 or states == (0, 0))
