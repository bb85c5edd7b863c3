"""What moves which answer of the whole model, and what nobody is asked for."""

from dataclasses import replace

import pytest
import torch

from ple_study.gates.attention import CGCAttentionSpec
from ple_study.gates.stages import StagesSpec
from tests.sizes import BATCH, TASKS
from tests.tasks.test_transfer_claims import same_towers
from tests.test_model import (
    EVEN,
    FOUR,
    GATES,
    SCHEMA,
    SPEC,
    SPECS,
    built,
    close,
    people,
)

HEARS = {"ctr": {"ctr", "ltv", "channel"}, "ltv": {"ltv", "channel"}}


@pytest.mark.parametrize("transfer", [True, False])
def test_tasks_hear_their_own_mode_and_what_is_told_them(transfer: bool) -> None:
    model, batch = built(SPEC if transfer else SPECS["no transfer"]), people()
    before = model(batch).logits
    for mode, task in enumerate(("ctr", "ltv", "channel")):
        states = batch.states.clone()
        states[0, mode] += 1
        after = model(replace(batch, states=states)).logits
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved == (HEARS.get(task, {task}) if transfer else {task})


@pytest.mark.parametrize("name", ["both", "form B", "per_cluster"])
def test_another_cluster_moves_all_of_a_customers_answers_and_nobody_elses(
    name: str,
) -> None:
    model, batch = built(SPECS[name]), people()
    clusters = batch.clusters.clone()
    clusters[2] = clusters[2].roll(1)
    found = model(replace(batch, clusters=clusters)).logits
    for logits, other in zip(found.values(), model(batch).logits.values(), strict=True):
        moved = (logits != other).any(1)
        assert moved.tolist() == [row == 2 for row in range(BATCH)]


@pytest.mark.parametrize("name", ["both", "form B"])
def test_without_clusters_none_are_read(name: str) -> None:
    model, batch = built(SPECS[name]), people()
    nobody = torch.full_like(batch.clusters, torch.nan)
    found, wanted = (
        model(replace(batch, clusters=own)).logits for own in (None, nobody)
    )
    close(found, wanted, 0)
    plain = built(SPECS[name], schema=replace(SCHEMA, clusters=0))
    close(plain(batch).logits, plain(replace(batch, clusters=None)).logits, 0)
    assert not any("embedding" in n for n, p in plain.named_parameters() if p.numel())


def test_a_model_that_starts_is_one_without_transfer() -> None:
    """To the bit, with the same weights elsewhere."""
    model, plain = (built(spec, stir=False) for spec in (SPEC, SPECS["no transfer"]))
    elsewhere = {
        name: value
        for name, value in model.state_dict().items()
        if not name.startswith("towers")
    }
    assert not plain.load_state_dict(elsewhere, strict=False).unexpected_keys
    same_towers(model.towers, plain.towers)
    found, wanted = (own(people()).logits for own in (model, plain))
    close(found, wanted, 0)
    moved = built(SPEC)(people()).logits
    assert not torch.equal(moved["ltv"], found["ltv"])


def test_without_states_everybody_has_none() -> None:
    model, batch = built(), people()
    nobody = torch.full_like(batch.states, torch.nan)
    found, wanted = (model(replace(batch, states=s)).logits for s in (None, nobody))
    close(found, wanted, 1e-7)
    unread = built(SPECS["no modes"])
    close(unread(replace(batch, states=None)).logits, unread(batch).logits, 0)


def test_where_the_schema_has_no_states_none_are_read() -> None:
    model = built(schema=replace(SCHEMA, states=(0, 0)))
    assert model.modes is None
    close(model(people()).logits, built(SPECS["no modes"])(people()).logits, 0)


@pytest.mark.parametrize("missing", ["mask", "default"])
def test_who_lacks_what_an_expert_reads_is_answered_all_the_same(missing: str) -> None:
    attention = CGCAttentionSpec(missing=missing)
    spec = replace(SPEC, gates=replace(GATES, attention=attention))
    model, batch = built(spec), people()
    output = model(batch)
    for place, lacks in ((1, 1), (2, 3)):
        absent = model.experts.absent[list(FOUR)[place]]
        assert torch.equal(output.experts[place][lacks], absent)
        silent = (torch.arange(BATCH) == lacks) & (missing == "mask")
        unheard = output.weights[1][:, :, place] == 0
        assert torch.equal(unheard, silent[:, None].expand(-1, TASKS))
    close(output.weights[1].sum(2), torch.ones(BATCH, TASKS))
    assert all(z.isfinite().all() for z in output.logits.values())


def test_a_customer_of_whom_nobody_can_speak_is_answered_by_what_was_learned() -> None:
    experts = {name: FOUR[name] for name in ("lightgcn", "unified_hgcn")}
    spec = replace(SPEC, experts=experts, gates=StagesSpec(which="stage2_only"))
    model, batch = built(spec, stir=False, schema=EVEN), people()
    batch.vectors["hierarchy"][1] = torch.nan
    (weights,), blocks, *_ = model(batch)[1:]
    wanted = torch.full((BATCH, TASKS, 2), 0.5)
    wanted[3] = torch.tensor([1.0, 0.0])
    close(weights, wanted)
    assert not torch.cat(blocks, dim=1)[1].any()


@pytest.mark.parametrize("stage", [0, 1])
def test_another_gate_moves_report_and_prediction_of_its_task(stage: int) -> None:
    model, batch = built(), people()
    before = model(batch)
    name = ("gates.stage1.gate.linear.weight", "gates.stage2.linear.weight")[stage]
    slots = before.weights[stage].shape[2]
    with torch.no_grad():
        model.get_parameter(name)[slots : 2 * slots] *= -2
    after = model(batch)
    moved = (before.weights[stage] != after.weights[stage]).any(2).any(0)
    assert moved.tolist() == [False, True, False]
    assert torch.equal(before.weights[1 - stage], after.weights[1 - stage])
    moved = [not torch.equal(before.logits[k], after.logits[k]) for k in before.logits]
    assert moved == [False, True, False]


def test_slots_of_stage_2_are_the_experts_in_the_specs_order() -> None:
    model = built(stir=False)
    weights = model(people()).weights[1][0]
    for task, own in zip(SCHEMA.tasks, weights, strict=True):
        high = [name in task.experts for name in FOUR]
        assert ((own > 0.26).tolist()) == high
