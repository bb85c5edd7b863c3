"""The gradient of a table, kept from step to step, against autograd's own."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from ple_study import training
from ple_study.baselines import SharedBottomSpec
from ple_study.batch import Batch
from ple_study.experts.row_gradients import row_gradients
from ple_study.experts.tabular import Tabular
from ple_study.training import Training, fit
from tests.sizes import BATCH
from tests.studies import mixed

SIZES, DIMS = (50, 9, 40), (3, 2, 3)


def tabular() -> Tabular:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tabular(1, SIZES, DIMS)


def batches(count: int) -> list[Batch]:
    """Few codes of many, some of them twice in a batch, others in each batch."""
    draw = torch.Generator().manual_seed(1)
    codes = [
        torch.stack([torch.randint(n, (BATCH,), generator=draw) for n in SIZES], 1)
        for _ in range(count)
    ]
    return [Batch(torch.randn(BATCH, 1, generator=draw), c) for c in codes]


def loss(model: Tabular, batch: Batch) -> Tensor:
    return model(batch).square().sum()


def gradients(model: nn.Module) -> list[Tensor]:
    grads = [p.grad for p in model.parameters()]
    assert all(g is not None and not g.is_sparse for g in grads)
    return [g.clone() for g in grads if g is not None]


def same(kept: Tabular, plain: Tabular) -> bool:
    pairs = zip(gradients(kept), gradients(plain), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_every_step_is_autograds_to_the_bit() -> None:
    kept, plain = tabular(), tabular()
    optimizers = [torch.optim.AdamW(m.parameters(), lr=0.1) for m in (kept, plain)]
    with row_gradients(kept):
        for batch in batches(8):
            for model, optimizer in zip((kept, plain), optimizers, strict=True):
                optimizer.zero_grad()
                loss(model, batch).backward()
            assert same(kept, plain)
            for optimizer in optimizers:
                optimizer.step()
    weights = zip(kept.parameters(), plain.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)


def test_the_tensor_is_kept() -> None:
    model, found = tabular(), []
    with row_gradients(model):
        for batch in batches(3):
            model.zero_grad()
            loss(model, batch).backward()
            found.append(model.tables[1].get_parameter("weight").grad)
    assert found[0] is found[1] is found[2]


@pytest.mark.parametrize("to_none", [True, False])
def test_gradients_of_several_batches_add_up(to_none: bool) -> None:
    kept, plain = tabular(), tabular()
    with row_gradients(kept):
        for _ in range(3):
            for model in (kept, plain):
                model.zero_grad(set_to_none=to_none)
                for batch in batches(2):
                    loss(model, batch).backward()
            for a, b in zip(gradients(kept), gradients(plain), strict=True):
                torch.testing.assert_close(a, b)


def test_a_penalty_on_the_whole_table() -> None:
    kept, plain = tabular(), tabular()
    with row_gradients(kept):
        for batch in batches(3):
            for model in (kept, plain):
                model.zero_grad()
                whole = sum(p.square().sum() for p in model.parameters())
                (loss(model, batch) + whole).backward()
            for a, b in zip(gradients(kept), gradients(plain), strict=True):
                torch.testing.assert_close(a, b)


def test_nothing_is_left_behind() -> None:
    model, plain = tabular(), tabular()
    (batch,) = batches(1)
    with pytest.raises(KeyError), row_gradients(model):
        raise KeyError
    for either in (model, plain):
        loss(either, batch).backward()
    assert same(model, plain)
    grads = torch.autograd.grad(loss(model, batch), list(model.parameters()))
    assert not any(g.is_sparse for g in grads)
    assert not any(p._post_accumulate_grad_hooks for p in model.parameters())


def test_a_model_without_tables() -> None:
    with row_gradients(nn.Linear(2, 3)):
        pass


def test_fit_is_the_same_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"training": Training(epochs=2, batch_size=8), "progress": False}
    kept = fit(mixed(), SharedBottomSpec(), **options)
    monkeypatch.setattr(training, "row_gradients", lambda _: nullcontext())
    plain = fit(mixed(), SharedBottomSpec(), **options)
    assert kept.model.tabular.tables
    state = plain.model.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in kept.model.state_dict().items())


def test_tables_that_do_not_suit_are_left_alone() -> None:
    model = tabular()
    model.tables[1].weight.requires_grad_(False)
    with row_gradients(model):
        loss(model, batches(1)[0]).backward()
        assert [table.sparse for table in model.tables] == [True, False]
    assert not any(table.sparse for table in model.tables)
    counted = nn.Embedding(5, 2, scale_grad_by_freq=True)
    with row_gradients(counted):
        counted(torch.tensor([1, 1])).sum().backward()
    assert counted.weight.grad is not None
    assert counted.weight.grad[1].tolist() == [1.0, 1.0]
