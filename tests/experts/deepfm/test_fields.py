"""Fields in pairs by the definition; how long they begin; one table for all codes."""

import pytest
import torch

from ple_study.batch import Batch
from ple_study.experts.deepfm.fields import CodeFields, NumericFields, bi_interaction
from tests.sizes import BATCH


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_the_identity_is_the_sum_over_pairs(count: int) -> None:
    fields = torch.randn(BATCH, count, 7, dtype=torch.float64)
    wanted = torch.zeros(BATCH, 7, dtype=torch.float64)
    for f in range(count):
        for g in range(f + 1, count):
            wanted += fields[:, f] * fields[:, g]
    found = bi_interaction(fields)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)
    assert (count > 1) == bool(found.any())


def test_a_gradient_is_the_sum_of_the_other_fields() -> None:
    fields = torch.randn(BATCH, 4, 7, dtype=torch.float64, requires_grad=True)
    bi_interaction(fields).sum().backward()
    wanted = fields.sum(1, keepdim=True) - fields
    torch.testing.assert_close(fields.grad, wanted.detach(), atol=1e-12, rtol=1e-12)


def test_fields_of_any_width_begin_about_one_long() -> None:
    widths = (1, 80, 6)
    draws = [NumericFields(widths, 16) for _ in range(100)]
    none = torch.zeros(900, 0, dtype=torch.long)
    batch = Batch(torch.randn(900, sum(widths)), none)
    length = torch.stack([f(batch).square().sum(2).mean(0) for f in draws]).mean(0)
    torch.testing.assert_close(length, torch.ones(3), atol=0.1, rtol=0)
    codes = CodeFields((999,), 80).table.weight
    assert abs(codes.square().sum(1).mean().item() - 1) < 0.02


def test_codes_of_two_columns_have_rows_of_their_own() -> None:
    fields = CodeFields((4, 3, 5), 6, places=(2, 0, 3))
    rows = fields.table.weight.detach().split([4, 3, 5])
    codes = torch.tensor([[2, 9, 3, 4], [0, 9, 0, 0]])
    found = fields(Batch(torch.zeros(2, 0), codes))
    assert torch.equal(found[0], torch.stack([rows[0][3], rows[1][2], rows[2][4]]))
    assert torch.equal(found[1], torch.stack([row[0] for row in rows]))
