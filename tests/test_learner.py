"""One step of training: who decays, how fast who learns, and what is reported."""

import math
from dataclasses import replace

import pytest
import torch

from ple_study.baselines import MMoESpec, PLESpec
from ple_study.experts.mlp import MLPSpec
from ple_study.experts.temporal.expert import TemporalExpert
from ple_study.experts.temporal.streams import StreamSpec
from ple_study.gates.routing import GateSpec
from ple_study.learner import Learner, Training, decay_groups
from ple_study.objective.weighting import FixedWeightingSpec, UncertaintyWeightingSpec
from ple_study.start import Frozen
from tests.studies import SCHEMA, mixed

EXPERT = MLPSpec(dims=(8, 7), norm="layer")
SPEC = PLESpec(
    expert=EXPERT, tower=replace(EXPERT, norm="batch"), gate=GateSpec(norm=True)
)


PLAIN, LEARNED = FixedWeightingSpec(), UncertaintyWeightingSpec(lr_factor=30.0)
USUAL = Training()


def learner(weighting=LEARNED, training=USUAL, frozen=()):
    model, weights = SPEC.build(SCHEMA), weighting.build(SCHEMA.tasks)
    return Learner(SCHEMA, model, weights, training, steps=20, frozen=frozen)


def test_the_learning_rate_warms_up_and_falls_to_zero():
    cosine = Training(schedule="cosine")
    factors = [cosine.factor(step / 1000) for step in range(1001)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[50] == pytest.approx(1)
    assert factors[525] == pytest.approx(0.5)
    assert factors[1000] == pytest.approx(0)
    assert factors[:51] == sorted(factors[:51])
    assert factors[50:] == sorted(factors[50:], reverse=True)
    assert max(factors) <= 1
    assert {Training().factor(step / 10) for step in range(10)} == {1.0}


def test_products_and_embeddings_decay_biases_and_norms_do_not():
    model = MMoESpec(
        experts=3, expert=EXPERT, gate=GateSpec(norm=True, bias=True)
    ).build(SCHEMA)
    names = {id(p): name for name, p in model.named_parameters()}
    decaying, spared = decay_groups(model, 0.3)
    assert (decaying["weight_decay"], spared["weight_decay"]) == (0.3, 0.0)
    first, second = ({names[id(p)] for p in g["params"]} for g in (decaying, spared))
    assert first | second == set(names.values())
    assert not first & second
    assert {n for n in names.values() if n.endswith("bias")} <= second
    assert {n for n in names.values() if "norm" in n} <= second
    assert all("norm" in n for n in second if not n.endswith("bias"))
    assert any("tables" in name for name in first)


@pytest.mark.parametrize("scan", ["ssd", "mamba1"])
def test_rates_and_scales_of_an_expert_do_not_decay(scan):
    expert = TemporalExpert({"series": StreamSpec(channels=3, scan=scan)})
    decaying, spared = decay_groups(expert, 0.3)
    kept = {id(p) for p in spared["params"]}
    names = {name for name, p in expert.named_parameters() if id(p) in kept}
    assert {"log_rate", "skip", "log_scale"} <= {n.split(".")[-1] for n in names}
    assert all(p.ndim > 1 for p in decaying["params"])


def test_what_the_weighting_learns_has_its_own_rate():
    own = learner(LEARNED, Training(lr=0.01))
    *model, learned = own.configure_optimizers().param_groups
    assert learned["params"] == list(own.weighting.parameters())
    assert (learned["lr"], learned["weight_decay"]) == (pytest.approx(0.3), 0.0)
    assert {group["lr"] for group in model} == {0.01}
    assert len(learner(PLAIN).configure_optimizers().param_groups) == 2


def test_what_is_frozen_is_in_no_optimiser_and_is_not_clipped():
    own = learner(frozen=("tabular", "levels.0.shared"))
    optimiser = own.configure_optimizers()
    held = {id(p) for group in optimiser.param_groups for p in group["params"]}
    clipped = {id(p) for part in own.clipped for p in part}
    still = ("model.tabular", "model.levels.0.shared")
    free = {id(p) for n, p in own.named_parameters() if not n.startswith(still)}
    assert held == clipped == free
    assert len(free) < len(list(own.parameters()))
    assert {id(p) for p in own.weighting.parameters()} <= held
    assert {id(p) for p in own.shared} == {
        id(p) for p in own.model.levels[1].get_submodule("shared").parameters()
    }


def test_a_frozen_weight_does_not_decay_even_of_a_gradient_of_zeros():
    own = learner(training=Training(weight_decay=0.5), frozen=("levels",))
    optimiser = own.configure_optimizers()
    before = {n: p.detach().clone() for n, p in own.model.named_parameters()}
    for parameter in own.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    moved = {n for n, p in own.model.named_parameters() if not p.equal(before[n])}
    assert "towers.heads.0.weight" in moved
    assert not {n for n in moved if n.startswith("levels")}


def test_a_gate_that_stops_later_stays_in_the_optimiser():
    own = learner()
    everything = set(map(id, own.parameters()))
    own.model.levels[0].requires_grad_(False)
    held = [
        p for group in own.configure_optimizers().param_groups for p in group["params"]
    ]
    assert set(map(id, held)) == everything


def test_an_epoch_begins_with_frozen_parts_in_eval_mode():
    own = learner(frozen=("levels.0",))
    for _ in range(2):
        own.model.train()  # as after an evaluation
        own.on_train_epoch_start()
        still = {m for m in own.modules() if not m.training}
        assert still == set(own.model.levels[0].modules())
        own.model.levels[0].requires_grad_(True)
    own.on_train_epoch_start()
    learning = {n for n, p in own.model.named_parameters() if p.requires_grad}
    assert not {n for n in learning if n.startswith("levels.0")}
    assert {n for n in learning if n.startswith("levels.1")}
    own.frozen.release()
    assert all(p.requires_grad for p in own.parameters())


def test_names_of_no_module_and_a_model_without_a_rest_are_refused():
    model = SPEC.build(SCHEMA)
    with pytest.raises(
        ValueError,
        match=r"\['tabular', 'levels', 'towers'\] or parts of them. "
        r"Found 'levels.0.shred'. Did you mean 'levels.0.shared'\?",
    ):
        Frozen(model, ["levels.0.shred"])
    for name in ("", "levels.0.shared.layers.0.weight"):
        with pytest.raises(ValueError, match=f"Found '{name}'"):
            Frozen(model, [name])
    with pytest.raises(ValueError, match="Found the word 'levels'"):
        Frozen(model, "levels")
    with pytest.raises(ValueError, match=r"learns. Found none beside.*'towers'"):
        Frozen(model, ["tabular", "levels", "towers"])


@pytest.mark.parametrize("clip", [0.01, 1e6])
def test_the_gradient_of_everything_together_is_clipped(clip):
    own = learner(training=Training(clip=clip))
    optimiser = own.configure_optimizers()
    rows = mixed().part("train")
    own.training_step(rows, 0).backward()
    before = [p.grad.clone() for p in own.parameters() if p.grad is not None]
    norm = torch.stack([grad.square().sum() for grad in before]).sum().sqrt()
    assert 0.01 < norm < 1e6
    own.configure_gradient_clipping(optimiser)
    after = [p.grad for p in own.parameters() if p.grad is not None]
    factor = min(1.0, clip / float(norm))
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old * factor, rtol=1e-4, atol=1e-9)


def test_the_step_adds_what_the_model_asks_for():
    own = learner(PLAIN).eval()
    rows = mixed().part("train")
    plain = own.training_step(rows, 0)
    own.model.penalty_of = lambda batch: 3.0 * len(batch)
    torch.testing.assert_close(own.training_step(rows, 0), plain + 3 * len(rows))


def test_reported_losses_are_raw_means_over_the_batches_that_observed_the_task():
    own = learner(PLAIN).eval()
    rows = mixed().part("train")
    blind = replace(
        rows, labels=rows.labels | {"spend": torch.full((len(rows),), torch.nan)}
    )
    own.training_step(rows, 0)
    alone = own.losses()
    own.training_step(rows, 0)
    own.training_step(blind, 1)
    both = own.losses()
    assert both["spend"] == pytest.approx(alone["spend"])
    assert both["brand"] == pytest.approx(alone["brand"])
    assert set(own.losses().values()) == {0.0}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("epochs", 0), ("batch_size", 0), ("patience", 0), ("lr", 0.0)),
        *(("lr", math.inf), ("clip", -1.0), ("clip", math.nan)),
        *(("weight_decay", -0.1), ("weight_decay", math.nan)),
    ],
)
def test_training_options_out_of_range_are_named(option, value):
    with pytest.raises(ValueError, match=rf"{option} >.*Found .*{value}"):
        Training(**{option: value})
    assert Training(clip=math.inf).clip == math.inf


@pytest.mark.plain
def test_an_unknown_schedule_is_named():
    with pytest.raises(ValueError, match="Found 'linear'"):
        Training(schedule="linear")
