"""What every expert is: a reader of its own part of a customer, with one answer.

Experts of different mathematics stand side by side in a pool. Each ends in a layer
normalisation without weights, so that the norm of its block is the square root of its
width and no expert is heard better for being louder.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ple_study.batch import Batch
from ple_study.names import nearest
from ple_study.schema import Schema


class Expert(nn.Module, ABC):
    """Reads what it needs of a batch and answers one vector a customer."""

    dim: int

    @abstractmethod
    def forward(self, batch: Batch) -> Float[Tensor, "batch {self.dim}"]:
        """Finite for every customer, also for those of whom it has nothing to read."""

    def present(self, batch: Batch) -> Bool[Tensor, " batch"]:
        """Whether there is something to read of each customer."""
        return batch.numeric.new_ones(batch.numeric.shape[0], dtype=torch.bool)

    def penalty(self) -> Float[Tensor, ""]:
        """What the expert asks the loss to add, such as an acyclicity term."""
        return torch.zeros(())

    def penalty_of(self, batch: Batch) -> Float[Tensor, ""]:
        """``penalty``, and what depends on these customers besides."""
        return self.penalty().to(batch.numeric.device)


class ExpertSpec(ABC):
    """Numbers and names that build an expert for a schema: a frozen dataclass."""

    @abstractmethod
    def build(self, schema: Schema) -> Expert: ...


class Columns(nn.Module):
    """The numeric columns at these places, in this order."""

    def __init__(self, places: Sequence[int]) -> None:
        super().__init__()
        self.dim = len(places)
        index = torch.tensor(places, dtype=torch.long)
        self.register_buffer("places", index, persistent=False)

    @classmethod
    def build(cls, schema: Schema, groups: Sequence[str] = ()) -> "Columns":
        """The columns of these feature groups, in the table's order; of all without.

        Raises ValueError for a group that no numeric column is of.
        """
        whose = [feature.group for feature in schema.numeric]
        known = list(dict.fromkeys(whose))
        for name in groups:
            if name not in known:
                raise ValueError(
                    f"No numeric column is of the group {name!r}. Groups are {known}."
                    f"{nearest(name, known)}"
                )
        chosen = groups or known
        return cls([place for place, group in enumerate(whose) if group in chosen])

    def forward(self, batch: Batch) -> Float[Tensor, "batch {self.dim}"]:
        return batch.numeric.index_select(1, self.get_buffer("places"))


class Ending(nn.Sequential):
    """The last step of every expert: a linear map and a layer norm without weights."""

    def __init__(self, dim_in: int, dim: int) -> None:
        norm = nn.LayerNorm(dim, elementwise_affine=False)
        super().__init__(nn.Linear(dim_in, dim), norm)


class Answers(NamedTuple):
    """What the experts of a pool say: blocks ``[batch, dim]``, and who could speak."""

    blocks: list[Float[Tensor, "batch _"]]
    present: Bool[Tensor, "batch expert"]


class ExpertPool(nn.Module):
    """Several experts on one batch, each on the fields that it names.

    For a customer of whom an expert has nothing to read, the pool answers a vector of
    that expert that is learned; the gate sees in ``present`` who could not speak.
    """

    def __init__(self, experts: Mapping[str, Expert]) -> None:
        super().__init__()
        if not experts:
            raise ValueError("A pool needs at least one expert. Found none.")
        self.names = list(experts)
        self.dims = [expert.dim for expert in experts.values()]
        self.experts = nn.ModuleDict(experts)
        self.absent = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(e.dim)) for name, e in experts.items()}
        )

    @classmethod
    def build(cls, schema: Schema, specs: Mapping[str, ExpertSpec]) -> "ExpertPool":
        return cls({name: spec.build(schema) for name, spec in specs.items()})

    def forward(self, batch: Batch) -> Answers:
        experts = cast(list[Expert], list(self.experts.values()))
        blocks, present = [], []
        for name, expert in zip(self.names, experts, strict=True):
            seen = expert.present(batch)
            blocks.append(torch.where(seen[:, None], expert(batch), self.absent[name]))
            present.append(seen)
        return Answers(blocks, torch.stack(present, dim=1))

    def penalty_of(self, batch: Batch) -> Float[Tensor, ""]:
        """The sum of what the experts ask for."""
        experts = cast(list[Expert], list(self.experts.values()))
        return torch.stack([expert.penalty_of(batch) for expert in experts]).sum()
