"""Several processes train the model that one trains on the same batches."""

import math
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from ple_study.checkpoint import read
from ple_study.data.loader import Loader, leaves_one
from ple_study.devices import pick_device
from ple_study.objective import surgery
from ple_study.objective.losses import TaskLosses
from ple_study.objective.surgery import GradientSurgerySpec
from ple_study.objective.weighting import FixedWeightingSpec
from ple_study.progress import Progress
from ple_study.ranks import ALONE, World, average, draw_apart, from_first, launched
from tests.ranks_runs import EQUAL, answers, numbered, trained
from tests.runs import run
from tests.studies import SCHEMA, mixed

ROOT = Path(__file__).parents[1]
CLOSE = {"rel": 1e-5, "abs": 1e-5}  # float32, after two epochs or more


def launch(what: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "tests.ranks_runs", what, str(folder)]
    running = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, errors = running.communicate(timeout=300)
    finally:  # whatever happened, no process is left behind
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, running.returncode, out, errors)


def told(what: str, folder: Path) -> list[dict[str, dict]]:
    return [torch.load(folder / f"{what}.{r}", weights_only=False) for r in (0, 1)]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict]]:
    """What each of two processes found in the runs of ``equal``."""
    folder = numbered(tmp_path_factory.mktemp("ranks") / "rows")
    done = launch("equal", folder)
    assert done.returncode == 0, done.stderr
    return told("equal", folder)


def flat(value: object, name: str = "") -> dict[str, float]:
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    else:
        return {name: float(value)}
    return {k: v for key, part in pairs for k, v in flat(part, f"{name}/{key}").items()}


@pytest.mark.plain
@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_train_the_model_of_one_with_both_their_batches(both, name):
    found, alone = both[0][name], answers(trained(name))
    assert found["run"]["training"]["batch_size"] == 8
    assert alone["run"]["training"]["batch_size"] == 16
    assert found["run"]["number of processes"] == 2
    assert "number of processes" not in alone["run"]
    ours, theirs = flat(found["history"]), flat(alone["history"])
    assert ours == pytest.approx(theirs, nan_ok=True, **CLOSE)
    for key, tensor in alone["state"].items():
        gap = (found["state"][key].float() - tensor.float()).abs().max()
        assert gap <= 1e-5, key


def test_all_processes_have_the_same_model(both):
    for name in [*EQUAL, "normed"]:
        first, second = (found[name] for found in both)
        assert repr(first["history"]) == repr(second["history"])
        for key, tensor in first["state"].items():
            assert torch.equal(tensor, second["state"][key]), (name, key)
    assert any("running_mean" in key for key in first["state"])


def test_each_row_of_a_stream_is_seen_once_an_epoch(both):
    size, (first, second) = 181, (found["streamed"]["seen"] for found in both)
    steps = math.ceil(size // 2 / 8)
    assert len(first) == len(second) == 2 * steps
    for epoch in (0, 1):
        part = slice(epoch * steps, (epoch + 1) * steps)
        rows = [row for seen in (first, second) for own, _ in seen[part] for row in own]
        assert len(rows) == size
        assert len(set(rows)) == size
    assert repr(both[0]["streamed"]["history"]) == repr(both[1]["streamed"]["history"])


def test_processes_draw_random_numbers_of_their_own(both):
    first, second = (found["streamed"]["seen"] for found in both)
    drawn = [state for seen in (first, second) for _, state in seen]
    assert len(set(drawn)) == len(drawn)


def test_a_run_whose_process_died_ends_as_if_nothing_had_happened(tmp_path):
    died = launch("killed", tmp_path)
    assert died.returncode != 0
    assert not (tmp_path / "killed.0").exists()
    done = launch("killed", tmp_path)
    assert done.returncode == 0, done.stderr
    for found in told("killed", tmp_path):
        resumed, whole = found["resumed"], found["whole"]
        assert resumed["begun"] == 1
        assert len(whole["history"]) == 3
        assert repr(resumed["history"]) == repr(whole["history"])
        for key, tensor in whole["state"].items():
            assert torch.equal(resumed["state"][key], tensor), key
    path = tmp_path / "run" / "checkpoint.safetensors"
    assert read(path)[1]["run"]["number of processes"] == 2


def test_a_run_of_two_processes_is_no_run_of_one(tmp_path, monkeypatch):
    run(folder=tmp_path)
    restore = Progress.restore

    def of_two(state: Progress) -> None:
        state.run["number of processes"] = 2
        restore(state)

    monkeypatch.setattr(Progress, "restore", of_two)
    with pytest.raises(ValueError, match=r"Found another number of processes\."):
        run(folder=tmp_path, resume=True)


def test_processes_that_disagree_end_with_what_is_wrong(tmp_path):
    done = launch("apart", tmp_path)
    assert done.returncode != 0
    told = "Found, in process 1, another seed than in process 0."
    assert told in done.stderr
    assert not (tmp_path / "apart.0").exists()


def split(size: int, batch: int, world: int, **options: bool) -> list[list[list[int]]]:
    """The rows' numbers, by rank and batch."""
    rows = mixed(size).rows
    numbers = torch.arange(size)[:, None].float().expand_as(rows.batch.numeric)
    rows = type(rows)(type(rows.batch)(numbers, rows.batch.categorical), rows.labels)
    loaders = [
        Loader(rows, batch, shuffle=True, seed=3, rank=r, world=world, **options)
        for r in range(world)
    ]
    parts = [[own.batch.numeric[:, 0].tolist() for own in each] for each in loaders]
    assert [len(own) for own in parts] == [len(each) for each in loaders]
    return parts


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("size", [24, 25, 29, 35])
def test_ranks_share_the_batches_of_one_process(size, world):
    parts, (whole,) = split(size, 4, world), split(size, 4 * world, 1)
    if size % (4 * world) < world:  # no row for some rank
        whole = whole[: size // (4 * world)]
    joined = [[row for own in same for row in own] for same in zip(*parts, strict=True)]
    assert joined == whole
    for same in zip(*parts, strict=True):
        sizes = [len(own) for own in same]
        assert 1 <= min(sizes) <= max(sizes) <= min(sizes) + 1
    dropped = split(size, 4, world, drop_last=True)
    assert all(len(own) == 4 for part in dropped for own in part)
    assert len(dropped[0]) == size // (4 * world)


def test_no_rank_is_left_with_a_single_row():
    for world in (1, 2, 3):
        for size in range(5 * world, 40):
            rest = size % (4 * world)
            alone = size > 4 * world and 0 < rest < 2 * world
            assert leaves_one(size, 4, world) == alone
    assert [leaves_one(size, 4) for size in (1, 4, 5, 6)] == [False, False, True, False]


def test_a_loader_names_what_is_wrong_with_its_ranks():
    rows = mixed(5).rows
    with pytest.raises(ValueError, match=r"A rank lies in 0\.\.1\. Found 2\."):
        Loader(rows, 4, rank=2, world=2)
    with pytest.raises(ValueError, match=r"Each of 6 ranks needs a row\. Found 5\."):
        Loader(rows, 4, rank=1, world=6)


LAUNCH = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "1234",
}


@pytest.fixture
def environment(monkeypatch):
    for name in LAUNCH:
        monkeypatch.delenv(name, raising=False)

    def change(**names: str) -> None:
        for name, value in names.items():
            monkeypatch.setenv(name, value)

    return change


def test_the_environment_says_who_a_process_is(environment):
    assert launched() == ALONE == World(0, 1, 0, 1)
    environment(WORLD_SIZE="4")  # some clusters always say so
    assert launched() == ALONE
    environment(**LAUNCH)
    assert launched() == World(3, 4, 1, 2)
    environment(RANK="0", WORLD_SIZE="1")
    assert launched() == ALONE


def test_half_a_launch_is_refused(environment, monkeypatch):
    environment(**LAUNCH)
    for name in ("LOCAL_RANK", "MASTER_PORT"):
        monkeypatch.delenv(name)
    message = r"as torchrun does\. Found none of \['LOCAL_RANK', 'MASTER_PORT'\]"
    with pytest.raises(ValueError, match=message):
        run()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RANK", "4"),
        ("RANK", "-1"),
        ("LOCAL_RANK", "2"),
        ("LOCAL_WORLD_SIZE", "3"),
        ("LOCAL_WORLD_SIZE", "0"),
        ("WORLD_SIZE", "many"),
    ],
)
def test_a_launch_with_a_number_that_cannot_be_is_refused(environment, name, value):
    environment(**LAUNCH | {name: value})
    with pytest.raises(ValueError, match=rf"A rank lies below .*'{name}': '{value}'"):
        launched()


def test_each_process_has_its_own_device(monkeypatch):
    two = World(rank=3, size=4, local_rank=1, local_size=2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (
        pick_device("cuda", two) == pick_device("auto", two) == torch.device("cuda:1")
    )
    assert pick_device("cuda") == torch.device("cuda:0")
    assert pick_device("cpu", two) == torch.device("cpu")
    for name in ("cuda:0", "mps"):
        with pytest.raises(ValueError, match=rf"is cpu or cuda\. Found '{name}'"):
            pick_device(name, two)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=r"device 'cuda:1'. Found 1 cuda devices"):
        pick_device("cuda", two)


def test_alone_a_tensor_is_its_own_mean():
    tensor = torch.randn(3, requires_grad=True)
    assert average(tensor) is tensor
    assert from_first(tensor) is tensor


def test_all_processes_take_the_direction_of_the_first(monkeypatch):
    fixed = FixedWeightingSpec().build(SCHEMA.tasks[:2])
    drawn = GradientSurgerySpec(aggregator="Random").build(SCHEMA.tasks[:2])
    monkeypatch.setattr(surgery, "from_first", torch.zeros_like)
    shared = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    grads = []
    for weighting in (fixed, drawn):
        losses = torch.stack([shared.square().sum(), shared.prod()])
        present = torch.ones(2, dtype=torch.bool)
        weighting(TaskLosses(losses, present), [shared]).backward()
        grads.append(shared.grad.clone())
        shared.grad = None
    torch.testing.assert_close(*grads)  # as the first had changed nothing


def test_random_numbers_depend_on_every_number():
    cpu = torch.device("cpu")
    with torch.random.fork_rng(devices=[]):
        states = []
        for numbers in [(5, 0, 0), (5, 0, 1), (5, 1, 0), (6, 0, 0), (-6, 0, 0)]:
            for _ in range(2):
                draw_apart(cpu, *numbers)
                states.append(torch.rand(3))
        assert all(torch.equal(*states[i : i + 2]) for i in range(0, 10, 2))
        assert len({tuple(s.tolist()) for s in states}) == 5
