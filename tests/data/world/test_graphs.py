"""The bank's graphs say who bought where, at which leaf of the tree."""

import numpy as np
import torch

from ple_study.data.world import Bank
from ple_study.data.world.blocks import Block
from ple_study.data.world.sizes import HISTORY


def test_customers_meet_the_leaves_of_their_merchants(bank: Bank, block: Block) -> None:
    found = bank.graphs()
    tree, leaves = bank.plan.tree, bank.plan.leaves
    assert found.bipartite.shape == (600, len(tree))
    assert found.fused.shape == (len(tree), len(tree))
    counts = found.bipartite.to_dense()
    leaf = torch.where(tree.depth == 3)[0]
    assert not counts[:, : int(leaf[0])].any()
    log = block.logs.card.since(HISTORY - bank.widths.steps[0])
    for customer in (0, 17, 499):
        own = log.place[log.customer == customer]
        wanted = np.bincount(own - 1, minlength=len(leaves))
        assert counts[customer, leaf].tolist() == wanted.tolist()
    second = bank.block(1).logs.card.since(HISTORY - bank.widths.steps[0])
    assert 0 < len(second) < len(bank.block(1).logs.card)
    assert counts[500:].sum() == len(second)


def test_merchants_of_one_taste_are_visited_together(bank: Bank) -> None:
    """What LightGCN is to find: the graph knows tastes that the tree does not."""
    met = bank.graphs().covisits.to_dense()[-len(bank.plan.leaves) :]
    met = met[:, -len(bank.plan.leaves) :]
    brand = bank.plan.taste[bank.plan.leaves[:, 2]]
    alike = torch.from_numpy(brand @ brand.T)
    other = torch.from_numpy(bank.plan.leaves[:, 1])
    apart = other[:, None] != other[None]
    kept = torch.stack([alike[apart], met[apart]])
    assert torch.corrcoef(kept)[0, 1] > 0.2
