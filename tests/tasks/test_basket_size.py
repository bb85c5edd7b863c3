"""How large a basket is, by the source's counts, and which one cannot be."""

from dataclasses import replace

import pytest
from torch import nn

from ple_study.data.world.tasks import tasks as table
from ple_study.experts.mlp import MLPSpec, ParallelLinear, ParallelMLP
from ple_study.tasks.basket import BasketSpec

PLAIN = MLPSpec(dims=(128, 64), activation="silu")
THREAD = [task.spec for task in table(brands=50) if task.active]


def count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize(
    ("options", "dim_in", "wanted"),
    [
        ({}, 544, 337_408),  # 576 numbers with the 32 of e
        ({}, 608, 370_176),
        ({"form": "B"}, 544, 362_368),
        ({"form": "B"}, 576, 378_752),
        ({"form": "per_cluster"}, 544, 3_245_056),
    ],
)
def test_the_sources_number_of_parameters(
    options: dict, dim_in: int, wanted: int
) -> None:
    found = BasketSpec(encoder=PLAIN, **options).build(THREAD, dim_in, 20)
    assert count(found) == wanted


def test_they_are_of_sixteen_tasks_in_four_groups() -> None:
    groups = BasketSpec().build(THREAD, 544, 20).groups
    assert [len(places) for places in groups.values()] == [3, 4, 3, 6]
    fifteen = BasketSpec(encoder=PLAIN, form="per_cluster").build(THREAD[:15], 544, 20)
    assert count(fifteen) == 3_042_240


def test_a_count_with_norms_has_one_at_the_end_too() -> None:
    """The source's 84,640 and 339,200; where its last layer is linear, 64 less."""
    whole = MLPSpec(dims=(128, 64, 32))
    assert count(ParallelMLP(1, 576, whole)) == 84_192
    assert count(ParallelMLP(1, 576, replace(whole, norm="layer"))) == 84_640
    assert count(ParallelMLP(4, 576, replace(whole, norm="layer"))) + 640 == 339_200
    assert count(BasketSpec().build(THREAD, 544, 20)) == 339_200 - 4 * 64


def test_an_mlp_a_task_and_cluster_would_be_far_larger() -> None:
    pairs = 16 * 20
    hidden = ParallelMLP(pairs, 576, PLAIN)
    assert count(hidden, ParallelLinear(pairs, 64, 32)) == 26_941_440


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "C"}, r"form must be one of \('A', 'B', 'per_cluster'\). Found 'C'"),
        ({"routing": "sfot"}, r"routing must be one of .*Found 'sfot'.*'soft'\?"),
        ({"dim": 0}, "needs embedding >= 1 and dim >= 1. Found embedding=32, dim=0"),
        ({"embedding": 0}, "Found embedding=0, dim=32"),
        ({"form": "B", "encoder": replace(PLAIN, norm="batch")},
         "norm to be 'layer' or 'none'. Found 'batch' in a basket of form 'B'"),
    ],
)  # fmt: skip
@pytest.mark.plain
def test_a_basket_that_cannot_be_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BasketSpec(**options)
    BasketSpec(form="per_cluster", encoder=replace(PLAIN, norm="batch"))


def test_a_head_a_cluster_needs_clusters() -> None:
    with pytest.raises(ValueError, match=r"'per_cluster' needs clusters. Found a sche"):
        BasketSpec(form="per_cluster").build(THREAD, 544, 0)
