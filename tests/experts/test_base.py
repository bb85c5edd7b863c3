"""What experts share: columns by name, one norm, a place for who is absent."""

import pytest
import torch
from torch import nn

from ple_study.batch import Batch
from ple_study.experts.base import Columns, Ending, Expert, ExpertPool, ExpertSpec
from ple_study.schema import Schema
from tests.customers import SCHEMA, customers
from tests.sizes import BATCH


class Reads(Expert):
    """The mean of a vector, three times; asks for its square."""

    dim = 3

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.scale = name, nn.Parameter(torch.tensor(2.0))

    def present(self, batch: Batch) -> torch.Tensor:
        return ~batch.vectors[self.name].isnan().all(1)

    def forward(self, batch: Batch) -> torch.Tensor:
        mean = batch.vectors[self.name].nan_to_num(0.0).mean(1, keepdim=True)
        return self.scale * mean.expand(-1, 3)

    def penalty(self) -> torch.Tensor:
        return self.scale**2


class Counts(Expert):
    dim = 2

    def forward(self, batch: Batch) -> torch.Tensor:
        return batch.numeric[:, :2]


def test_columns_are_chosen_by_group_in_the_tables_order() -> None:
    batch = customers()
    for groups, places in (
        ((), range(9)),
        (("card", "rfm"), [0, 1, 2, 7, 8]),
        (("day",), range(3, 7)),
    ):
        columns = Columns.build(SCHEMA, groups)
        assert columns.dim == len(places)
        assert torch.equal(columns(batch), batch.numeric[:, list(places)])
    assert not Columns.build(SCHEMA).state_dict()


def test_an_unknown_group_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"group 'crad'.*\['rfm', 'day', 'card'\].*card"
    ):
        Columns.build(SCHEMA, ("rfm", "crad"))
    with pytest.raises(ValueError, match="group 'where'"):  # has no numeric column
        Columns.build(SCHEMA, ("where",))


def test_an_ending_has_the_norm_of_its_width() -> None:
    answer = Ending(6, 7)(100 * torch.randn(BATCH, 6))
    torch.testing.assert_close(answer.norm(dim=1), torch.full((BATCH,), 7**0.5))
    torch.testing.assert_close(answer.mean(1), torch.zeros(BATCH), atol=1e-6, rtol=0)
    assert set(Ending(6, 7).state_dict()) == {"0.weight", "0.bias"}


def test_a_pool_answers_in_order_and_says_who_could_speak() -> None:
    batch, graph = customers(), Reads("graph")
    pool = ExpertPool({"counts": Counts(), "graph": graph})
    assert (pool.names, pool.dims) == (["counts", "graph"], [2, 3])
    with torch.no_grad():
        pool.absent["graph"].copy_(torch.tensor([5.0, 6.0, 7.0]))
    (counts, said), present = pool(batch)
    assert present.tolist() == [[True, i != 1] for i in range(BATCH)]
    assert torch.equal(counts, batch.numeric[:, :2])
    assert said[1].tolist() == [5.0, 6.0, 7.0]
    others = [0, 2, 3, 4]
    assert torch.equal(said[others], graph(batch)[others])
    assert pool.penalty_of(batch) == 4.0
    assert ExpertPool({"counts": Counts()}).penalty_of(batch) == 0.0


def test_what_is_learned_of_the_absent_is_learned_from_them_alone() -> None:
    batch = customers()
    pool = ExpertPool({"counts": Counts(), "graph": Reads("graph")})
    blocks, _ = pool(batch)
    sum(block.sum() for block in blocks).backward()
    assert pool.absent["graph"].grad.tolist() == [1.0] * 3
    assert pool.absent["counts"].grad.tolist() == [0.0] * 2
    mean = batch.vectors["graph"][[0, 2, 3, 4]].mean(1).sum()
    torch.testing.assert_close(pool.experts["graph"].scale.grad, 3 * mean)


def test_a_pool_is_built_of_specs_and_needs_one() -> None:
    class Spec(ExpertSpec):
        def build(self, schema: Schema) -> Expert:
            return Reads(schema.vectors[0].name)

    pool = ExpertPool.build(SCHEMA, {"a": Spec(), "b": Spec()})
    assert pool.names == ["a", "b"]
    assert pool.experts["a"].scale is not pool.experts["b"].scale
    with pytest.raises(ValueError, match="at least one expert"):
        ExpertPool({})
