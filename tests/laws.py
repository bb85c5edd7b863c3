"""Laws that every model of the library obeys, whatever is inside it."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ple_study.batch import Batch, Model, Output, tree_map


def cut(output: Output, index: Tensor) -> list[Tensor]:
    """Everything that was answered, for the customers at ``index``."""
    parts = [*output.logits.values(), *output.weights, *output.experts]
    return [part[index] for part in parts]


def double(batch: Batch) -> Batch:
    """The batch in float64; codes, masks and identities stay as they are."""
    return tree_map(lambda x: x.double() if x.is_floating_point() else x, batch)


def random_loss(output: Output, seed: int = 0) -> Tensor:
    """A loss that weighs every logit differently."""
    draw = torch.Generator().manual_seed(seed)
    weighed = [
        (z * torch.randn(z.shape, generator=draw)).sum() for z in output.logits.values()
    ]
    return torch.stack(weighed).sum()


def one_row_alone_is_that_row(model: Model, batch: Batch) -> None:
    """No customer's answer depends on who else is in the batch."""
    model, batch = model.double().eval(), double(batch)
    together = model(batch)
    for row in range(len(batch)):
        index = torch.tensor([row])
        alone = model(batch.rows(index))
        found, wanted = cut(alone, torch.tensor([0])), cut(together, index)
        torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


def permuted_rows_permute_answers(model: Model, batch: Batch) -> None:
    model, batch = model.double().eval(), double(batch)
    order = torch.arange(len(batch)).roll(2)
    found = cut(model(batch.rows(order)), torch.arange(len(batch)))
    wanted = cut(model(batch), order)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


def every_parameter_learns(model: Model, batch: Batch) -> None:
    """A loss on all tasks reaches each parameter with a finite gradient, not zero."""
    random_loss(model.eval()(batch)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def every_column_counts(model: Model, batch: Batch) -> None:
    """Another value in any column moves some answer."""
    model, everyone = model.eval(), torch.arange(len(batch))
    before = cut(model(batch), everyone)
    numeric, codes = batch.numeric, batch.categorical
    others = [
        replace(batch, numeric=numeric + torch.eye(numeric.shape[1])[column])
        for column in range(numeric.shape[1])
    ]
    for column in range(codes.shape[1]):
        other = codes.clone()
        other[:, column] = (other[:, column] == 0).long()
        others.append(replace(batch, categorical=other))
    for column, other in enumerate(others):
        after = cut(model(other), everyone)
        assert any(map(differ, before, after)), f"column {column}"


def differ(one: Tensor, other: Tensor) -> bool:
    return not torch.equal(one, other)


def two_builds_share_no_tensor(build: Callable[[], Model]) -> None:
    models = build(), build()  # both alive, or memory would be used again
    one, other = (
        {t.untyped_storage().data_ptr() for t in model.state_dict().values()}
        for model in models
    )
    assert one.isdisjoint(other)
