"""A gate that stops learning: in training, in a file, and in a run that was killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ple_study.checkpoint import inside, read
from ple_study.export import load, save
from ple_study.fitted import Fitted
from ple_study.gates.attention import CGCAttention
from ple_study.gates.freeze import Freezable
from ple_study.gates.gate import Gate
from ple_study.gates.routing import GateSpec
from ple_study.model import HeterogeneousPLE
from ple_study.training import Training, fit
from tests.runs import same
from tests.sizes import BATCH, DIMS, TASKS
from tests.test_model import GATES, SPEC, built, fitted, people, study

ROOT = Path(__file__).parents[2]
FROZEN = replace(SPEC, gates=replace(GATES, freeze_epoch=1))
OWN = ("gates.stage1.gate.", "gates.stage2.")
TRAINING = Training(epochs=3, batch_size=32, lr=0.01, schedule="cosine")


def run(**options: object) -> Fitted:
    return fit(study(), FROZEN, training=TRAINING, device="cpu", seed=3, **options)


def gates() -> Iterator[tuple[Freezable, list[Tensor]]]:
    """Each kind, and what it reads."""
    yield (
        Gate(DIMS[0], [[0, 1], [1]], GateSpec(bias=True, norm=True)),
        [
            torch.randn(BATCH, DIMS[0]),
            torch.randn(BATCH, 2, DIMS[1]),
        ],
    )
    yield (
        CGCAttention(DIMS, torch.zeros(TASKS, 3)),
        [[torch.randn(BATCH, width) for width in DIMS]],
    )


def learning(gate: Freezable) -> set[bool]:
    return {p.requires_grad for p in gate.parameters()}


def test_a_frozen_gate_has_no_gradient_and_may_learn_again() -> None:
    for gate, reads in gates():
        sum(x.square().sum() for x in gate(*reads).mixed).backward()
        gate.freeze()
        assert (gate.learns, gate.frozen.item()) == (False, True)
        assert learning(gate) == {False}
        assert all(p.grad is None for p in gate.parameters())
        gate.freeze(on=False)
        assert (gate.learns, gate.frozen.item()) == (True, False)
        assert learning(gate) == {True}


def test_the_flag_goes_with_the_weights() -> None:
    for (one, _), (other, _) in zip(gates(), gates(), strict=True):
        state = {name: value.clone() for name, value in one.state_dict().items()}
        one.freeze()
        other.load_state_dict(one.state_dict())
        assert (other.learns, learning(other)) == (False, {False})
        other.load_state_dict(state)
        assert (other.learns, learning(other)) == (True, {True})


def test_frozen_weights_are_no_constant_gate() -> None:
    model, batch = built(), people()
    model.gates.freeze()
    before = model(batch).weights
    with torch.no_grad():
        for parameter in model.experts.parameters():
            parameter.mul_(1.5)
    for one, other in zip(before, model(batch).weights, strict=True):
        assert not torch.equal(one, other)


def test_gates_alone_are_frozen() -> None:
    model = built()
    model.gates.freeze()
    still = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert still == {n for n, _ in model.named_parameters() if n.startswith(OWN)}
    assert len(still) == 3


def test_what_is_frozen_stays_as_it_is_while_the_rest_learns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin, seen, asked = HeterogeneousPLE.begin_epoch, [], []

    def watched(model: HeterogeneousPLE, epoch: int) -> None:
        begin(model, epoch)
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        asked.append(float(model(people()).penalty.detach()))

    monkeypatch.setattr(HeterogeneousPLE, "begin_epoch", watched)
    run()
    names = [name for name, _ in built(FROZEN).named_parameters()]
    moved = [
        {name for name in names if not torch.equal(one[name], other[name])}
        for one, other in pairwise(seen)
    ]
    own = {name for name in names if name.startswith(OWN)}
    assert moved[0] >= {name for name in names if "absent" not in name}
    assert moved[1] == moved[0] - own
    assert [value != 0 for value in asked] == [True, False, False]


def test_a_saved_model_stays_frozen(tmp_path: Path) -> None:
    before = fitted(FROZEN)
    before.model.begin_epoch(1)
    save(before, tmp_path)
    after = load(tmp_path).model
    assert not after.gates.stage1.gate.learns
    assert not after.gates.stage2.learns
    assert after.experts.absent["lightgcn"].requires_grad
    save(fitted(FROZEN), tmp_path)
    assert load(tmp_path).model.gates.stage2.learns


KILLED = """
import os, signal, sys
from ple_study.learner import Learner
from tests.gates.test_freeze import run

step, calls = Learner.training_step, 0

def until_killed(*args):
    global calls
    calls += 1
    if calls == {calls}:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*args)

Learner.training_step = until_killed
run(folder=sys.argv[1])
"""


def test_a_run_killed_after_the_freeze_ends_as_if_nothing_had_happened(
    tmp_path: Path,
) -> None:
    whole = run()
    steps = len(study().split["train"]) // 32 + 1
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(calls=2 * steps + 2), str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    tensors, meta = read(tmp_path / "checkpoint.safetensors")
    assert len(meta["history"]) == 2
    assert inside(tensors, "model")["gates.stage2.frozen"]
    resumed = run(folder=tmp_path, resume=True)
    assert len(resumed.history) == TRAINING.epochs
    assert same(resumed, whole)
    kept = whole.model.gates.stage2
    assert kept.frozen == (whole.best_epoch > 1)
    assert kept.learns == (whole.best_epoch == 1)


def test_what_others_stopped_stays_stopped_and_a_part_of_the_weights_thaws_nobody() -> (
    None
):
    for gate, _ in gates():
        gate.requires_grad_(False)
        gate.load_state_dict(gate.state_dict())
        assert learning(gate) == {False}
        gate.requires_grad_(True)
        gate.freeze()
        gate.load_state_dict({}, strict=False)
        assert gate.frozen
        assert learning(gate) == {False}
        older = {k: v for k, v in gate.state_dict().items() if k != "frozen"}
        gate.load_state_dict(older)
        assert learning(gate) == {True}
