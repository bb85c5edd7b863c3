"""What a model may read of a customer: columns, series, and vectors made elsewhere."""

from dataclasses import dataclass
from typing import Literal, get_args

from ple_study.names import one_of, unique

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
        kinds = sorted({type(value).__name__ for value in self.vocabulary})
        if len(kinds) > 1:
            raise ValueError(
                f"A vocabulary is of one kind. Found {kinds} for feature {self.name!r}."
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
class Vector:
    """Numbers that were made of a customer elsewhere: ``dim`` of them."""

    name: str
    dim: int

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"Vector {self.name!r} needs dim >= 1. Found {self.dim}.")
