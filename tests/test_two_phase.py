"""Phase 2 trains the head alone, and no kill changes what either phase answers."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from ple_study import two_phase
from ple_study.baselines import PLESpec, SingleTaskSpec
from ple_study.checkpoint import read
from ple_study.data.loader import Scaler
from ple_study.experts.mlp import MLPSpec
from ple_study.fitted import Fitted
from ple_study.gates.routing import GateSpec
from ple_study.learner import Training
from ple_study.objective.weighting import (
    FixedWeighting,
    FixedWeightingSpec,
    UncertaintyWeightingSpec,
)
from ple_study.training import fit
from ple_study.two_phase import Phases, TwoPhase, fit_two_phase
from tests.runs import same
from tests.studies import SCHEMA, mixed

ROOT = Path(__file__).parents[1]
NOISY = MLPSpec(dims=(8, 7), norm="batch", dropout=0.2)
TOWER = MLPSpec(dims=(6,), dropout=0.1)
SPEC = PLESpec(levels=1, expert=NOISY, tower=TOWER, gate=GateSpec(norm=True, bias=True))
BODY = ("tabular", "levels")
FIRST = Training(epochs=3, batch_size=32, lr=0.01)
SECOND = Training(epochs=3, batch_size=32, lr=0.02, schedule="cosine")
PHASES = TwoPhase(first=FIRST, second=SECOND, frozen=BODY)
STEPS = 6  # an epoch


def run(**changes) -> Phases:
    options = {
        "phases": PHASES,
        "weighting": UncertaintyWeightingSpec(),
        "seed": 5,
        "device": "cpu",
    }
    return fit_two_phase(mixed(), SPEC, **(options | changes))


@pytest.fixture(scope="module")
def whole() -> Phases:
    return run()


def test_the_recipe_is_two_fits(whole):
    learned = UncertaintyWeightingSpec()
    common = {"weighting": learned, "seed": 5, "device": "cpu"}
    first = fit(mixed(), SPEC, training=FIRST, **common)
    again = {"training": SECOND, "start": first, "frozen": BODY, **common}
    assert same(whole.first, first)
    assert same(whole.second, fit(mixed(), SPEC, **again))
    assert [len(phase.history) for phase in whole] == [3, 3]
    assert [entry["epoch"] for entry in whole.second.history] == [1, 2, 3]
    fixed = FixedWeightingSpec()
    other = run(second_weighting=fixed)
    assert same(other.first, first)
    assert same(other.second, fit(mixed(), SPEC, **(again | {"weighting": fixed})))
    assert not same(other.second, whole.second)


def test_the_head_alone_has_moved(whole):
    first, second = (phase.model.state_dict() for phase in whole)
    still = {k for k in first if torch.equal(first[k], second[k])}
    assert still >= {name for name in first if name.startswith(BODY)}
    assert not {k for k in still if k.startswith("towers") and "weight" in k}
    batch = mixed().rows.batch
    before, after = (phase.output(batch) for phase in whole)
    for name in ("weights", "experts"):
        assert all(map(torch.equal, getattr(before, name), getattr(after, name)))
    assert not torch.equal(before.logits["churn"], after.logits["churn"])


KILLED = """
import os, signal, sys
from {module} import {owner}
from tests.test_two_phase import run

whole, calls = {owner}.{name}, 0

def until_killed(*args, **options):
    global calls
    calls += 1
    if calls == {calls}:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*args, **options)

{owner}.{name} = until_killed
run(folder=sys.argv[1])
"""
STEP = {"module": "ple_study.learner", "owner": "Learner", "name": "training_step"}
WRITE = {"module": "ple_study.checkpoint", "owner": "Path", "name": "replace"}


@pytest.mark.parametrize(
    ("place", "epochs"),
    [
        ({**STEP, "calls": 2 * STEPS + 4}, [2, None]),
        # Before the move of the first file of phase 2: phase 1 has written four.
        ({**WRITE, "calls": 5}, [3, None]),
        ({**STEP, "calls": 3 * STEPS + 2 * STEPS + 4}, [3, 2]),
    ],
    ids=["first", "between", "second"],
)
def test_a_killed_run_goes_on_in_the_phase_it_was_in(tmp_path, whole, place, epochs):
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(**place), str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    files = [tmp_path / name / "checkpoint.safetensors" for name in ("first", "second")]
    found = [len(read(f)[1]["history"]) if f.exists() else None for f in files]
    assert found == epochs
    resumed = run(folder=tmp_path, resume=True)
    assert all(map(same, resumed, whole))
    assert all(map(same, run(folder=tmp_path, resume=True), whole))


def test_a_folder_is_of_one_run_in_both_phases(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="needs the folder"):
        run(resume=True)
    with pytest.raises(ValueError, match=r"first.*Found no such file"):
        run(folder=tmp_path, resume=True)
    run(folder=str(tmp_path))
    other = replace(PHASES, frozen=("levels",))
    with pytest.raises(ValueError, match=r"second.*Found another frozen\."):
        run(folder=tmp_path, resume=True, phases=other)
    fixed = FixedWeightingSpec()
    with pytest.raises(ValueError, match=r"second.*Found another weighting\."):
        run(folder=tmp_path, resume=True, second_weighting=fixed)
    (tmp_path / "first" / "checkpoint.safetensors").unlink()
    monkeypatch.setattr(two_phase, "fit", None)  # refused before phase 1 begins
    with pytest.raises(ValueError, match=r"second must hold no run yet"):
        run(folder=tmp_path)


@pytest.mark.plain
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frozen": ("levls",)}, "Found 'levls'. Did you mean 'levels'?"),
        ({"frozen": (*BODY, "towers")}, "Found none beside"),
        ({"second": replace(SECOND, monitor="churn/ac")}, "Found 'churn/ac'"),
    ],
)
def test_what_is_wrong_with_phase_2_is_said_before_phase_1(
    monkeypatch, changes, message
):
    state = torch.get_rng_state()
    monkeypatch.setattr(two_phase, "fit", None)
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        run(phases=replace(PHASES, **changes))
    assert torch.equal(state, torch.get_rng_state())


class Looks(FixedWeighting):
    """Needs shared parameters that learn."""

    def terms(self, losses, shared=()):
        if not shared:
            raise ValueError("Found nothing shared.")
        return super().terms(losses, shared)


@dataclass(frozen=True)
class LooksSpec:
    refuse: bool = False

    def build(self, tasks):
        if self.refuse:
            raise ValueError(f"Found {len(tasks)} tasks.")
        return Looks(tasks)


def test_a_weighting_that_phase_2_cannot_have_is_said_before_phase_1(monkeypatch):
    body = {"phases": replace(PHASES, frozen=("tabular",))}
    found = run(weighting=LooksSpec(), second_weighting=None, **body)
    assert len(found.second.history) == 3
    monkeypatch.setattr(two_phase, "fit", None)
    with pytest.raises(ValueError, match="Found 4 tasks"):
        run(second_weighting=LooksSpec(refuse=True), **body)
    with pytest.raises(ValueError, match="Found nothing shared"):
        run(weighting=LooksSpec())


def phases_of(monitor, scores, spec=SPEC, skills=None) -> Phases:
    """Two phases whose history is made up; the model is not looked at."""
    model, kept = spec.build(SCHEMA), []
    for values in scores:
        entries = [
            {
                "score": value,
                "val": {
                    task: {
                        "skill": (skills or {}).get(task, [value] * 9)[i],
                        "mae": value,
                    }
                    for task in SCHEMA.task_names
                },
            }
            for i, value in enumerate(values)
        ]
        asked = {"training": {"monitor": monitor, "patience": 7}}
        scaler = Scaler(torch.zeros(3), torch.ones(3))
        kept.append(Fitted(model, spec, SCHEMA, scaler, entries, asked))
    return Phases(*kept)


def test_the_gain_is_the_difference_of_what_was_kept():
    scores = [[0.1, 0.5, 0.2], [0.3, 0.4, 0.1]]
    assert phases_of("score", scores).gain == pytest.approx(0.4 - 0.5)
    assert phases_of("churn/skill", scores).gain == pytest.approx(0.4 - 0.5)
    assert phases_of("spend/mae", scores).gain == pytest.approx(0.1 - 0.1)
    assert phases_of("spend/mae", scores[::-1]).gain == pytest.approx(0.0)
    assert phases_of("spend/mae", [[0.3], [0.2]]).gain == pytest.approx(0.1)
    # Phase 1 had kept its epoch by its own monitor; both are measured by phase 2's.
    first, second = phases_of("score", scores)[0], phases_of("spend/mae", scores)[1]
    assert Phases(first, second).gain == pytest.approx(0.5 - 0.1)


def test_the_gain_of_tasks_apart_is_of_each_tasks_own_epoch():
    alone = SingleTaskSpec(trunk=MLPSpec(dims=(8,)), tower=MLPSpec(dims=(6,)))
    skills = {"churn": [0.0, 0.8], "channel": [0.4, 0.0]}
    found = phases_of("score", [[0.1, 0.2], [0.1, 0.2]], alone, skills)
    assert found.first.epochs["channel"] == 1
    assert found.gain == 0
    still = Phases(found.first, phases_of("score", [[0.2]] * 2, alone).second)
    assert still.gain == pytest.approx(0.2 - (0.8 + 0.4 + 0.2 + 0.2) / 4)


def test_the_gain_of_a_run_is_that_of_its_answers(whole):
    rows = mixed().part("val")
    skills = [
        [task["skill"] for task in phase.evaluate(rows).values()] for phase in whole
    ]
    means = [sum(found) / len(found) for found in skills]
    assert whole.gain == pytest.approx(means[1] - means[0], abs=1e-6)


@pytest.mark.plain
def test_the_recipe_is_fifteen_epochs_and_eight():
    phases = TwoPhase()
    assert (phases.first.epochs, phases.second.epochs) == (15, 8)
    assert phases.first.schedule == phases.second.schedule == "cosine"
    assert phases.frozen == ("columns", "experts", "gates")
    assert hash(TwoPhase(frozen=["levels"])) == hash(TwoPhase(frozen=("levels",)))
    with pytest.raises(ValueError, match="Found the word 'experts'"):
        TwoPhase(frozen="experts")
