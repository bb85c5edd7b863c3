"""Each readout against its formula, mostly where towers read what the gates answer."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ple_study.fitted import Fitted
from ple_study.gates.attention import CGCAttentionSpec
from ple_study.gates.stages import StagesSpec
from ple_study.interpret.contributions import contributions
from tests.interpret.explained import (
    NAMES,
    WAYS,
    asked,
    background,
    bare,
    by_hand,
    close,
    fitted,
    log_odds,
)
from tests.test_model import FOUR
from tests.test_model import SPECS as ROUGH

ways = pytest.mark.parametrize("which", WAYS)
ROWS, EXPERTS = range(5), range(len(FOUR))
NORMED = bare(
    "stage2_only",
    gates=StagesSpec(
        which="stage2_only",
        attention=CGCAttentionSpec(block_norm="layer", missing="default"),
    ),
)
PAIR = {"plain": bare("stage2_only"), "normed": NORMED}
SECOND = pytest.mark.parametrize("spec", PAIR.values(), ids=PAIR)


def heard(own: Fitted) -> tuple[list[Tensor], Tensor]:
    return own.model.experts(own.scaler(asked()))


def of_towers(own: Fitted, inputs: Sequence[Tensor]) -> Tensor:
    """[batch, task]: the margins, for the classes predicted, of what towers say."""
    best = own.output(asked()).logits
    return torch.stack(
        [
            torch.stack(
                [log_odds(z[row], int(best[name][row].argmax())) for row in ROWS]
            )
            for name, z in own.model.towers(inputs).items()
        ],
        dim=1,
    )


@SECOND
def test_gate_and_norm_read_stage_2(spec: object) -> None:
    own = fitted(spec)
    gate, norm = (
        contributions(own, asked(), background(), readout=readout)
        for readout in ("gate", "norm")
    )
    mixed, weights, _ = own.model.gates.stage2(*heard(own))
    close(gate.raw, torch.stack(weights, dim=1).detach())
    close(gate.share, gate.raw)
    for k, own_mixed in enumerate(mixed):
        parts = own_mixed.split(own.model.experts.dims, dim=1)
        wanted = torch.stack([p.square().sum(1).sqrt() for p in parts], 1)
        close(norm.raw[:, k], wanted.detach(), 1e-7)  # scales are in float32


def test_gate_and_norm_read_stage_1_where_it_is_alone() -> None:
    own = fitted(WAYS["stage1_only"])
    gate, norm = (
        contributions(own, asked(), background(), readout=readout)
        for readout in ("gate", "norm")
    )
    (weights,) = own.output(asked()).weights
    close(gate.raw, weights[:, :, 2:])
    close(gate.private, weights[:, :, :2].sum(2))
    close(gate.private, 1 - gate.raw.sum(2))
    close(gate.share, weights[:, :, 2:] / weights[:, :, 2:].sum(2, keepdim=True))
    adapters, blocks = own.model.gates.stage1.adapters, heard(own)[0]
    for i, (adapter, block) in enumerate(zip(adapters, blocks, strict=True)):
        size = adapter(block).square().sum(1).sqrt().detach()
        close(norm.raw[:, :, i], weights[:, :, 2 + i] * size[:, None])


@pytest.mark.parametrize("readout", ["gate", "shapley"])
def test_the_private_share_is_there_with_every_readout(readout: str) -> None:
    for which in ("both", "stage1_only"):
        own = fitted(WAYS[which])
        found = contributions(own, asked(), background(), readout=readout)
        close(found.private, own.output(asked()).weights[0][:, :, :2].sum(2))
    found = contributions(fitted(WAYS["stage2_only"]), asked(), background())
    assert not found.private.any()


@SECOND
def test_grad_block_is_the_slope_at_what_the_task_reads(spec: object) -> None:
    own = fitted(spec)
    leaves = [x.detach() for x in own.model.gates.stage2(*heard(own)).mixed]
    z = of_towers(own, [leaf.requires_grad_() for leaf in leaves])
    found = contributions(own, asked(), background(), readout="grad_block").raw
    for k, leaf in enumerate(leaves):
        (slope,) = torch.autograd.grad(z[:, k].sum(), leaf, retain_graph=True)
        parts = (slope * leaf).detach().split(own.model.experts.dims, dim=1)
        close(found[:, k], torch.stack([part.sum(1) for part in parts], dim=1))


def test_grad_block_behind_stage_1_and_without_a_gate() -> None:
    own = fitted(bare("stage1_only"))
    columns = own.model.columns(own.scaler(asked()))
    blocks, _ = heard(own)
    (mixture, _) = own.model.gates.stage1(columns, blocks)
    leaves = [m.detach().requires_grad_() for m in mixture.mixed]
    z = of_towers(own, leaves)
    found = contributions(own, asked(), background(), readout="grad_block").raw
    said = [a(b) for a, b in zip(own.model.gates.stage1.adapters, blocks, strict=True)]
    for k, leaf in enumerate(leaves):
        (slope,) = torch.autograd.grad(z[:, k].sum(), leaf, retain_graph=True)
        for i in EXPERTS:
            part = mixture.weights[k][:, 2 + i, None] * said[i]
            close(found[:, k, i], (slope * part).sum(1).detach())
    own = fitted(bare("neither"))
    leaves = [block.detach().requires_grad_() for block in heard(own)[0]]
    z = of_towers(own, [torch.cat(leaves, dim=1)] * len(NAMES))
    found = contributions(own, asked(), background(), readout="grad_block").raw
    for k in range(len(NAMES)):
        slopes = torch.autograd.grad(z[:, k].sum(), leaves, retain_graph=True)
        for i, (slope, leaf) in enumerate(zip(slopes, leaves, strict=True)):
            close(found[:, k, i], (slope * leaf).sum(1).detach())


def test_with_both_stages_grad_block_counts_both_ways_of_a_block() -> None:
    """And what other tasks tell: the slope at louder blocks, by differences."""
    own = fitted()
    found = contributions(own, asked(), background(), readout="grad_block").raw
    first, second = own.model.gates.stage1, own.model.gates.stage2
    dims, step = own.model.experts.dims, 1e-5
    for i in EXPERTS:
        sides = []
        for t in (1 + step, 1 - step):
            wide = torch.ones(sum(dims)).double()
            wide[sum(dims[:i]) : sum(dims[: i + 1])] = t
            hooks = [
                second.register_forward_hook(
                    lambda _, __, m, w=wide: m._replace(mixed=[x * w for x in m.mixed])
                ),
                first.adapters[i].register_forward_hook(lambda _, __, x, t=t: t * x),
            ]
            sides.append(by_hand(own, asked(), background(), EXPERTS))
            for hook in hooks:
                hook.remove()
        close(found[:, :, i], (sides[0] - sides[1]) / (2 * step), 1e-7)


@ways
def test_loo_is_two_forwards(which: str) -> None:
    own, batch, others = fitted(WAYS[which]), asked(), background()
    found = contributions(own, batch, others, readout="loo")
    full = by_hand(own, batch, others, EXPERTS)
    for i in EXPERTS:
        without = by_hand(own, batch, others, set(EXPERTS) - {i})
        close(found.raw[:, :, i], full - without)
    close(found.full, full)
    close(found.base, by_hand(own, batch, others, ()))


@SECOND
def test_a_held_gate_weighs_other_blocks_as_before(spec: object) -> None:
    own = fitted(spec)
    blocks, present = heard(own)
    means = [m.mean(0) for m in own.model.experts(own.scaler(background())).blocks]
    stage = own.model.gates.stage2
    weights = stage(blocks, present).weights
    found = contributions(own, asked(), background(), readout="loo", hold_gate=True)
    for i in EXPERTS:
        others = list(blocks)
        others[i] = means[i].expand_as(blocks[i])
        if stage.spec.block_norm == "layer":
            others = [F.layer_norm(b, b.shape[1:]) for b in others]
        inputs = [
            torch.cat([w[:, j, None] * stage.scale[j] * others[j] for j in EXPERTS], 1)
            for w in weights
        ]
        close(found.raw[:, :, i], (found.full - of_towers(own, inputs)).detach(), 1e-9)


def test_stage_1s_gate_is_held_too() -> None:
    own = fitted(bare("stage1_only"))
    blocks, _ = heard(own)
    means = [m.mean(0) for m in own.model.experts(own.scaler(background())).blocks]
    stage, columns = own.model.gates.stage1, own.model.columns(own.scaler(asked()))
    weights = stage(columns, blocks)[0].weights
    found = contributions(own, asked(), background(), readout="loo", hold_gate=True)
    for i in EXPERTS:
        said = [stage.adapters[j](means[j] if j == i else blocks[j]) for j in EXPERTS]
        mine = stage.private(columns)
        inputs = []
        for k, w in enumerate(weights):
            slots = [*mine[2 * k : 2 * k + 2], *said]
            inputs.append(sum(w[:, j, None] * x for j, x in enumerate(slots)))
        close(found.raw[:, :, i], (found.full - of_towers(own, inputs)).detach(), 1e-9)


@ways
@pytest.mark.parametrize("hold_gate", [False, True])
def test_integrated_gradients_are_complete(which: str, hold_gate: bool) -> None:
    own = fitted(WAYS[which])
    found = contributions(own, asked(), background(), readout="ig", hold_gate=hold_gate)
    close(found.gap, torch.zeros_like(found.gap), 1e-8)


def test_a_sparse_gate_jumps_and_the_gap_says_so() -> None:
    found = contributions(fitted(ROUGH["both"]), asked(), background(), readout="ig")
    assert found.gap.abs().max() > 1e-3


def test_integrated_gradients_are_the_mean_slope_on_the_way() -> None:
    """Against the midpoints of 600 short ways, of one task at a time."""
    own, batch, others = fitted(), asked(), background()
    blocks, present = heard(own)
    means = [m.mean(0) for m in own.model.experts(own.scaler(others)).blocks]
    found = contributions(own, batch, others, readout="ig", tasks=["ltv", "channel"])
    best, steps = own.output(batch).logits["channel"].argmax(1), 600
    wanted = torch.zeros(2, len(blocks[0]), len(FOUR)).double()
    for step in range(steps):
        at = (step + 0.5) / steps
        pairs = list(zip(blocks, means, strict=True))
        ways = [(m + at * (b - m)).detach().requires_grad_() for b, m in pairs]
        logits = own.model.answer(own.scaler(batch), ways, present).logits
        odds = [log_odds(logits["channel"][row], int(best[row])) for row in ROWS]
        for k, z in enumerate((logits["ltv"].sum(), torch.stack(odds).sum())):
            slopes = torch.autograd.grad(z, ways, retain_graph=True)
            for i, (slope, (block, mean)) in enumerate(zip(slopes, pairs, strict=True)):
                wanted[k, :, i] += (slope * (block - mean)).sum(1).detach() / steps
    close(found.raw.transpose(0, 1), wanted, 1e-5)
