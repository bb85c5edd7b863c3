"""The floor of a step: its matrix products alone, one an expert, into ready memory."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch

from benchmarks.shapes import Shape
from ple_study.batch import Rows

NAME = "matrix products alone"


class Product:
    """x @ w and, for a training step, both gradients of it."""

    def __init__(
        self, batch: int, dim_in: int, dim_out: int, device: torch.device
    ) -> None:
        self.x = torch.randn(batch, dim_in, device=device)
        self.w = torch.randn(dim_out, dim_in, device=device)
        self.y = torch.empty(batch, dim_out, device=device)
        self.grad_x, self.grad_w = torch.empty_like(self.x), torch.empty_like(self.w)

    def forward(self) -> None:
        torch.mm(self.x, self.w.T, out=self.y)

    def backward(self, *, to_input: bool) -> None:
        torch.mm(self.y.T, self.x, out=self.grad_w)
        if to_input:
            torch.mm(self.y, self.w, out=self.grad_x)


def sizes(shape: Shape) -> Iterator[tuple[int, int, bool]]:
    """(dim_in, dim_out, whether the input needs a gradient) of every product."""
    experts = shape.tasks * shape.private + shape.shared
    for level in range(shape.levels):
        dim_in = shape.expert[-1] if level else shape.width
        to_input = level > 0 or shape.sparse > 0
        for _ in range(experts):
            for depth, (a, b) in enumerate(pairwise((dim_in, *shape.expert))):
                yield a, b, to_input or depth > 0
        slots = [shape.private + shape.shared] * shape.tasks
        if level < shape.levels - 1:
            slots.append(experts)
        # All gates of the first level read one input: one product.
        for count in slots if level else [sum(slots)]:
            yield dim_in, count, to_input
    for _ in range(shape.tasks):
        for a, b in pairwise((shape.expert[-1], *shape.tower, 1)):
            yield a, b, True


def work(shape: Shape, batch: int) -> float:
    """Floating-point operations of a train step, in units of 1e9."""
    return sum(2 * batch * a * b * (2 + g) for a, b, g in sizes(shape)) / 1e9


def build(shape: Shape, rows: Rows) -> tuple[Callable[[], None], Callable[[], None]]:
    """The products of a step of training, and those of a prediction."""
    device = rows.batch.numeric.device
    plan = [(Product(len(rows), a, b, device), g) for a, b, g in sizes(shape)]

    def infer() -> None:
        for product, _ in plan:
            product.forward()

    def train() -> None:
        infer()
        for product, to_input in reversed(plan):
            product.backward(to_input=to_input)

    return train, infer
