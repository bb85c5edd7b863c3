"""A customer's place in the graph and in the tree, each by the payments of its days."""

from dataclasses import replace

import numpy as np
import torch

from ple_study.data.graphs.visits import bipartite
from ple_study.data.log import Log
from ple_study.data.world import Bank
from ple_study.data.world.blocks import Block
from ple_study.data.world.events import first_shown
from ple_study.data.world.vectors import in_tree
from ple_study.experts.hgcn.expert import HGCNSpec
from ple_study.experts.lightgcn.expert import LightGCNSpec


def of(bank: Bank, card: Log) -> dict[str, torch.Tensor]:
    return bank.fitted.vectors.of(bank.plan, bank.widths, card)


def test_the_thread_s_widths(bank: Bank) -> None:
    assert {v.name: v.dim for v in bank.schema.vectors} == {
        "graph": 64,
        "hierarchy": 47,
    }


def test_who_paid_nothing_then_has_no_place_then(bank: Bank, block: Block) -> None:
    begin, card = first_shown(bank.widths), block.logs.card
    found = bank.rows(0).batch.vectors
    for name, log in (("graph", card.since(begin)), ("hierarchy", card.until(begin))):
        none = torch.from_numpy(np.bincount(log.customer, minlength=500) == 0)
        assert 0 < none.sum() < 100
        assert torch.equal(found[name].isnan().all(1), none)
        assert found[name][~none].isfinite().all()


def test_each_sees_its_own_days_alone(bank: Bank, block: Block) -> None:
    """Payments at the next merchant, on the other's days: only the other moves."""
    begin, card = first_shown(bank.widths), block.logs.card
    whole = of(bank, card)
    turned = 1 + card.place % card.num_places
    for name, later in (("graph", False), ("hierarchy", True)):
        moved = np.where((card.day >= begin) == later, turned, card.place)
        found = of(bank, replace(card, place=moved))
        for kind, values in found.items():
            same = torch.allclose(values, whole[kind], equal_nan=True)
            assert same == (kind == name), (name, kind)


def test_newcomers_are_placed_by_the_merchants_of_training(
    bank: Bank, block: Block
) -> None:
    seen = bipartite(block.logs.card.since(first_shown(bank.widths)).visits)
    graph = bank.fitted.vectors.graph
    customer = 17
    row = seen.to_dense()[customer]
    known = (row > 0) & (graph.degree > 0)
    share = row[known] / (row[known].sum() * graph.degree[known]).sqrt()
    wanted = (share[:, None] * graph.through[known]).sum(0).float()
    torch.testing.assert_close(of(bank, block.logs.card)["graph"][customer], wanted)


def test_payments_stand_at_their_merchant_s_leaf(bank: Bank, block: Block) -> None:
    found = in_tree(bank.plan, block.logs.card)
    names = [bank.plan.tree.paths[node][-1] for node in found.merchant[:9]]
    assert names == [f"M{place - 1:04d}" for place in block.logs.card.place[:9]]


def test_experts_read_them(bank: Bank) -> None:
    batch = bank.rows(0).batch
    for spec in (LightGCNSpec(), HGCNSpec()):
        assert spec.build(bank.schema)(batch).isfinite().all()
