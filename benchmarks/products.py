"""The matrix products of any step, written down while it runs and run again alone."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
PLACES = {  # of the two factors among the arguments
    aten.mm: (0, 1),
    aten.bmm: (0, 1),
    aten.addmm: (1, 2),
    aten.baddbmm: (1, 2),
}
Layout = tuple[tuple[int, ...], tuple[int, ...]]  # shape and strides


class Products(TorchDispatchMode):
    """Notes the factors of every product, backward as well, by shape and strides."""

    def __init__(self) -> None:
        super().__init__()
        self.factors: list[tuple[Layout, Layout]] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        places = PLACES.get(function.overloadpacket)
        if places:
            one, other = (layout(args[place]) for place in places)
            self.factors.append((one, other))
        return function(*args, **(kwargs or {}))

    @property
    def work(self) -> float:
        """Floating-point operations in units of 1e9: two a multiply and add."""
        total = 0
        for (shape, _), (other, _) in self.factors:
            rows = 1
            for size in shape:
                rows *= size
            total += 2 * rows * other[-1]
        return total / 1e9

    def again(self, device: torch.device) -> Callable[[], None]:
        """The same products into ready memory, on one factor a layout."""
        factors, results, plan = {}, {}, []
        for pair in self.factors:
            for each in pair:
                factors.setdefault(each, filled(*each, device))
            product = torch.mm if len(pair[0][0]) == 2 else torch.bmm
            a, b = (factors[each] for each in pair)
            results.setdefault(pair, product(a, b))
            plan.append((product, a, b, results[pair]))

        def run() -> None:
            for product, a, b, out in plan:
                product(a, b, out=out)

        return run


def layout(x: Tensor) -> Layout:
    return tuple(x.shape), tuple(x.stride())


def filled(
    shape: tuple[int, ...], strides: tuple[int, ...], device: torch.device
) -> Tensor:
    """Random numbers in this layout."""
    reach = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    return torch.randn(max(reach, 1), device=device).as_strided(shape, strides)
