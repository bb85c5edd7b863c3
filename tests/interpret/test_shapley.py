"""Shapley values against their definition and their axioms."""

from dataclasses import replace
from itertools import permutations
from math import factorial

import pytest
import torch
from torch import Tensor

from ple_study.experts.mlp import MLPSpec
from ple_study.fitted import Fitted
from ple_study.interpret.coalitions import all_coalitions
from ple_study.interpret.contributions import contributions
from ple_study.interpret.readouts import shapley
from tests.interpret.explained import (
    NAMES,
    TWO,
    WAYS,
    asked,
    background,
    bare,
    by_hand,
    close,
    fitted,
)
from tests.test_model import FOUR

ways = pytest.mark.parametrize("which", WAYS)
LINEAR = bare("neither", tower=MLPSpec(dims=()))


def game(worth: dict[tuple[int, ...], float], players: int) -> list[float]:
    """The Shapley values of a game of named coalitions; any other is worth nothing."""
    heard = all_coalitions(players)
    keys = [tuple(row.nonzero()[:, 0].tolist()) for row in heard]
    values = torch.tensor([worth.get(key, 0.0) for key in keys]).double()
    return shapley(values[None, :, None], heard)[0, 0].tolist()


def test_the_glove_game() -> None:
    """Two left gloves and a right one: 1/6, 1/6, 2/3 (every textbook's example)."""
    pairs = {(0, 2): 1.0, (1, 2): 1.0, (0, 1, 2): 1.0}
    assert game(pairs, 3) == pytest.approx([1 / 6, 1 / 6, 2 / 3])


def test_the_airport_game() -> None:
    """All who need a piece of the runway share it (Littlechild and Owen 1973)."""
    need = [1.0, 3.0, 7.0, 15.0]
    keys = [tuple(row.nonzero()[:, 0].tolist()) for row in all_coalitions(4)[1:]]
    cost = {key: max(need[i] for i in key) for key in keys}
    share = [1 / 4, 1 / 4 + 2 / 3, 1 / 4 + 2 / 3 + 2, 1 / 4 + 2 / 3 + 2 + 8]
    assert game(cost, 4) == pytest.approx(share)


def test_a_coalition_is_its_number_in_bits() -> None:
    found = all_coalitions(3).long().tolist()
    assert found[:3] == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert len(found) == 8
    assert found[6] == [0, 1, 1]


@ways
def test_shapley_is_the_mean_over_all_orders(which: str) -> None:
    own, batch, others = fitted(WAYS[which]), asked(), background()
    value = {
        tuple(row.nonzero()[:, 0].tolist()): by_hand(
            own, batch, others, row.nonzero()[:, 0].tolist()
        )
        for row in all_coalitions(len(FOUR))
    }
    wanted = torch.zeros(len(batch), len(NAMES), len(FOUR)).double()
    for order in permutations(range(len(FOUR))):
        for place, expert in enumerate(order):
            with_it = value[tuple(sorted(order[: place + 1]))]
            without = value[tuple(sorted(order[:place]))]
            wanted[:, :, expert] += (with_it - without) / factorial(len(FOUR))
    found = contributions(own, batch, others)
    close(found.raw, wanted)
    close(found.base, value[()])
    close(found.full, value[0, 1, 2, 3])


def test_of_two_experts_it_is_the_mean_of_two_orders() -> None:
    spec = replace(WAYS["both"], experts=TWO)
    own, batch, others = fitted(spec, prefer=False), asked(), background()
    none, one, other, both = (
        by_hand(own, batch, others, heard) for heard in ((), (0,), (1,), (0, 1))
    )
    first = ((one - none) + (both - other)) / 2
    second = ((other - none) + (both - one)) / 2
    found = contributions(own, batch, others)
    close(found.raw, torch.stack([first, second], dim=2))


@ways
@pytest.mark.parametrize("hold_gate", [False, True])
@pytest.mark.parametrize("double", [True, False])
def test_contributions_sum_to_what_was_said(
    which: str, hold_gate: bool, double: bool
) -> None:
    own = fitted(WAYS[which], double)
    batch, others = asked(double=double), background(double)
    found = contributions(own, batch, others, hold_gate=hold_gate)
    within = 1e-10 if double else 1e-5
    close(found.raw.sum(2), found.full - found.base, within)
    close(found.gap, torch.zeros_like(found.gap), within)
    logits = own.output(batch).logits
    close(found.full[:, 0], logits["ctr"][:, 0].double(), within)


def last_linear(own: Fitted, expert: str) -> torch.nn.Linear:
    maps = own.model.experts.experts[expert].modules()
    return [m for m in maps if isinstance(m, torch.nn.Linear)][-1]


@pytest.mark.parametrize("hold_gate", [False, True])
def test_a_constant_expert_has_weight_and_no_contribution(hold_gate: bool) -> None:
    """Its block is the background's mean, so that no coalition changes with it."""
    own, batch, others = fitted(), asked(), background()
    last_linear(own, "causal").weight.data.zero_()
    found = contributions(own, batch, others, hold_gate=hold_gate)
    assert found.raw[:, :, 3].abs().max() < 1e-14
    assert (found.raw[:, :, :3].abs().amax(2)[[0, 2, 4]] > 1e-4).all()
    gate = contributions(own, batch, others, readout="gate")
    assert (gate.share[:, :, 3] > 0.01).all()


def test_an_absent_constant_expert_contributes_its_absence() -> None:
    """Where it has nothing to read, its learned vector is not the mean."""
    own, batch, others = fitted(), asked(), background()
    last_linear(own, "lightgcn").weight.data.zero_()
    found = contributions(own, batch, others).raw[:, :, 1].abs()
    assert found[[0, 2, 3, 4]].max() < 1e-14
    assert found[1].min() > 1e-6


def test_an_expert_that_only_gates_read_contributes_if_they_decide_anew() -> None:
    own, batch, others = fitted(bare("stage2_only")), asked(), background()
    dims = own.model.experts.dims
    start = sum(dims[:3])
    for towers in own.model.towers.towers:
        towers.hidden.layers[0].weight.data[:, :, start : start + dims[3]] = 0
    anew = contributions(own, batch, others).raw[:, :, 3]
    held = contributions(own, batch, others, hold_gate=True).raw[:, :, 3]
    assert anew.abs().min() > 1e-8
    assert held.abs().max() < 1e-14
    own.model.gates.stage2.linear.weight.data[:, start : start + dims[3]] = 0
    anew = contributions(own, batch, others).raw[:, :, 3]
    assert anew.abs().max() < 1e-14


def test_twins_contribute_alike() -> None:
    """Same block, same weights in the gate and in what reads the gate's answer."""
    twins = dict.fromkeys(("one", "other"), FOUR["lightgcn"])
    experts = {"deepfm": FOUR["deepfm"], **twins}
    own = fitted(bare("stage2_only", experts=experts), prefer=False)
    pool, linear = own.model.experts, own.model.gates.stage2.linear
    pool.experts["other"].load_state_dict(pool.experts["one"].state_dict())
    pool.absent["other"].data.copy_(pool.absent["one"])
    _, one, other = torch.arange(sum(pool.dims)).split(pool.dims)
    rows = linear.weight.data.view(len(NAMES), 3, -1)
    bias = linear.bias.data.view(len(NAMES), 3)
    rows[:, :, other] = rows[:, :, one]
    rows[:, 2], bias[:, 2] = rows[:, 1], bias[:, 1]
    for towers in own.model.towers.towers:
        weight = towers.hidden.layers[0].weight.data
        weight[:, :, other] = weight[:, :, one]
    found = contributions(own, asked(), background()).raw
    close(found[:, :, 1], found[:, :, 2], 1e-12)
    assert (found[:, :, 0] - found[:, :, 1]).abs().min() > 1e-6


def scaled(own: Fitted, factor: float, shift: float) -> Tensor:
    """Contributions to ltv when its tower's answer is multiplied and shifted."""
    (towers,) = (t for t in own.model.towers.towers if "ltv" in t.scales)
    usual, strays = towers.scales["ltv"]
    towers.scales["ltv"] = (usual * factor + shift, strays * factor)
    return contributions(own, asked(), background(), tasks=["ltv"]).raw


def test_contributions_are_linear_in_the_logit() -> None:
    once = contributions(fitted(), asked(), background(), tasks=["ltv"]).raw
    close(scaled(fitted(), -3.0, 11.0), -3 * once, 1e-12)


def test_a_linear_model_has_one_answer() -> None:
    """Of a linear logit, Shapley values, gradients and single removals are the same."""
    own, batch, others = fitted(LINEAR), asked(), background()
    found = [
        contributions(own, batch, others, readout=readout, tasks=["ctr", "ltv"]).raw
        for readout in ("shapley", "ig", "loo")
    ]
    close(found[1], found[0], 1e-12)
    close(found[2], found[0], 1e-12)
    assert found[0].abs().amax((0, 1)).min() > 1e-3


def test_more_than_ten_experts_are_too_many() -> None:
    with pytest.raises(ValueError, match=r"at most 10 experts\. Found 11;"):
        all_coalitions(11)
    assert len(all_coalitions(10)) == 1024
