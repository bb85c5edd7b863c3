"""Multi-layer perceptrons of one shape, run side by side: experts, trunks, towers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Literal["relu", "silu"]
Norm = Literal["none", "batch", "layer"]
Lanes = Sequence[Float[Tensor, "batch _"]]

# Below this width one wide product beats one product a lane on a CPU.
NARROW = 64


@dataclass(frozen=True, kw_only=True)
class MLPSpec:
    """Layer widths, and what follows each linear map: norm, activation, dropout."""

    dims: tuple[int, ...] = (128, 64)
    activation: Activation = "relu"
    norm: Norm = "none"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "dims", tuple(self.dims))
        if any(dim < 1 for dim in self.dims):
            raise ValueError(f"Layer widths must be 1 or more. Found {self.dims}.")
        for name, allowed in (("activation", Activation), ("norm", Norm)):
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(
                    f"MLP {name} must be one of {get_args(allowed)}. "
                    f"Found {getattr(self, name)!r}."
                )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"Dropout must lie in [0, 1). Found {self.dropout}.")


class ParallelLinear(nn.Module):
    """``lanes`` linear maps of one shape, each with its own weights.

    All lanes read one tensor, or each reads its own. The weight is
    ``[lanes, dim_out, dim_in]``; how the products are run (together or one by one) is
    decided here, by what is fast, and changes no number.
    """

    def __init__(
        self, lanes: int, dim_in: int, dim_out: int, *, bias: bool = True
    ) -> None:
        super().__init__()
        bound = dim_in**-0.5  # the start of nn.Linear
        weight = torch.empty(lanes, dim_out, dim_in).uniform_(-bound, bound)
        self.weight = nn.Parameter(weight)
        self.bias = None
        if bias:
            start = torch.empty(lanes, dim_out).uniform_(-bound, bound)
            self.bias = nn.Parameter(start)

    def forward(self, inputs: Tensor | Lanes) -> list[Tensor]:
        lanes, dim_out, _ = self.weight.shape
        together = self.weight.is_cuda or dim_out < NARROW
        if isinstance(inputs, Tensor) and together:
            bias = None if self.bias is None else self.bias.flatten()
            wide = F.linear(inputs, self.weight.flatten(0, 1), bias)
            return list(torch.split(wide, dim_out, dim=1))
        if isinstance(inputs, Tensor):
            inputs = [inputs] * lanes
        if self.weight.is_cuda:
            out = torch.stack(list(inputs)) @ self.weight.mT
            out = out if self.bias is None else out + self.bias[:, None]
            return list(out.unbind())
        biases = [None] * lanes if self.bias is None else self.bias.unbind()
        return list(map(F.linear, inputs, self.weight.unbind(), biases))

    def extra_repr(self) -> str:
        lanes, dim_out, dim_in = self.weight.shape
        return f"{lanes} x ({dim_in} -> {dim_out}), bias={self.bias is not None}"


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

    def forward(self, inputs: Tensor | Lanes) -> list[Tensor]:
        if not self.lanes:
            return []
        for layer, norms in zip(self.layers, self.norms, strict=True):
            lanes = zip(norms.children(), layer(inputs), strict=True)
            inputs = [self._activate(norm(x)) for norm, x in lanes]
        return [inputs] * self.lanes if isinstance(inputs, Tensor) else list(inputs)

    def _activate(self, x: Tensor) -> Tensor:
        function = F.relu if self.spec.activation == "relu" else F.silu
        return F.dropout(function(x), self.spec.dropout, self.training)
