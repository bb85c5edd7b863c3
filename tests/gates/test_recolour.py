"""Blocks times weights against four loops; gradients of every order; other forms."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from ple_study.gates.recolour import recolour
from tests.sizes import BATCH, DIMS, TASKS

WIDTHS = {
    "all different": DIMS,
    "pieces of two": (4, 2, 6, 4),
    "equal": (3, 3),
    "one": (5,),
}
each = pytest.mark.parametrize("dims", WIDTHS.values(), ids=WIDTHS)


def drawn(dims: Sequence[int], batch: int = BATCH) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    shapes = (batch, sum(dims)), (TASKS, len(dims), batch)
    blocks, weights = (
        torch.randn(*shape, dtype=torch.float64, generator=draw).requires_grad_()
        for shape in shapes
    )
    return blocks, weights


def in_loops(blocks: Tensor, weights: Tensor, dims: Sequence[int]) -> list[Tensor]:
    found = []
    for task in range(TASKS):
        rows = []
        for customer in range(len(blocks)):
            column, row = 0, []
            for expert, dim in enumerate(dims):
                for _ in range(dim):
                    row.append(
                        weights[task, expert, customer] * blocks[customer, column]
                    )
                    column += 1
            rows.append(torch.stack(row))
        found.append(torch.stack(rows))
    return found


def gradients(answers: Sequence[Tensor], leaves: Sequence[Tensor]) -> Sequence[Tensor]:
    draw = torch.Generator().manual_seed(1)
    weighed = [(x * torch.randn(x.shape, generator=draw)).sum() for x in answers]
    return torch.autograd.grad(torch.stack(weighed).sum(), leaves)


@each
def test_every_column_has_the_weight_of_its_block(dims: tuple[int, ...]) -> None:
    blocks, weights = drawn(dims)
    found, wanted = recolour(blocks, weights, dims), in_loops(blocks, weights, dims)
    torch.testing.assert_close(list(found), wanted, atol=0, rtol=0)
    both = [gradients(x, (blocks, weights)) for x in (found, wanted)]
    torch.testing.assert_close(*both, atol=1e-12, rtol=1e-12)


def test_one_task_alone_has_the_gradient_of_its_own_weights() -> None:
    blocks, weights = drawn(DIMS)
    recolour(blocks, weights, DIMS)[1].square().sum().backward()
    assert [bool(own.any()) for own in weights.grad] == [False, True, False]
    wide = weights[1].T.repeat_interleave(torch.tensor(DIMS), dim=1)
    torch.testing.assert_close(blocks.grad, 2 * wide**2 * blocks)


@pytest.mark.parametrize("dims", [(1, 2, 3), (4, 2)])
def test_gradients_and_their_gradients(dims: tuple[int, ...]) -> None:
    def run(blocks: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
        return recolour(blocks, weights, dims)

    inputs = drawn(dims, batch=2)
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


@pytest.mark.plain
def test_the_compiled_form_is_the_same() -> None:
    leaves = drawn(DIMS)
    compiled = torch.compile(recolour, fullgraph=True, backend="aot_eager")
    found, wanted = compiled(*leaves, DIMS), recolour(*leaves, DIMS)
    torch.testing.assert_close(found, wanted, atol=0, rtol=0)
    both = [gradients(x, leaves) for x in (found, wanted)]
    torch.testing.assert_close(*both, atol=1e-12, rtol=1e-12)


def test_weights_come_in_the_precision_of_the_blocks() -> None:
    blocks, weights = drawn(DIMS)
    found = recolour(blocks.bfloat16(), weights.float(), DIMS)
    assert {x.dtype for x in found} == {torch.bfloat16}
    wanted = recolour(blocks, weights, DIMS)
    for half, full in zip(found, wanted, strict=True):
        torch.testing.assert_close(half.double(), full, atol=0.02, rtol=0.02)


def test_nobody_is_recoloured_to_nobody() -> None:
    for x in recolour(torch.zeros(0, sum(DIMS)), torch.zeros(TASKS, 3, 0), DIMS):
        assert x.shape == (0, sum(DIMS))
