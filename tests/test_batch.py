"""Both ends of a model move, yield rows and are checked as one."""

from dataclasses import replace

import pytest
import torch
from torch.utils import _pytree as pytree

from ple_study.batch import Batch, Diagrams, Events, Output, Rows, concat, tree_map
from tests.sizes import BATCH, DIMS, EXPERTS, TASKS

NUMERIC, CATEGORICAL, STEPS = DIMS


def full_batch() -> Batch:
    """Every field, all sizes different, and every number in it its own."""

    def numbers(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape)))

    return Batch(
        numeric=numbers(BATCH, NUMERIC),
        categorical=torch.arange(BATCH * CATEGORICAL).reshape(BATCH, CATEGORICAL),
        events={"days": Events(numbers(BATCH, STEPS, 2), numbers(BATCH, STEPS) > 0.4)},
        diagrams={"app": Diagrams(numbers(BATCH, 9, 3), numbers(BATCH, 9) > 0.4)},
        states=numbers(BATCH, TASKS, EXPERTS),
        clusters=numbers(BATCH, 10),
        vectors={"graph": numbers(BATCH, 11)},
        customer=torch.arange(BATCH) + 100,
    )


def full_rows() -> Rows:
    labels = {"churn": torch.arange(float(BATCH)), "spend": -torch.arange(float(BATCH))}
    return Rows(full_batch(), labels, {"churn": torch.ones(BATCH)})


def leaves(value: object) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    tree_map(lambda x: found.append(x) or x, value)  # type: ignore[func-returns-value]
    return found


def test_every_tensor_is_visited_once() -> None:
    assert len(leaves(full_batch())) == 10
    assert len(leaves(full_rows())) == 10 + 3


def test_rows_are_picked_in_every_field_and_in_order() -> None:
    index = torch.tensor([3, 0, 3])
    rows = full_rows()
    picked = rows.rows(index)
    assert len(picked) == len(picked.batch) == 3
    for whole, part in zip(leaves(rows), leaves(picked), strict=True):
        assert torch.equal(part, whole[index])
    assert picked.labels["churn"].tolist() == [3, 0, 3]


def test_what_is_absent_stays_absent() -> None:
    batch = Batch(torch.zeros(BATCH, NUMERIC), torch.zeros(BATCH, 0, dtype=torch.int64))
    picked = batch.rows(torch.tensor([1]))
    assert (picked.states, picked.clusters, picked.customer) == (None, None, None)
    assert not picked.events
    assert not picked.diagrams


def test_no_row_at_all_is_a_batch_of_none() -> None:
    assert len(full_rows().rows(torch.tensor([], dtype=torch.int64))) == 0


def test_all_moves_to_a_device() -> None:
    moved = full_rows().to("meta")
    assert {leaf.device.type for leaf in leaves(moved)} == {"meta"}
    assert isinstance(moved, Rows)
    assert isinstance(moved.batch.events["days"], Events)


def test_a_batch_is_frozen() -> None:
    with pytest.raises(AttributeError):
        full_batch().numeric = torch.zeros(1, 1)  # type: ignore[misc]


def test_axes_of_one_container_are_compared() -> None:
    batch = full_batch()
    with pytest.raises(TypeError):
        replace(batch, customer=torch.arange(BATCH + 1))
    with pytest.raises(TypeError):
        Events(torch.zeros(BATCH, STEPS, 2), torch.zeros(BATCH, STEPS + 1) > 0)
    with pytest.raises(TypeError):
        Diagrams(torch.zeros(BATCH, 9, 4), torch.zeros(BATCH, 9) > 0)


def test_export_knows_the_containers() -> None:
    """torch.export walks a batch, with names, as it walks a list."""
    batch = full_batch()
    flat, spec = pytree.tree_flatten(batch)
    assert len([x for x in flat if isinstance(x, torch.Tensor)]) == 10
    again = pytree.tree_unflatten(flat, spec)
    assert torch.equal(again.events["days"].mask, batch.events["days"].mask)


def test_an_output_may_have_no_gates() -> None:
    output = Output({"churn": torch.zeros(BATCH, 1)})
    assert output.weights == ()
    assert output.experts == ()


def test_batches_are_put_together_whole_or_not_at_all() -> None:
    one = Rows(Batch(torch.ones(2, 3), torch.ones(2, 1).long()), {"a": torch.ones(2)})
    both = concat([one, one])
    assert len(both) == 4
    assert both.labels["a"].shape == (4,)
    other = replace(one, weights={"a": torch.ones(2)})
    with pytest.raises(ValueError, match="the same names"):
        concat([one, other])
    shown = replace(one, batch=replace(one.batch, clusters=torch.ones(2, 4)))
    with pytest.raises(ValueError, match="the same parts"):
        concat([one, shown])
    with pytest.raises(ValueError, match="Found none"):
        concat([])
