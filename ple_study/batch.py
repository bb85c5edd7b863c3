"""Both ends of a model: what a batch of customers is, and what a model answers.

Axes are named once, here, and mean the same everywhere:
batch (customers), numeric and categorical (columns), time, channel, point, mode, state,
cluster, task, expert, slot (an expert as one task's gate sees it), dim (a width).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ple_study.schema import Schema

if TYPE_CHECKING:
    from ple_study.tasks.evidential import EvidentialSpec

T = TypeVar("T")


def tree_map(function: Callable[[Tensor], Tensor], value: T) -> T:
    """Apply ``function`` to every tensor of nested batches and mappings."""
    if isinstance(value, Tensor):
        return function(value)  # type: ignore[return-value]
    if isinstance(value, Mapping):
        return {k: tree_map(function, v) for k, v in value.items()}  # type: ignore[return-value]
    if isinstance(value, Movable):
        parts = {f.name: getattr(value, f.name) for f in fields(value)}  # type: ignore[arg-type]
        return type(value)(**{k: tree_map(function, v) for k, v in parts.items()})
    return value


def concat(values: Sequence[T]) -> T:
    """Put the customers of several batches of one schema one after the other.

    Raises ValueError for no batch, and where one has a part that another has not.
    """
    if not values:
        raise ValueError("One batch or more can be put together. Found none.")
    first = values[0]
    if len({type(v) for v in values}) > 1:
        raise ValueError(
            "All batches must have the same parts. Found "
            f"{sorted({type(v).__name__ for v in values})} for one of them."
        )
    if isinstance(first, Tensor):
        return torch.cat(values)  # type: ignore[return-value,arg-type]
    if isinstance(first, Mapping):
        kinds = {tuple(sorted(v)) for v in values}  # type: ignore[call-overload]
        if len(kinds) > 1:
            raise ValueError(f"All batches must have the same names. Found {kinds}.")
        return {k: concat([v[k] for v in values]) for k in first}  # type: ignore
    if isinstance(first, Movable):
        names = [f.name for f in fields(first)]  # type: ignore[arg-type]
        parts = {name: concat([getattr(v, name) for v in values]) for name in names}
        return type(first)(**parts)
    return first


class Movable:
    """A dataclass of tensors that moves to a device and yields rows as one."""

    def to(self: T, device: Any, non_blocking: bool = False) -> T:
        return tree_map(lambda x: x.to(device, non_blocking=non_blocking), self)

    def rows(self: T, index: Int[Tensor, " row"]) -> T:
        """The customers at ``index``, in that order."""
        return tree_map(lambda x: x.index_select(0, index), self)


@dataclass(frozen=True)
class Events(Movable):
    """One series a customer, padded at the front; ``mask`` is true where real.

    A customer without this series has no true step.
    """

    values: Float[Tensor, "batch time channel"]
    mask: Bool[Tensor, "batch time"]


@dataclass(frozen=True)
class Diagrams(Movable):
    """One persistence diagram a customer: points (birth, death, homology index)."""

    points: Float[Tensor, "batch point 3"]
    mask: Bool[Tensor, "batch point"]


@dataclass(frozen=True)
class Batch(Movable):
    """A batch of customers: everything that a model may look at, and no label.

    ``vectors`` were made of a customer elsewhere, as her place in a graph was; there,
    and in a mode of ``states``, a row of NaN says that she has none.
    """

    numeric: Float[Tensor, "batch numeric"]
    categorical: Int[Tensor, "batch categorical"]
    events: Mapping[str, Events] = field(default_factory=dict)
    diagrams: Mapping[str, Diagrams] = field(default_factory=dict)
    states: Float[Tensor, "batch mode state"] | None = None
    clusters: Float[Tensor, "batch cluster"] | None = None
    vectors: Mapping[str, Float[Tensor, "batch _"]] = field(default_factory=dict)
    customer: Int[Tensor, " batch"] | None = None

    def __len__(self) -> int:
        return self.numeric.shape[0]


@dataclass(frozen=True)
class Rows(Movable):
    """Customers and, beside them, what is known of their tasks.

    ``labels[task]`` is NaN where the task was not observed for that customer;
    ``weights[task]`` weighs its samples (one where the task is not named).
    """

    batch: Batch
    labels: Mapping[str, Float[Tensor, " batch"]]
    weights: Mapping[str, Float[Tensor, " batch"]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.batch)


class Output(NamedTuple):
    """What a model answers.

    logits: by task, ``[batch, outputs]``; probabilities are derived from them.
    weights: the tasks' gates, one ``[batch, task, slot]`` a level; empty without gates.
    experts: the last level's expert outputs, each ``[batch, dim]``.
    penalty: what the gates ask the loss to add while they train.
    evidence: by task with an evidential head, ``[batch, K]``: a class's alpha (a binary
    task's of label 1, then of label 0), or a regression's (mu, nu, alpha, beta) of the
    label in deviations; empty without such heads.
    """

    logits: dict[str, Float[Tensor, "batch outputs"]]
    weights: tuple[Float[Tensor, "batch task slot"], ...] = ()
    experts: tuple[Float[Tensor, "batch dim"], ...] = ()
    penalty: Float[Tensor, ""] | float = 0.0
    evidence: Mapping[str, Float[Tensor, "batch _"]] = {}


class Model(nn.Module, ABC):
    """Answers an Output for a Batch. No model ever sees a label.

    ``evidential`` says how the evidence that it answers is trained; none, with None.
    """

    evidential: "EvidentialSpec | None" = None

    @abstractmethod
    def forward(self, batch: Batch) -> Output: ...

    def penalty_of(self, batch: Batch) -> Float[Tensor, ""]:
        """What the model asks the loss to add, such as an acyclicity term."""
        return batch.numeric.new_zeros(())

    def begin_epoch(self, epoch: int) -> None:
        """Called before an epoch's training, counted from zero; by default nothing."""

    def shared_parameters(self) -> list[nn.Parameter]:
        """The parameters that more than one task trains; none by default."""
        return []

    def shared_modules(self) -> dict[str, list[nn.Parameter]]:
        """Parameters that more than one task trains, by the module that holds them.

        Finer than ``shared_parameters``, and free to hold more, such as gates; by
        default those alone, as one module.
        """
        shared = self.shared_parameters()
        return {"shared": shared} if shared else {}

    def parts(self) -> dict[str, str]:
        """By task, how the names of its parameters begin, if tasks share none.

        Such tasks are trained as if each were alone: ``fit`` clips every part's own
        gradient and keeps every part's own best epoch.
        """
        return {}


class ModelSpec(ABC):
    """Numbers and names that build a model for a schema: a frozen dataclass."""

    @abstractmethod
    def build(self, schema: Schema) -> Model: ...


for _part in (Events, Diagrams, Batch):
    torch.export.register_dataclass(_part)
