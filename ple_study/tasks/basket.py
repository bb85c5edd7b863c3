"""GroupTaskExpertBasket: what the tasks of a group share, and what a cluster adds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ple_study.experts.mlp import Lanes, MLPSpec, ParallelLinear, ParallelMLP
from ple_study.names import one_of
from ple_study.schema import TaskSpec

Form = Literal["A", "B", "per_cluster"]
Routing = Literal["soft", "hard"]
Clusters = Float[Tensor, "batch cluster"]
ENCODER = MLPSpec(dims=(128, 64), activation="silu", norm="layer", dropout=0.2)


@dataclass(frozen=True, kw_only=True)
class BasketSpec:
    """What stands between a task's input x_k and its tower; e is a cluster's vector.

    form: "A" is one network a group, MLP_g([x_k, e]); "B" an encoder a group and a
    linear head a task, W_k [encoder_g(x_k), e]; "per_cluster", the baseline, a trunk a
    task and a head a task and cluster, which share nothing.
    routing: "soft" weighs the clusters by the customer's posterior, "hard" takes the
    likeliest. encoder: the hidden layers, without the norm "batch" where tasks share
    them. embedding: the width of e; dim: of h_k.
    """

    form: Form = "A"
    routing: Routing = "soft"
    encoder: MLPSpec = ENCODER
    embedding: int = 32
    dim: int = 32

    def __post_init__(self) -> None:
        one_of("form", self.form, get_args(Form))
        one_of("routing", self.routing, get_args(Routing))
        if min(self.embedding, self.dim) < 1:
            raise ValueError(
                "A basket needs embedding >= 1 and dim >= 1. Found "
                f"embedding={self.embedding}, dim={self.dim}."
            )
        if self.encoder.norm == "batch" and self.form != "per_cluster":
            raise ValueError(
                "Tasks that share an encoder need its norm to be 'layer' or 'none'. "
                f"Found 'batch' in a basket of form {self.form!r}."
            )

    def build(
        self, tasks: Sequence[TaskSpec], dim_in: int, clusters: int
    ) -> "GroupTaskExpertBasket | PerCluster":
        """``clusters``: how many there are; 0 is a basket without any.

        Raises ValueError for the form ``per_cluster`` without clusters.
        """
        if self.form == "per_cluster":
            return PerCluster(len(tasks), dim_in, clusters, self)
        return GroupTaskExpertBasket(tasks, dim_in, clusters, self)


class ClusterEmbedding(nn.Module):
    """e = p E with a posterior p, or E's row of the likeliest cluster."""

    def __init__(self, clusters: int, dim: int, routing: Routing) -> None:
        super().__init__()
        self.routing: Routing = routing
        self.weight = nn.Parameter(torch.randn(clusters, dim))

    def forward(
        self, clusters: Clusters | None, batch: int
    ) -> Float[Tensor, "batch dim"]:
        """Zeros for a customer of whom no posterior is known."""
        if clusters is None:
            return self.weight.new_zeros(batch, self.weight.shape[1])
        return shares(clusters.to(self.weight.dtype), self.routing) @ self.weight


class GroupTaskExpertBasket(nn.Module):
    """One network a group of tasks, told of the customer's cluster (forms A and B).

    A: h_k = MLP_g([x_k, e]). Its first layer is linear, W [x, e] = W_x x + W_e e, so
    that a cluster shifts that layer and does no more; the shift is the same for all
    tasks of the group and computed once. Nothing here is a single task's own.
    B: h_k = W_k [encoder_g(x_k), e] + b_k.
    """

    def __init__(
        self, tasks: Sequence[TaskSpec], dim_in: int, clusters: int, spec: BasketSpec
    ) -> None:
        super().__init__()
        names = list(dict.fromkeys(task.group for task in tasks))
        self.groups = {
            name: [place for place, task in enumerate(tasks) if task.group == name]
            for name in names
        }
        self.spec, self.dim = spec, spec.dim
        told = spec.embedding if clusters else 0
        self.embedding: ClusterEmbedding | None = None
        self.shift: nn.Parameter | None = None
        self.encoder = ParallelMLP(len(names), dim_in, spec.encoder)
        if spec.form == "A":
            self.head = ParallelLinear(len(names), self.encoder.dim, spec.dim)
        else:
            self.head = ParallelLinear(len(tasks), self.encoder.dim + told, spec.dim)
        if clusters:
            self.embedding = ClusterEmbedding(clusters, told, spec.routing)
        if clusters and spec.form == "A":
            first = (*spec.encoder.dims, spec.dim)[0]
            bound = (dim_in + told) ** -0.5
            weight = torch.empty(len(names), first, told).uniform_(-bound, bound)
            self.shift = nn.Parameter(weight)

    def forward(
        self, inputs: Lanes, clusters: Clusters | None = None
    ) -> list[Float[Tensor, "batch dim"]]:
        """One input a task to one answer a task."""
        batch, heads = inputs[0].shape[0], self.head.maps()
        told = inputs[0].new_zeros(batch, 0)
        if self.embedding is not None:
            told = self.embedding(clusters, batch)
        answers: dict[int, Tensor] = {}
        for number, places in enumerate(self.groups.values()):
            shift = None if self.shift is None else told @ self.shift[number].T
            for place in places:
                hidden = self.encoder.lane(number, inputs[place], shift)
                if self.spec.form == "B":
                    answers[place] = heads[place](torch.cat([hidden, told], dim=1))
                else:
                    answers[place] = heads[number](hidden)
                    if shift is not None and not self.spec.encoder.dims:
                        answers[place] = answers[place] + shift  # the one linear map
        return [answers[place] for place in range(len(inputs))]

    def shared_parameters(self) -> list[nn.Parameter]:
        """Of the networks of groups; a task's gradient is zero in other groups'."""
        shift = [] if self.shift is None else [self.shift]
        head = self.head.parameters() if self.spec.form == "A" else ()
        return [*self.encoder.parameters(), *shift, *head]


class PerCluster(nn.Module):
    """A trunk a task, and a head a task and cluster: what the basket replaces.

    h_k = sum_c p_c head_kc(trunk_k(x_k)), where a head has a hidden layer of the
    trunk's width; a customer without a posterior is of all clusters alike.
    """

    def __init__(
        self, tasks: int, dim_in: int, clusters: int, spec: BasketSpec
    ) -> None:
        super().__init__()
        if not clusters:
            raise ValueError(
                "A basket of the form 'per_cluster' needs clusters. Found a schema "
                "without any."
            )
        self.routing: Routing = spec.routing
        self.clusters, self.dim = clusters, spec.dim
        self.activate = F.relu if spec.encoder.activation == "relu" else F.silu
        self.trunks = ParallelMLP(tasks, dim_in, spec.encoder)
        width = self.trunks.dim
        self.hidden = nn.ModuleList(
            ParallelLinear(clusters, width, width) for _ in range(tasks)
        )
        self.heads = nn.ModuleList(
            ParallelLinear(clusters, width, spec.dim) for _ in range(tasks)
        )

    def forward(
        self, inputs: Lanes, clusters: Clusters | None = None
    ) -> list[Float[Tensor, "batch dim"]]:
        """One input a task to one answer a task."""
        batch = inputs[0].shape[0]
        even = inputs[0].new_full((batch, self.clusters), 1 / self.clusters)
        weight = even
        if clusters is not None:
            known = clusters.isfinite().all(1, keepdim=True)
            weight = shares(clusters.to(even.dtype), self.routing).where(known, even)
        hidden = cast(list[ParallelLinear], list(self.hidden))
        heads = cast(list[ParallelLinear], list(self.heads))
        answers = []
        for x, first, last in zip(self.trunks(inputs), hidden, heads, strict=True):
            said = last.together(self.activate(first.together(x)))
            answers.append(torch.einsum("bc,cbd->bd", weight, said))
        return answers


def shares(clusters: Clusters, routing: Routing) -> Clusters:
    """The posterior, or one for the likeliest cluster; zeros where there is none."""
    known = clusters.isfinite().all(1, keepdim=True)
    found = torch.where(known, clusters, 0.0)
    if routing == "hard":
        likeliest = F.one_hot(found.argmax(1), found.shape[1]).to(found.dtype)
        found = torch.where(known, likeliest, 0.0)
    return found
