"""Each task hears the hidden states of its own time scale: HMM triple-mode routing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from ple_study.data.thread import MODES
from ple_study.experts.mlp import ParallelLinear
from ple_study.names import nearest, unique
from ple_study.schema import Schema, TaskSpec

States = Float[Tensor, "batch mode state"]


@dataclass(frozen=True, kw_only=True)
class ModesSpec:
    """Which mode speaks to which task, and how its row is projected.

    names: of the modes, in the order of ``Batch.states``. groups: the mode of a group
    of tasks; tasks: that of a single task, which counts first; fallback: that of the
    rest. shared: one projector for all modes instead of one each. learned: whether a
    customer without a row gets a learned vector, or zeros.
    """

    dim: int = 32
    names: tuple[str, ...] = ("journey", "lifecycle", "behavior")
    groups: Mapping[str, str] = field(default_factory=lambda: dict(MODES), hash=False)
    tasks: Mapping[str, str] = field(default_factory=dict, hash=False)
    fallback: str = "behavior"
    shared: bool = False
    learned: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        unique("Names of modes", self.names)
        if self.dim < 1:
            raise ValueError(f"A projection needs dim >= 1. Found {self.dim}.")
        routes = {"the fallback": self.fallback, **self.groups, **self.tasks}
        for whose, mode in routes.items():
            if mode not in self.names:
                raise ValueError(
                    f"Modes are {list(self.names)}. Found {mode!r} for {whose}."
                    f"{nearest(mode, self.names)}"
                )

    def mode_of(self, task: TaskSpec) -> str:
        """By the task's own name, then by its group, then the fallback."""
        return self.tasks.get(task.name, self.groups.get(task.group, self.fallback))

    def build(self, schema: Schema) -> "ModeRouter":
        """Raises ValueError for a schema without these modes, and an unknown task."""
        modes, states = schema.states
        if modes != len(self.names):
            raise ValueError(
                f"Modes are {list(self.names)}. Found a schema with {modes} of them."
            )
        for name in self.tasks:
            schema.task(name)
        routes = [self.names.index(self.mode_of(task)) for task in schema.tasks]
        return ModeRouter(states, routes, self)


class ModeRouter(nn.Module):
    """SiLU(LayerNorm(W_m s_m + b_m)) of mode m, handed to the tasks of that mode.

    A row of ``states`` that is not finite says that the customer has none in that mode
    and gets the mode's learned vector, which starts at zero.
    """

    def __init__(self, states: int, routes: Sequence[int], spec: ModesSpec) -> None:
        super().__init__()
        modes, self.dim, self.routes = len(spec.names), spec.dim, list(routes)
        projectors = 1 if spec.shared else modes
        self.linear = ParallelLinear(projectors, states, spec.dim)
        self.gain = nn.Parameter(torch.ones(projectors, spec.dim))
        self.bias = nn.Parameter(torch.zeros(projectors, spec.dim))
        self.absent = nn.Parameter(
            torch.zeros(modes, spec.dim), requires_grad=spec.learned
        )

    def forward(
        self, states: States | None, batch: int
    ) -> list[Float[Tensor, "batch dim"]]:
        """One ``[batch, dim]`` a task; without states, everyone's are missing."""
        if states is None:
            rows = self.absent[:, None].expand(-1, batch, -1)
        else:
            rows = self.rows(states)
        return [rows[mode] for mode in self.routes]

    def rows(self, states: States) -> Float[Tensor, "mode batch dim"]:
        """What each mode says of each customer."""
        known = valid(states)
        inputs = torch.where(known[..., None], states, 0.0).transpose(0, 1)
        # weights of a shared projector serve every mode
        linear = inputs @ self.linear.weight.mT + self.linear.bias[:, None]
        normal = F.layer_norm(linear, (self.dim,))
        said = F.silu(normal * self.gain[:, None] + self.bias[:, None])
        return torch.where(known.T[..., None], said, self.absent[:, None])


def valid(states: States) -> Bool[Tensor, "batch mode"]:
    """Whether a customer has a row in a mode: NaN says no, and zeros say nothing."""
    return states.isfinite().all(-1)
