"""How the whole model is trained: what is asked of it, frozen, shared and decayed."""

from dataclasses import replace

import pytest

from ple_study.learner import Learner, Training, decay_groups
from ple_study.model import HeterogeneousPLESpec
from ple_study.objective.conflict import module_gradients
from ple_study.objective.losses import task_losses
from ple_study.objective.weighting import FixedWeightingSpec
from tests import laws
from tests.gates.test_attention import by_hand as recoloured
from tests.gates.test_attention import entropy
from tests.gates.test_cgc import in_loops
from tests.gates.test_routing import balance
from tests.sizes import TASKS
from tests.test_model import (
    FOUR,
    GATE,
    GATES,
    SCHEMA,
    SPEC,
    SPECS,
    built,
    close,
    each,
    people,
    rows,
)


def learner(spec: HeterogeneousPLESpec, **options: int) -> Learner:
    weighting = FixedWeightingSpec().build(SCHEMA.tasks)
    return Learner(SCHEMA, built(spec), weighting, Training(**options), steps=20)


def test_the_loss_is_that_of_the_tasks_and_what_experts_and_gates_ask_for() -> None:
    own, part = learner(SPEC), rows(40)
    model = own.model.double().train()
    part = replace(part, batch=laws.double(part.batch))
    output = model(part.batch)
    losses = task_losses(SCHEMA.tasks, output.logits, part.labels, part.weights)
    blocks, present = model.experts(part.batch)
    columns = model.columns(part.batch)
    _, _, scores = in_loops(model.gates.stage1, columns, blocks)
    _, weights = recoloured(model.gates.stage2, blocks, present)
    asked = 0.2 * sum(balance(GATE, s.T) for s in scores) / TASKS
    asked = asked + 0.01 * entropy(weights)
    causal = model.experts.experts["causal"].penalty_of(part.batch)
    assert causal > 0
    close(model.penalty_of(part.batch), causal)
    wanted = own.weighting(losses) + causal + asked
    close(own.training_step(part, 0).double(), wanted.double())
    plain = own.weighting(losses) + causal
    assert abs(wanted - plain) > 0.01
    assert model.eval()(part.batch).penalty == 0


@pytest.mark.parametrize("freeze_epoch", [0, 1, 2])
def test_gates_freeze_when_so_many_epochs_are_over(freeze_epoch: int) -> None:
    spec = replace(SPEC, gates=replace(GATES, freeze_epoch=freeze_epoch))
    own, part = learner(spec, epochs=4), people()
    own.model.train()
    for epoch in range(4):
        own.done = 5 * epoch
        own.on_train_epoch_start()
        still = 0 < freeze_epoch <= epoch
        assert own.model.gates.stage1.gate.learns != still
        assert own.model.gates.stage2.learns != still
        assert bool(own.model(part).penalty) != still


def test_shared_parameters_are_those_of_the_experts() -> None:
    model = built()
    shared = {id(p) for p in model.shared_parameters()}
    names = {name for name, p in model.named_parameters() if id(p) in shared}
    assert names == {n for n, _ in model.named_parameters() if n.startswith("experts")}


def test_what_is_learned_of_the_absent_and_a_norms_gain_do_not_decay() -> None:
    model = built()
    spared = {id(p) for p in decay_groups(model, 0.3)[1]["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in spared}
    assert {"modes.absent", "modes.gain", "modes.linear.bias"} <= names
    assert {f"experts.absent.{name}" for name in FOUR} <= names
    assert {"basket.head.bias", "basket.encoder.layers.0.bias"} <= names
    assert {f"towers.receivers.0.branches.0.{i}.bias" for i in (0, 1, 3)} <= names
    decayed = {"gates.stage1.gate.linear.weight", "modes.linear.weight"}
    decayed |= {"basket.shift", "basket.embedding.weight", "basket.head.weight"}
    assert not decayed & names
    assert decayed <= {name for name, _ in model.named_parameters()}


@each
def test_shared_modules_share_no_parameter(spec: HeterogeneousPLESpec) -> None:
    model = built(spec)
    modules = model.shared_modules()
    form = spec.basket.form if spec.basket else None
    own = ["basket"] if form in ("A", "B") else []
    own += ["modes"] if spec.modes else []
    assert list(modules) == [*spec.experts, *own]
    names = {id(p): name for name, p in model.named_parameters()}
    found = {k: {names[id(p)] for p in part} for k, part in modules.items()}
    assert sum(map(len, found.values())) == sum(map(len, modules.values()))
    assert len(set().union(*found.values())) == sum(map(len, found.values()))
    for name in spec.experts:
        whole = {n for n in names.values() if n.startswith(f"experts.experts.{name}.")}
        assert found[name] == whole != set()
    if own[:1] == ["basket"]:
        parts = {name.split(".")[1] for name in found["basket"]}
        assert parts == ({"encoder", "shift", "head"} if form == "A" else {"encoder"})
    if spec.modes:
        whole = {name for name in names.values() if name.startswith("modes.")}
        assert found["modes"] == whole


def test_only_those_of_a_group_meet_in_the_basket() -> None:
    model, part = built(SPECS["no transfer"]), rows(40)
    gradients = module_gradients(model, part, SCHEMA.tasks)
    assert list(gradients) == list(model.shared_modules())
    products = gradients["basket"] @ gradients["basket"].T
    meet = products != 0  # ctr and ltv are of one group, channel is of another
    wanted = [[True, False, True], [False, True, False], [True, False, True]]
    assert meet.tolist() == wanted


def test_a_stage_whose_default_is_fixed_shares_what_learns() -> None:
    modes = replace(SPEC.modes, learned=False)
    model = built(replace(SPEC, modes=modes))
    shared = {id(p) for p in model.shared_modules()["modes"]}
    names = {name for name, p in model.named_parameters() if id(p) in shared}
    assert names == {"modes.linear.weight", "modes.linear.bias", "modes.gain",
                     "modes.bias"}  # fmt: skip


@pytest.mark.plain
@pytest.mark.parametrize("experts", [{"deepfm": 3}, ["deepfm"]])
def test_experts_that_are_no_specs_are_refused(experts: object) -> None:
    with pytest.raises(ValueError, match=r"specs by name, such as .*deepfm.*Found"):
        HeterogeneousPLESpec(experts=experts)


@pytest.mark.plain
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experts": {"basket": FOUR["deepfm"]}},
         r"'basket' and 'modes' are no expert's. Found \['basket'\]"),
        ({"modes": "none"}, "modes must be a ModesSpec or None. Found 'none'"),
        ({"basket": SPEC.modes}, r"basket must be a BasketSpec or None. Found Modes"),
        ({"transfer": {}}, r"transfer must be a TransferSpec or None. Found \{\}"),
    ],
)  # fmt: skip
def test_stages_that_are_none_of_theirs_are_refused(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        HeterogeneousPLESpec(**options)
