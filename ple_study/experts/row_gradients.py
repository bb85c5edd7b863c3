"""Training a large table of embeddings on a CPU at the price of the rows in a batch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

SCATTERED = 4  # to clear a row here and there costs as much as so many in line


class RowGradient:
    """Keeps the gradient of one table from step to step.

    Autograd would fill a fresh tensor, as large as the table, for every batch. Here the
    rows of the last batch are cleared and those of this batch added.
    """

    def __init__(self, table: Float[Tensor, "code dim"]) -> None:
        self.kept: Float[Tensor, "code dim"] | None = torch.zeros_like(table)
        self.touched: Int[Tensor, " row"] = torch.empty(0, dtype=torch.long)

    @torch.no_grad()
    def __call__(self, table: nn.Parameter) -> None:
        grad = table.grad
        assert grad is not None
        if not grad.is_sparse:  # added to what the caller had kept: now the caller's
            self.kept = None
            return
        if self.kept is None:
            self.kept = torch.zeros_like(table)
        elif SCATTERED * len(self.touched) > len(self.kept):
            self.kept.zero_()
        else:
            self.kept.index_fill_(0, self.touched, 0.0)
        self.touched = grad._indices()[0]
        table.grad = self.kept.index_add_(0, self.touched, grad._values())


@contextmanager
def row_gradients(model: nn.Module) -> Iterator[None]:
    """Inside, each table of the model that lies on a CPU has a ``RowGradient``.

    For a training loop whose ``zero_grad`` sets gradients to None, as is its default:
    every ``.grad`` is then what it would have been, to the bit. It is the same tensor
    at every step, so copy what you want to keep, and write to no row that the batch did
    not touch: scaling by a finite factor is fine, adding is not. Inside the block
    ``torch.autograd.grad`` answers sparse tensors for these tables, and a copy of the
    model is not one to train.
    """
    modules = [m for m in model.modules() if isinstance(m, nn.Embedding)]
    tables = [table for table in modules if _suits(table)]
    hooks = []
    try:
        for table in tables:
            hook = RowGradient(table.weight)
            hooks.append(table.weight.register_post_accumulate_grad_hook(hook))  # type: ignore[no-untyped-call]
            table.sparse = True
        yield
    finally:
        for table, handle in zip(tables, hooks, strict=False):
            table.sparse = False
            handle.remove()


def _suits(table: nn.Embedding) -> bool:
    learned = table.weight.requires_grad and table.weight.device.type == "cpu"
    return learned and not (table.sparse or table.scale_grad_by_freq)
