"""No kill changes what a run answers, and no other run is taken for it."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ple_study import progress
from ple_study.baselines import MMoESpec
from ple_study.checkpoint import read
from ple_study.data.loader import Loader
from ple_study.objective.weighting import UncertaintyWeightingSpec
from ple_study.schema import TaskSpec
from ple_study.training import fit
from tests.runs import PLE, SHORT, SMALL, TOWER, run, same
from tests.studies import mixed

ROOT = Path(__file__).parents[1]
KILLED = """
import os, signal, sys
from ple_study.{module} import {owner}
from tests.runs import run

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


def killed(folder, **place):
    code = KILLED.format(**place)
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.parametrize(
    ("place", "epochs"),
    [
        # Six steps an epoch: the fourth step of the third.
        ({"module": "learner", "owner": "Learner", "name": "training_step"}, 2),
        # Between the writing of the second epoch's file and its move.
        ({"module": "checkpoint", "owner": "Path", "name": "replace"}, 1),
    ],
    ids=["step", "write"],
)
def test_a_killed_run_ends_as_if_nothing_had_happened(tmp_path, place, epochs):
    calls = 2 * 6 + 4 if epochs == 2 else 3
    killed(tmp_path, calls=calls, **place)
    assert len(read(tmp_path / "checkpoint.safetensors")[1]["history"]) == epochs
    resumed = run(folder=tmp_path, resume=True)
    assert same(resumed, run())
    assert same(resumed, run(folder=tmp_path, resume=True))
    assert len(resumed.history) == SHORT.epochs > epochs


def test_a_folder_with_a_run_is_not_written_over(tmp_path):
    run(folder=tmp_path)
    with pytest.raises(ValueError, match=r"hold no run yet.*Found checkpoint"):
        run(folder=tmp_path)


def test_resuming_names_what_is_wrong_with_the_folder(tmp_path):
    with pytest.raises(ValueError, match="needs the folder"):
        run(resume=True)
    with pytest.raises(ValueError, match="Found no such file"):
        run(folder=tmp_path / "nowhere", resume=True)
    run(folder=tmp_path)
    with pytest.raises(ValueError, match="Found another seed, precision"):
        run(folder=tmp_path, resume=True, seed=6, precision="bf16")
    study, wide = mixed(), MMoESpec(experts=2, expert=SMALL, tower=TOWER)
    again = {"training": SHORT, "seed": 5, "folder": tmp_path, "resume": True}
    with pytest.raises(ValueError, match="Found another spec, weighting"):
        fit(study, wide, device="cpu", **again)
    again["weighting"] = UncertaintyWeightingSpec()
    tasks = (*study.schema.tasks[:3], TaskSpec(name="brand", kind="regression"))
    other = replace(study, schema=replace(study.schema, tasks=tasks))
    with pytest.raises(ValueError, match=r"Found another schema\."):
        fit(other, PLE, device="cpu", **again)
    with pytest.raises(ValueError, match=r"Found another rows\."):
        fit(mixed(seed=1), PLE, device="cpu", **again)
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ValueError, match="must be a whole safetensors file"):
        run(folder=tmp_path, resume=True)


def test_everything_that_a_run_sees_is_in_its_fingerprint():
    study = mixed()
    first = study.fingerprint()
    assert mixed().fingerprint() == first
    rows, split = study.rows, study.split
    heavier = {"churn": rows.weights["churn"] * 2}
    moved = {**split, "val": split["test"], "test": split["val"]}
    for other in (
        replace(study, rows=replace(rows, weights=heavier)),
        replace(study, rows=replace(rows, weights={})),
        replace(study, split=moved),
    ):
        assert other.fingerprint() != first


def test_a_run_begun_without_a_gpu_has_none_of_its_random_numbers():
    loader, here = Loader(mixed().rows, 8), torch.device("cpu")
    states = progress.get_random(here, loader)
    with torch.random.fork_rng():
        progress.set_random(torch.device("cuda", 0), loader, states)
