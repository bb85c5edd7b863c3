"""ReLU layers, trained on a CPU at little more than the price of their products.

Between two products autograd passes over the memory for a bias, a mask, a sum of
gradients, and for answers that are wanted side by side. Here a pass writes over what it
reads, a product adds to what it would be added to, and answers lie where they belong.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

Layer = tuple[Float[Tensor, "_ _"], Float[Tensor, " _"]]  # weight and bias
Chain = Sequence[Layer]

APART = 5  # rows between chains: a power of two apart, they share one set of the cache

_masked = torch.ops.aten.threshold_backward  # the gradient of relu


def relu_chains(
    inputs: Sequence[Float[Tensor, "batch _"]], chains: Sequence[Chain]
) -> tuple[list[Float[Tensor, "batch dim"]], Float[Tensor, "batch chain dim"]]:
    """Chain c reads ``inputs[c]``; a layer (w, b) of it is x -> relu(x w^T + b).

    The answers one by one, and the same side by side, made of them without a copy.
    Chains are of one depth and one last width.
    """
    own = list({id(x): x for x in inputs}.values())
    place = {id(x): i for i, x in enumerate(own)}
    reads = [place[id(x)] for x in inputs]
    parameters = [part for chain in chains for layer in chain for part in layer]
    table, *answers = _ReLUChains.apply(reads, *own, *parameters)  # type: ignore[no-untyped-call]
    return answers, _Beside.apply(table, *answers)  # type: ignore[no-untyped-call]


class _Beside(Function):
    """``torch.stack(answers, dim=1)``, where they already lie in ``table``."""

    @staticmethod
    def forward(_: Any, table: Tensor, *answers: Tensor) -> Tensor:
        assert len(answers) == table.shape[1]
        return table.view_as(table)

    @staticmethod
    def backward(_: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return None, *grad.unbind(1)


class _ReLUChains(Function):
    """``tensors``: the inputs, of which chain c reads ``reads[c]``, and all layers."""

    @staticmethod
    def forward(ctx: Any, reads: list[int], *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs, chains = _apart(reads, tensors)
        dim, states = len(chains[0][-1][1]), []
        # Chain after chain in memory: a row of all chains is wider than a page.
        batch = len(inputs[0])
        table = inputs[0].new_empty(len(reads), batch + APART, dim)[:, :batch]
        answers = [table[place] for place in range(len(reads))]
        for read, chain, answer in zip(reads, chains, answers, strict=True):
            x = inputs[read]
            for w, b in chain:
                states.append(x)
                out = answer if w is chain[-1][0] else None
                x = torch.mm(x, w.T, out=out).add_(b).relu_()
        table = table.transpose(0, 1)
        ctx.reads, ctx.count = reads, len(tensors)
        ctx.save_for_backward(*tensors, *states, *answers)
        ctx.mark_non_differentiable(table)
        ctx.set_materialize_grads(False)  # or it is handed a table of zeros
        return table, *answers

    @staticmethod
    def backward(ctx: Any, _: None, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        saved, count = list(ctx.saved_tensors), ctx.count
        tensors, states = saved[:count], saved[count : -len(grads)]
        answers = saved[-len(grads) :]
        if torch.is_grad_enabled():  # the answer will be differentiated in its turn
            return None, *_differentiable(ctx.reads, tensors, grads)
        inputs, chains = _apart(ctx.reads, tensors)
        found: list[Tensor | None] = [None] * len(inputs)
        layers: list[Tensor | None] = []
        for place, read in reversed(list(enumerate(ctx.reads))):
            grad = grads[place]
            if grad is None:  # nobody asked this chain
                layers += [None, None] * len(chains[place])
                del states[-len(chains[place]) :]
                continue
            g = _masked(grad, answers[place], 0)
            for depth, (w, _) in reversed(list(enumerate(chains[place]))):
                x = states.pop()
                layers += [g.sum(0), g.T @ x]
                if depth:
                    g = g @ w
                    _masked.grad_input(g, x, 0, grad_input=g)  # into g itself
            if ctx.needs_input_grad[1 + read]:
                summed = found[read]
                found[read] = g @ w if summed is None else summed.addmm_(g, w)
        return None, *found, *reversed(layers)


def _differentiable(
    reads: list[int], tensors: Sequence[Tensor], grads: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The same gradients, from torch's own operations."""
    inputs, chains = _apart(reads, tensors)
    answers, given = [], []
    for read, chain, grad in zip(reads, chains, grads, strict=True):
        x = inputs[read]
        for w, b in chain:
            x = F.relu(F.linear(x, w, b))
        if x.requires_grad and grad is not None:  # neither frozen nor left unasked
            answers.append(x)
            given.append(grad)
    asked = [x for x in tensors if x.requires_grad]
    slopes = torch.autograd.grad(
        answers, asked, given, create_graph=True, allow_unused=True
    )
    found = iter(slopes)
    return [next(found) if x.requires_grad else None for x in tensors]


def _apart(
    reads: list[int], tensors: Sequence[Tensor]
) -> tuple[Sequence[Tensor], list[Chain]]:
    count = max(reads) + 1
    layers = list(zip(tensors[count::2], tensors[count + 1 :: 2], strict=True))
    depth = len(layers) // len(reads)
    chains: list[Chain] = [layers[i : i + depth] for i in range(0, len(layers), depth)]
    return tensors[:count], chains
