"""How evidential heads are trained: apart from the main path, after all weighting."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from ple_study.fitted import Fitted
from ple_study.learner import Learner, apart
from ple_study.model import HeterogeneousPLESpec
from ple_study.objective.evidence import evidence_losses
from ple_study.objective.losses import task_losses
from ple_study.objective.weighting import FixedWeightingSpec
from ple_study.schema import Schema
from ple_study.tasks.evidential import EvidentialSpec
from ple_study.training import Training, fit
from tests.test_model import (
    BASKET,
    ENCODER,
    EVEN,
    SCHEMA,
    SPEC,
    built,
    close,
    rows,
    study,
)
from tests.test_model_evidential import BESIDE, PLACES, each

NOISY = replace(
    SPEC,
    tower=replace(SPEC.tower, dropout=0.3),
    basket=replace(BASKET, encoder=replace(ENCODER, dropout=0.2)),
)


def train(spec: HeterogeneousPLESpec, **options: object) -> Fitted:
    training = Training(epochs=3, batch_size=16, lr=0.01, clip=0.05)
    return fit(study(), spec, training=training, device="cpu", **options)


@pytest.fixture(scope="module")
def without() -> Fitted:
    return train(NOISY)


def same(spec: HeterogeneousPLESpec, without: Fitted) -> bool:
    """Whether a run with heads leaves every bit of the rest where it is without."""
    found, wanted = train(spec), without.model.state_dict()
    state = found.model.state_dict()
    assert {n for n in state if n not in wanted} == {
        f"evidence.maps.{i}.{part}" for i in (0, 1) for part in ("weight", "bias")
    }
    return found.history == without.history and all(
        torch.equal(state[name], tensor) for name, tensor in wanted.items()
    )


def test_detached_heads_do_not_move_the_main_path(without: Fitted) -> None:
    """Claim 66, with dropout and a gradient that is clipped at every step."""
    assert same(replace(NOISY, evidential=BESIDE), without)
    assert not same(replace(NOISY, evidential=EvidentialSpec(detach=False)), without)


def test_heads_start_apart_and_learn() -> None:
    spec = replace(NOISY, evidential=BESIDE)
    start, other = built(spec, stir=False), built(NOISY, stir=False)
    for name, tensor in other.state_dict().items():
        assert torch.equal(start.state_dict()[name], tensor), name
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        NOISY.build(SCHEMA)
        after = torch.rand(1)
        torch.manual_seed(0)
        spec.build(SCHEMA)
        assert torch.equal(torch.rand(1), after)


@each
def test_only_detached_heads_are_clipped_apart(spec: HeterogeneousPLESpec) -> None:
    model = built(spec)
    names = {id(p): name for name, p in model.named_parameters()}
    parts = [
        {names[id(p)] for p in part} for part in apart(model, [*model.parameters()])
    ]
    heads = {name for name in names.values() if name.startswith("evidence.")}
    rest = set(names.values()) - heads
    wanted = [rest, heads] if spec.evidential.detached else [rest | heads]
    assert parts == wanted


def learner(spec: HeterogeneousPLESpec, schema: Schema = SCHEMA) -> Learner:
    weighting = FixedWeightingSpec().build(schema.tasks)
    model = built(spec, schema=schema)
    return Learner(schema, model, weighting, Training(epochs=8), steps=40)


@pytest.mark.parametrize("name", ["beside", "instead"])
def test_the_loss_has_that_of_the_evidence_after_weighting(name: str) -> None:
    tasks = tuple(replace(task, weight=0.1 + i) for i, task in enumerate(EVEN.tasks))
    schema, spec = replace(EVEN, tasks=tasks), PLACES[name]
    own, part = learner(spec, schema), rows(40)
    model = own.model.eval()
    weights = {"ctr": torch.arange(40.0)}
    part = replace(part, weights=weights)
    output = model(part.batch)
    tasks_own = task_losses(tasks, output.logits, part.labels, weights)
    rest = own.weighting(tasks_own) + model.penalty_of(part.batch)
    ask = partial(evidence_losses, tasks, output.evidence, part.labels, weights)
    seen = []
    for epoch in range(7):
        own.done = 5 * epoch
        own.on_train_epoch_start()
        model.eval()
        wanted = ask(spec=spec.evidential, epoch=epoch).values.sum()
        close(own.training_step(part, 0) - rest, wanted, 1e-5)
        seen.append(wanted.item())
    end = spec.evidential.anneal
    assert len(set(seen)) == min(end, 6) + 1
    reported = own.losses()
    assert list(reported) == list(SCHEMA.task_names)
    assert list(reported.values()) == pytest.approx(tasks_own.values.tolist())


@each
def test_half_precision_costs_and_pulls_finitely(spec: HeterogeneousPLESpec) -> None:
    own, part = learner(spec), rows(40)
    own.model.train()
    with torch.autocast("cpu", torch.bfloat16):
        output = own.model(part.batch)
        assert all(e.dtype == torch.float32 for e in output.evidence.values())
        given = SCHEMA.tasks, output.evidence, part.labels
        inside = evidence_losses(*given, spec=spec.evidential, epoch=9).values
        loss = own.training_step(part, 0)
    outside = evidence_losses(*given, spec=spec.evidential, epoch=9).values
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)
    loss.backward()
    for name, parameter in own.model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
