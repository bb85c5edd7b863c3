"""Multi-layer perceptrons of one shape, run side by side: experts, trunks, towers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Literal, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ple_study.experts.dropout import dropout
from ple_study.experts.relu_chains import Chain, relu_chains

Activation = Literal["relu", "silu"]
Norm = Literal["none", "batch", "layer"]
Lanes = Sequence[Float[Tensor, "batch _"]]
Map = Callable[[Tensor], Tensor]

NARROW = 6  # a lane is narrow when its input is this many times as wide


@dataclass(frozen=True, kw_only=True)
class MLPSpec:
    """Layer widths, and what follows each linear map: norm, activation, dropout."""

    dims: tuple[int, ...] = (128, 64)
    activation: Activation = "relu"
    norm: Norm = "none"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "dims", tuple(self.dims))
        if not all(isinstance(dim, int) and dim > 0 for dim in self.dims):
            raise ValueError(
                f"Layer widths must be whole numbers, 1 or more. Found {self.dims}."
            )
        for name, allowed in (("activation", Activation), ("norm", Norm)):
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(
                    f"MLP {name} must be one of {get_args(allowed)}. "
                    f"Found {getattr(self, name)!r}."
                )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"Dropout must lie in [0, 1). Found {self.dropout}.")


def run_together(
    weight: Float[Tensor, "lanes dim_out dim_in"], inputs: Tensor | Lanes
) -> bool:
    """Whether the lanes are fastest as one product, or one after the other.

    On a GPU a launch costs more than a small product. On a CPU a lane alone stays in
    the cache, and only narrow lanes on a wide input gain.
    """
    _, dim_out, dim_in = weight.shape
    narrow = isinstance(inputs, Tensor) and NARROW * dim_out <= dim_in
    return weight.is_cuda or narrow


class ParallelLinear(nn.Module):
    """``lanes`` linear maps of one shape, each with its own weights.

    The weight is ``[lanes, dim_out, dim_in]``, the bias ``[lanes, dim_out]``. All lanes
    read one ``[batch, dim_in]``, or each reads its own.
    """

    def __init__(self, lanes: int, dim_in: int, dim_out: int) -> None:
        super().__init__()
        bound = dim_in**-0.5  # the start of nn.Linear
        weight = torch.empty(lanes, dim_out, dim_in).uniform_(-bound, bound)
        bias = torch.empty(lanes, dim_out).uniform_(-bound, bound)
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def maps(self) -> list[Map]:
        """Each lane's own map, ``[batch, dim_in] -> [batch, dim_out]``."""
        lanes = zip(self.weight.unbind(), self.bias.unbind(), strict=True)
        return [partial(F.linear, weight=w, bias=b) for w, b in lanes]

    def together(
        self, inputs: Float[Tensor, "*lanes batch dim_in"]
    ) -> Float[Tensor, "lanes batch dim_out"]:
        """All lanes at once; ``inputs`` is one matrix that all read, or one a lane."""
        if inputs.ndim == 3:
            return torch.baddbmm(self.bias[:, None], inputs, self.weight.mT)
        # One product; its columns are the lanes side by side.
        wide = F.linear(inputs, self.weight.flatten(0, 1), self.bias.flatten())
        return wide.view(wide.shape[0], *self.bias.shape).transpose(0, 1)

    def forward(self, inputs: Lanes) -> list[Float[Tensor, "batch dim_out"]]:
        """Each lane on its own input."""
        if run_together(self.weight, inputs):
            return list(self.together(torch.stack(list(inputs))).unbind())
        return [run(x) for run, x in zip(self.maps(), inputs, strict=True)]

    def extra_repr(self) -> str:
        lanes, dim_out, dim_in = self.weight.shape
        return f"{lanes} x ({dim_in} -> {dim_out}), bias=True"


class ParallelMLP(nn.Module):
    """``lanes`` MLPs of one shape; with no width at all, the identity.

    ``forward`` takes one tensor that all lanes read, or a list with one a lane, and
    answers a list of ``[batch, dim]``.
    """

    def __init__(self, lanes: int, dim_in: int, spec: MLPSpec) -> None:
        super().__init__()
        self.lanes, self.spec = lanes, spec
        self.dim = (dim_in, *spec.dims)[-1]
        dims = spec.dims if lanes else ()
        self.layers = nn.ModuleList(
            ParallelLinear(lanes, *pair)
            for pair in zip((dim_in, *dims), dims, strict=False)
        )
        norm = {"none": nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
        self.norms = nn.ModuleList(
            nn.ModuleList(norm[spec.norm](dim) for _ in range(lanes)) for dim in dims
        )

    def forward(
        self, inputs: Tensor | Lanes
    ) -> list[Float[Tensor, "batch {self.dim}"]]:
        linears = cast(list[ParallelLinear], list(self.layers))
        if linears and run_together(linears[0].weight, inputs):
            x = inputs if isinstance(inputs, Tensor) else torch.stack(list(inputs))
            return self.after(linears[0].together(x))
        norms = [list(depth.children()) for depth in self.norms]
        lanes = [inputs] * self.lanes if isinstance(inputs, Tensor) else list(inputs)
        maps = [linear.maps() for linear in linears]
        # Lane after lane, what a layer has just written is still in the cache.
        order = [
            (lane, depth) for lane in range(self.lanes) for depth in range(len(maps))
        ]
        if self.training and self.spec.dropout:  # whose masks are drawn layer by layer
            order.sort(key=itemgetter(1))
        for lane, depth in order:
            x = norms[depth][lane](maps[depth][lane](lanes[lane]))
            lanes[lane] = self._activate(x)
        return lanes

    def after(
        self, first: Float[Tensor, "lanes batch _"]
    ) -> list[Float[Tensor, "batch {self.dim}"]]:
        """What all lanes answer, of what their first linear maps do; it is used up."""
        x = first
        linears = cast(list[ParallelLinear], list(self.layers))
        for depth, (linear, row) in enumerate(zip(linears, self.norms, strict=True)):
            x = linear.together(x) if depth else x
            x = self._activate(self._normalise(x, list(row.children())))
        return list(x.unbind())

    def lane(
        self,
        number: int,
        inputs: Float[Tensor, "batch dim_in"],
        shift: Float[Tensor, "batch _"] | None = None,
    ) -> Float[Tensor, "batch {self.dim}"]:
        """What one lane alone answers; ``shift`` is added to its first linear map."""
        x = inputs
        linears = cast(list[ParallelLinear], list(self.layers))
        for depth, linear in enumerate(linears):
            weight, bias = linear.weight[number], linear.bias[number]
            begin = bias if depth or shift is None else bias + shift
            norm = cast(nn.ModuleList, self.norms[depth])[number]
            x = norm(torch.addmm(begin, x, weight.T))
            x = F.relu(x) if self.spec.activation == "relu" else F.silu(x)
            if self.training and self.spec.dropout:
                x = dropout(x, self.spec.dropout)
        return x

    def _normalise(self, x: Tensor, norms: list[nn.Module]) -> Tensor:
        if self.spec.norm == "none":
            return x
        pairs = zip(norms, x.unbind(), strict=True)
        return torch.stack([norm(lane) for norm, lane in pairs])

    def _activate(self, x: Tensor) -> Tensor:
        # Only relu keeps no input for its gradient, so only it may overwrite.
        x = F.relu(x, inplace=True) if self.spec.activation == "relu" else F.silu(x)
        return F.dropout(x, self.spec.dropout, self.training)


def at_once(
    inputs: Float[Tensor, "batch dim_in"],
    mlps: Sequence[ParallelMLP],
    *further: tuple[Tensor, Tensor],
) -> tuple[list[Float[Tensor, "batch dim"]], list[Float[Tensor, "batch _"]]]:
    """What all lanes answer, and further linear maps (weight, bias) of the same input.

    The first map of all is one product, so the input's gradient is one product too.
    """
    layers = [cast(ParallelLinear, mlp.layers[0]) for mlp in mlps]
    maps = [(one.weight.flatten(0, 1), one.bias.flatten()) for one in layers]
    weights, biases = zip(*maps, *further, strict=True)
    wide = F.linear(inputs, torch.cat(weights), torch.cat(biases))
    # Each part is used up by itself, which safe views of one tensor do not allow.
    sizes = [len(weight) for weight in weights]
    parts = torch.unsafe_split_with_sizes(wide, sizes, dim=1)
    answers: list[Tensor] = []
    for mlp, part in zip(mlps, parts, strict=False):
        first = part.view(part.shape[0], mlp.lanes, -1)
        answers += mlp.after(first.transpose(0, 1))
    return answers, list(parts[len(mlps) :])


def side_by_side(
    *parts: tuple[ParallelMLP, Tensor | Lanes],
) -> tuple[list[Float[Tensor, "batch dim"]], Float[Tensor, "batch lane dim"]]:
    """What all lanes of several MLPs answer, one by one and side by side."""
    some = [(mlp, inputs) for mlp, inputs in parts if mlp.lanes]
    if not all(trains_as_chains(*part) for part in some):
        answers = [answer for mlp, inputs in some for answer in mlp(inputs)]
        return answers, torch.stack(answers, dim=1)
    reads: list[Tensor] = []
    chains: list[Chain] = []
    for mlp, inputs in some:
        reads += [inputs] * mlp.lanes if isinstance(inputs, Tensor) else inputs
        layers = [[p.unbind() for p in layer.parameters()] for layer in mlp.layers]
        chains += [[(w[i], b[i]) for w, b in layers] for i in range(mlp.lanes)]
    return relu_chains(reads, chains)


def trains_as_chains(mlp: ParallelMLP, inputs: Tensor | Lanes) -> bool:
    """Whether ``relu_chains`` computes the same here, and is the fastest form."""
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    plain = mlp.spec == MLPSpec(dims=mlp.spec.dims)  # relu, and nothing else
    if not (mlp.training and mlp.spec.dims and plain):
        return False
    weight = mlp.layers[0].get_parameter("weight")
    return weight.is_cpu and not run_together(weight, inputs)
