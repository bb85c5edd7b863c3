"""Columns as one vector, against one look-up a column."""

import pytest
import torch
from torch import Tensor

from ple_study.batch import Batch
from ple_study.experts.tabular import Tabular
from tests.sizes import BATCH
from tests.studies import SCHEMA

SIZES, DIMS, NUMBERS = (5, 9, 4, 7), (3, 2, 3, 6), 8


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def tables(tabular: Tabular) -> list[Tensor]:
    """Each column's own rows: columns of one width lie end to end, in their order."""
    state, found = tabular.state_dict(), {}
    for group, width in enumerate(sorted(set(DIMS))):
        same = [column for column, dim in enumerate(DIMS) if dim == width]
        whole = state[f"tables.{group}.weight"]
        parts = whole.split([SIZES[column] for column in same])
        found |= dict(zip(same, parts, strict=True))
    return [found[column].clone().requires_grad_() for column in range(len(SIZES))]


def customers(rows: int = BATCH) -> Batch:
    codes = torch.stack([torch.randint(size, (rows,)) for size in SIZES], 1)
    return Batch(torch.randn(rows, NUMBERS).double(), codes)


@pytest.mark.parametrize("rows", [BATCH, 1, 40])
def test_columns_are_look_ups(rows: int) -> None:
    tabular, batch = Tabular(NUMBERS, SIZES, DIMS).double(), customers(rows)
    own = tables(tabular)
    parts = [
        torch.nn.functional.embedding(batch.categorical[:, column], own[column])
        for column in sorted(range(len(DIMS)), key=DIMS.__getitem__)
    ]
    wanted = torch.cat([*parts, batch.numeric], 1)
    found = tabular(batch)
    assert found.shape == (rows, tabular.dim)
    assert torch.equal(found, wanted)
    weigh = torch.randn(found.shape, dtype=torch.float64)
    (found * weigh).sum().backward()
    (wanted * weigh).sum().backward()
    wanted = [p.grad for p in own]
    for table, dim in zip(tabular.parameters(), sorted(set(DIMS)), strict=True):
        same = [g for g, d in zip(wanted, DIMS, strict=True) if d == dim]
        torch.testing.assert_close(table.grad, torch.cat(same), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("column", range(len(SIZES)))
def test_first_and_last_code_of_a_column_are_its_own(column: int) -> None:
    tabular, batch = Tabular(NUMBERS, SIZES, DIMS).double(), customers(2)
    batch.categorical[:, column] = torch.tensor([0, SIZES[column] - 1])
    tabular(batch).sum().backward()
    touched = sum(int((p.grad != 0).any(1).sum()) for p in tabular.parameters())
    codes = batch.categorical
    assert touched == sum(len(set(c.tolist())) for c in codes.unbind(1))


def test_numbers_alone_are_left_as_they_are() -> None:
    numeric = torch.randn(BATCH, NUMBERS)
    batch = Batch(numeric, torch.zeros(BATCH, 0, dtype=torch.long))
    assert torch.equal(Tabular(NUMBERS, (), ())(batch), numeric)


def test_categories_alone() -> None:
    batch = Batch(torch.zeros(BATCH, 0), torch.ones(BATCH, 2, dtype=torch.long))
    assert Tabular(0, (5, 9), (3, 2))(batch).shape == (BATCH, 5)


def test_a_schemas_columns() -> None:
    tabular = Tabular.build(SCHEMA)
    # three numbers, four cities in 3 and three stores in 2
    assert tabular.dim == 3 + 3 + 2
    assert [tuple(p.shape) for p in tabular.parameters()] == [(3, 2), (4, 3)]


def test_every_row_starts_about_one_long() -> None:
    (table,) = Tabular(0, (999,), (80,)).parameters()
    assert abs(table.square().sum(1).mean().item() - 1) < 0.02
