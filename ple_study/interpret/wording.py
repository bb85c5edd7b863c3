"""How answers, tasks and experts are called before a reader who knows no model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ple_study.interpret.contributions import Contributions
from ple_study.interpret.margins import meaning
from ple_study.names import nearest
from ple_study.schema import TaskSpec

SOURCES: Mapping[str, str] = {
    "unified_hgcn": "the kinds of shops and products that the customer chooses",
    "perslay": "the pattern in which payments cluster and recur",
    "deepfm": "the combination of the customer's key figures",
    "temporal": "the course of the last months",
    "lightgcn": "the other customers who shop in similar places",
    "causal": "the way in which the customer's figures usually go together",
    "optimal_transport": "the likeness of the customer's habits to typical profiles",
}


@dataclass(frozen=True, kw_only=True)
class Wording:
    """How a task is spoken of: its name, a value's unit, and the names of classes."""

    name: str = ""
    unit: str = ""
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))

    def subject(self, task: TaskSpec, chosen: int) -> str:
        """What the answer is about. Raises ValueError for another number of classes."""
        name = self.name or task.name.replace("_", " ")
        count = task.classes if task.classes > 1 else 0
        if len(self.classes) not in (0, count):
            raise ValueError(
                f"The classes of task {task.name!r} have {count} names. Found "
                f"{len(self.classes)}."
            )
        if not count:
            return name
        own = self.classes[chosen] if self.classes else f"class {chosen}"
        return f"{own} ({name})"


PLAIN = Wording()


class Case(NamedTuple):
    """One customer and one task: margins, the usual answer, and what each source did.

    raw, share, present and names are by expert.
    """

    task: TaskSpec
    chosen: int
    base: float
    full: float
    usual: float
    raw: list[float]
    share: list[float]
    present: list[bool]
    names: list[str]

    @property
    def order(self) -> list[int]:
        """The experts, whose push is strongest first."""
        return sorted(range(len(self.raw)), key=lambda i: -self.share[i])


def case(
    found: Contributions, row: int, task: str, sources: Mapping[str, str] = SOURCES
) -> Case:
    """One customer and one task of all.

    Raises ValueError unless these are Shapley values with the gates deciding anew, and
    for an unknown task or row.
    """
    if found.readout != "shapley" or found.hold_gate:
        raise ValueError(
            "Words need the readout 'shapley' with hold_gate=False, whose parts sum to "
            f"the answer. Found {found.readout!r}, hold_gate={found.hold_gate}."
        )
    if task not in found.tasks:
        raise ValueError(
            f"Tasks are {list(found.tasks)}. Found {task!r}."
            f"{nearest(task, found.tasks)}"
        )
    if not 0 <= row < len(found.raw):
        raise ValueError(f"Rows are 0 .. {len(found.raw) - 1}. Found {row}.")
    k = found.tasks.index(task)
    parts = (found.base, found.full, found.usual)
    base, full, usual = (float(part[row, k]) for part in parts)
    return Case(
        found.about[k],
        int(found.classes[row, k]),
        base,
        full,
        usual,
        found.raw[row, k].tolist(),
        found.share[row, k].tolist(),
        found.present[row].tolist(),
        [sources.get(name, name.replace("_", " ")) for name in found.experts],
    )


def shown(task: TaskSpec, margin: float, unit: str = "") -> str:
    """A margin as one reads it: a probability in percent, or a value with its unit."""
    return shown_answer(task, meaning(task.kind, margin), unit)


def shown_answer(task: TaskSpec, value: float, unit: str = "") -> str:
    """A probability or a value as one reads it."""
    if task.kind == "regression":
        digits = decimals(task)
        return f"{round(value, digits) + 0.0:,.{digits}f} {unit}".rstrip()
    return percent(value)


def percent(share: float) -> str:
    """Whole percent, near none or all one decimal, and no claim of none or all."""
    if not 0.001 <= share <= 0.999:
        return "less than 0.1 %" if share < 0.5 else "more than 99.9 %"
    return f"{100 * share:.{0 if 0.1 <= share <= 0.9 else 1}f} %"


def decimals(task: TaskSpec) -> int:
    """As many as show a hundredth of the usual deviation."""
    return max(0, 2 - math.floor(math.log10(task.scale[1])))
