"""Both stages in loops, each way through them, and who may be switched off."""

import pytest
import torch
from torch import Tensor

from ple_study.gates.attention import CGCAttentionSpec
from ple_study.gates.routing import GateSpec
from ple_study.gates.stages import Stages, StagesSpec
from ple_study.schema import TaskSpec
from tests.gates.test_attention import PRESENT, by_hand, entropy
from tests.gates.test_cgc import EXPERT, in_loops
from tests.gates.test_routing import balance
from tests.sizes import BATCH, DIMS, EXPERTS, TASKS

BLOCKS = dict(zip("abcd", (*DIMS, 5), strict=True))
DIM_IN, WIDE, NARROW = 9, sum(BLOCKS.values()), EXPERT.dims[-1]
PREFERS = (("c", "a"), (), ("b",))
SPECS = tuple(TaskSpec(name=f"t{i}", experts=own) for i, own in enumerate(PREFERS))
GATE = GateSpec(kind="top_k", top_k=2, balance=0.2)
WAYS = {"both": 2, "stage1_only": 1, "stage2_only": 1, "neither": 0}
each = pytest.mark.parametrize("which", WAYS)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def close(found: object, wanted: object) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)


def stages(which: str, stir: bool = True, **options: object) -> Stages:
    """Two private experts a task; all parameters are anything, or as they start."""
    spec = StagesSpec(**{"which": which, "private": 2, "expert": EXPERT} | options)
    found = spec.build(DIM_IN, BLOCKS, SPECS).double()
    for parameter in found.parameters() if stir else ():
        torch.nn.init.normal_(parameter, std=0.4)
    return found


def drawn() -> tuple[Tensor, list[Tensor]]:
    blocks = [torch.randn(BATCH, width).double() for width in BLOCKS.values()]
    return torch.randn(BATCH, DIM_IN).double(), blocks


@each
def test_what_a_task_reads_is_its_formula(which: str) -> None:
    both, (columns, blocks) = stages(which, gate=GATE), drawn()
    found, inputs = both(columns, blocks, PRESENT), [torch.cat(blocks, dim=1)] * TASKS
    weights, asked = [], torch.zeros(()).double()
    if both.stage1:
        inputs, own, scores = in_loops(both.stage1, columns, blocks)
        weights.append(torch.stack(own, dim=1))
        asked = asked + 0.2 * sum(balance(GATE, rows.T) for rows in scores) / TASKS
    if both.stage2:
        mixed, own = by_hand(both.stage2, blocks, PRESENT)
        weights.append(torch.stack(own, dim=1))
        asked = asked + 0.01 * entropy(own)
    if both.bridge:
        w, b = both.bridge.weight, both.bridge.bias
        pairs = zip(mixed, inputs, strict=True)
        inputs = [torch.cat([wide, x @ w.T + b], dim=1) for wide, x in pairs]
    elif both.stage2:
        inputs = mixed
    close(list(found.inputs), inputs)
    close(list(found.weights), weights)
    close(found.penalty.double(), asked)
    assert len(weights) == WAYS[which]
    assert {x.shape for x in found.inputs} == {(BATCH, both.dim)}


def test_the_way_decides_the_width_and_what_there_is_to_learn() -> None:
    widths = {which: stages(which).dim for which in WAYS}
    assert widths == {
        "both": WIDE + 32,
        "stage1_only": NARROW,
        "stage2_only": WIDE,
        "neither": WIDE,
    }
    for which in WAYS:
        names = {name.split(".")[0] for name, _ in stages(which).named_parameters()}
        assert (
            names
            == {
                "both": {"stage1", "stage2", "bridge"},
                "stage1_only": {"stage1"},
                "stage2_only": {"stage2"},
                "neither": set(),
            }[which]
        )


def test_both_start_as_stage_2_alone_and_the_bridge_learns_first() -> None:
    both, (columns, blocks) = stages("both", stir=False), drawn()
    alone = stages("stage2_only", stir=False)
    alone.load_state_dict(
        {k: v for k, v in both.state_dict().items() if k.startswith("stage2")}
    )
    found, wanted = both(columns, blocks, PRESENT), alone(columns, blocks, PRESENT)
    for wide, narrow in zip(found.inputs, wanted.inputs, strict=True):
        assert torch.equal(wide[:, :WIDE], narrow)
        assert not wide[:, WIDE:].any()
    torch.stack([x.sum() for x in found.inputs]).sum().backward()
    assert both.bridge.weight.grad.any()
    assert not any(p.grad.any() for p in both.stage1.parameters())


def test_stage_1_divides_its_scores_unless_told_otherwise() -> None:
    both, (columns, blocks) = stages("stage1_only"), drawn()
    found = both(columns, blocks).weights
    for scaled in (True, False):
        other = stages("stage1_only", stir=False, gate=GateSpec(scaled=scaled))
        other.load_state_dict(both.state_dict())
        same = torch.allclose(other(columns, blocks).weights[0], found[0], atol=1e-6)
        assert same == scaled


def test_stage_2_starts_at_the_tasks_own_preferences() -> None:
    (_, weights), names = stages("both", stir=False)(*drawn()).weights, [*BLOCKS]
    for task, own in enumerate(PREFERS):
        named = [name in own for name in names]
        high = weights[:, task] > 1 / EXPERTS + 1e-6
        assert high.tolist() == [named] * BATCH
    close(weights[:, 1], torch.full((BATCH, EXPERTS), 0.25).double())


def test_who_could_speak_is_stage_2s_affair() -> None:
    both, (columns, blocks) = stages("both"), drawn()
    some, everyone = both(columns, blocks, PRESENT), both(columns, blocks)
    assert torch.equal(some.weights[0], everyone.weights[0])
    silent = ~PRESENT & PRESENT.any(1, keepdim=True)
    assert torch.equal(some.weights[1] == 0, silent[:, None].expand(-1, TASKS, -1))
    assert (everyone.weights[1] > 0).all()


@each
@pytest.mark.parametrize("private", [0, 1])
def test_any_number_of_private_experts(which: str, private: int) -> None:
    found = stages(which, private=private)(*drawn())
    slots = {"stage1_only": [private + EXPERTS], "stage2_only": [EXPERTS]}
    slots |= {"both": [private + EXPERTS, EXPERTS], "neither": []}
    assert [w.shape[2] for w in found.weights] == slots[which]
    for weights in found.weights:
        close(weights.sum(2), torch.ones(BATCH, TASKS).double())


@each
def test_freezing_stops_the_gates_and_what_they_ask_for(which: str) -> None:
    both, read = stages(which, gate=GATE), drawn()
    before = both(*read)
    both.freeze()
    still = {name for name, p in both.named_parameters() if not p.requires_grad}
    gates = {"stage1.gate.linear.weight", "stage2.linear.weight", "stage2.linear.bias"}
    assert still == gates & {name for name, _ in both.named_parameters()}
    after = both(*read)
    assert after.penalty == 0
    assert bool(before.penalty) == (which != "neither")
    for one, other in zip(before.inputs, after.inputs, strict=True):
        assert torch.equal(one, other)


def test_options_of_stage_2_arrive_there() -> None:
    spec = CGCAttentionSpec(missing="default", rescale=False, prior=-1.0)
    both = stages("stage2_only", stir=False, attention=spec)
    assert both.stage2.spec is spec
    weights = both(*drawn(), PRESENT).weights[0]
    assert (weights[:, 2, 1] < weights[:, 2, 0]).all()


@pytest.mark.plain
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"which": "stage2"}, r"which must be one of .*'stage2'.*mean 'stage2_only'\?"),
        ({"private": -1}, "must be 0 or more. Found private=-1"),
        ({"freeze_epoch": -1}, "must be 0 or more.*Found .*freeze_epoch=-1"),
    ],
)
def test_stages_that_cannot_be_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StagesSpec(**options)


def test_a_task_that_prefers_nobody_here_is_refused() -> None:
    tasks = [TaskSpec(name="churn", experts=("temporal",))]
    with pytest.raises(ValueError, match=r"'churn' prefers the expert 'temporal'"):
        StagesSpec(expert=EXPERT).build(DIM_IN, BLOCKS, tasks)


def test_without_a_prior_a_task_may_prefer_whom_it_likes() -> None:
    tasks = [TaskSpec(name="t", experts=("nobody",))]
    spec = StagesSpec(expert=EXPERT, attention=CGCAttentionSpec(prior=0.0))
    both = spec.build(DIM_IN, BLOCKS, tasks)
    assert both.stage2
    assert not both.stage2.linear.bias.any()
