"""Shards are mapped as by a loop, whoever dies on the way."""

import os
import signal
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ple_study.batch import Batch, Diagrams, Events, Rows, concat
from ple_study.data import pools, shards
from ple_study.data.diagrams import Clouds, Persistence
from ple_study.data.hmm.model import FittedHMM
from ple_study.data.pools import DiedError, Job, finish, tensors_of
from ple_study.data.shards import map_shards
from tests.data.hmm.chains import chain, series

LENGTHS = ((5, 1, 7, 4), (9, 1), (3,))  # of each shard's customers


def cloud(lengths: tuple[int, ...]) -> Clouds:
    draw = np.random.default_rng(len(lengths))
    start = np.cumsum((0, *lengths))
    return Clouds(draw.normal(size=(start[-1], 3)), start)


def diagrams(lengths: tuple[int, ...]) -> Diagrams:
    time.sleep(0.1 * len(lengths))  # the first ends last
    return Persistence(size=12).diagrams(cloud(lengths))


def posteriors(lengths: tuple[int, ...]) -> dict[str, Tensor]:
    events = series(lengths, 3)
    steps = events.mask.shape[1]
    pad = 9 - steps
    values = torch.nn.functional.pad(events.values, (0, 0, pad, 0))
    mask = torch.nn.functional.pad(events.mask, (pad, 0))
    fitted = FittedHMM(chain(4, 3), (), True)
    return {"filtered": fitted.filtered(Events(values, mask))}


def check(paths: list[Path], folder: Path, function: object) -> None:
    """Three files, in their order, of what a loop finds, and nothing else."""
    assert [p.name for p in paths] == [f"0000{n}.safetensors" for n in range(3)]
    assert sorted(folder.iterdir()) == [*paths, folder / "shards.json"]
    for path, lengths in zip(paths, LENGTHS, strict=True):
        found, value = load_file(path), function(lengths)
        wanted = value if isinstance(value, dict) else vars(value)
        assert found.keys() == wanted.keys()
        for name, tensor in wanted.items():
            assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_results_are_those_of_a_loop(tmp_path, workers):
    for function in (diagrams, posteriors):
        folder = tmp_path / function.__name__
        paths = map_shards(function, LENGTHS, folder=folder, workers=workers)
        check(paths, folder, function)
    whole = concat([load_file(path) for path in paths])
    assert len(whole["filtered"]) == sum(map(len, LENGTHS))


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_ray_writes_the_same(tmp_path):
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        for function in (diagrams, posteriors):
            folder = tmp_path / function.__name__
            paths = map_shards(
                function, LENGTHS, folder=folder, workers=2, backend="ray"
            )
            check(paths, folder, function)
        folder, marks = tmp_path / "once", made(tmp_path / "marks")
        again = partial(mortal, marks, 1)
        paths = map_shards(again, range(3), folder=folder, workers=2, backend="ray")
        assert [load_file(p)["n"].item() for p in paths] == [0, 1, 2]
        always = partial(mortal, marks, 9)
        with pytest.raises(DiedError, match=r"That of shard 1 of 2 died, and 1 times"):
            map_shards(always, [0, 9], folder=tmp_path / "no", backend="ray", retries=1)
    finally:
        ray.shutdown()


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def mortal(marks: Path, deaths: int, n: int) -> dict[str, np.ndarray]:
    """Whoever does shard 1 dies, so often; of shard 9, always."""
    number = len(list(marks.glob(f"{n}-*")))
    (marks / f"{n}-{number}").touch()
    if n == 9 or (n == 1 and number < deaths):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"n": np.array([n])}


@pytest.mark.parametrize(("workers", "deaths"), [(2, 1), (1, 2)])
def test_a_shard_whose_worker_died_is_done_again(tmp_path, workers, deaths):
    marks, folder = made(tmp_path / "marks"), tmp_path / "out"
    function = partial(mortal, marks, deaths)
    paths = map_shards(function, range(4), folder=folder, workers=workers)
    assert [load_file(path)["n"].item() for path in paths] == [0, 1, 2, 3]
    assert sorted(folder.iterdir()) == [*paths, folder / "shards.json"]
    assert len(list(marks.glob("1-*"))) == deaths + 1


def test_a_shard_that_kills_every_worker_is_named(tmp_path):
    marks, folder = made(tmp_path / "marks"), tmp_path / "out"
    message = r"That of shard 2 of 3 died, and 1 times more when it was alone: 9\."
    with pytest.raises(DiedError, match=message):
        map_shards(
            partial(mortal, marks, 0), [0, 3, 9], folder=folder, workers=2, retries=1
        )
    assert len(list(marks.glob("9-*"))) == 2
    assert not (folder / "00002.safetensors").exists()


def test_what_is_there_is_not_done_again(tmp_path):
    marks, folder = made(tmp_path / "marks"), tmp_path / "out"

    def counted(n: int) -> dict[str, Tensor]:  # no module's: it travels whole
        return {"n": torch.tensor(mortal(marks, 0, n)["n"])}

    paths = map_shards(counted, [0, 5, 7], folder=folder)
    paths[1].unlink()
    (folder / ".00001.cut.part").write_bytes(paths[0].read_bytes()[:9])
    assert map_shards(counted, [0, 5, 7], folder=folder) == paths
    assert map_shards(counted, [0, 5, 7], folder=folder) == paths
    assert sorted(p.name for p in marks.iterdir()) == ["0-0", "5-0", "5-1", "7-0"]
    assert sorted(folder.iterdir()) == [*paths, folder / "shards.json"]
    with pytest.raises(ValueError, match=r"these 2 shards alone\. Found \['00002"):
        map_shards(counted, [0, 5], folder=folder)


def test_results_of_other_cuts_or_another_version_are_not_taken_for_these(tmp_path):
    def doubled(n: int) -> dict[str, Tensor]:
        return {"n": torch.tensor(2 * n)}

    options = {"folder": tmp_path, "version": "a"}
    paths = map_shards(doubled, [1, 2], **options)
    assert map_shards(doubled, [1, 2], **options) == paths
    message = r"results of \{'shards': 3, 'version': 'a'\}.*Found \{'shards': 2, 'v"
    with pytest.raises(ValueError, match=message):
        map_shards(doubled, [1, 2, 3], **options)
    with pytest.raises(ValueError, match=r"'version': 'b'\}.*Found .*'version': 'a'"):
        map_shards(doubled, [1, 2], folder=tmp_path, version="b")


def wrong(marks: Path, n: int) -> dict[str, Tensor]:
    mortal(marks, 0, n)
    raise KeyError(f"no {n}")


def test_what_a_function_raises_is_raised_once(tmp_path):
    marks = made(tmp_path / "marks")
    with pytest.raises(KeyError, match="no 3") as found:
        map_shards(partial(wrong, marks), [3], folder=tmp_path / "out")
    assert found.value.__notes__ == ["This was 00000.safetensors, of 3."]
    assert len(list(marks.iterdir())) == 1


def test_a_result_is_whole_or_not_there(tmp_path, monkeypatch):
    def cut(_: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pools, "save_file", cut)
    path = tmp_path / "00000.safetensors"
    with pytest.raises(OSError, match="disk full"):
        finish(Job(posteriors, LENGTHS[0], path))
    assert not path.exists()


def test_workers_that_never_begin_are_told_from_a_shard(tmp_path, monkeypatch):
    def dead(*_: object) -> None:
        raise DiedError("killed at birth")

    monkeypatch.setitem(shards.POOLS, "local", dead)
    with pytest.raises(DiedError, match=r"begin a shard.*__main__"):
        map_shards(posteriors, LENGTHS, folder=tmp_path)


def test_results_are_named_by_the_path_to_them():
    whole = torch.arange(6).view(2, 3).T  # not as it lies in memory
    numeric = whole.float()
    batch = Batch(numeric, whole, vectors={"graph": numeric})
    found = tensors_of(Rows(batch, {"churn": numeric[:, 0]}))
    assert sorted(found) == [
        "batch/categorical",
        "batch/numeric",
        "batch/vectors/graph",
        "labels/churn",
    ]
    assert torch.equal(found["batch/numeric"], numeric)
    assert found["batch/numeric"].is_contiguous()
    assert tensors_of({"a": None}) == {}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(2), r"tensors or arrays\. Found Tensor\."),
        ([1], r"Found list\."),
        ({"a": {"b": 3}}, r"Found int at 'a/b'\."),
    ],
)
def test_what_is_no_result_is_refused(value, message):
    with pytest.raises(ValueError, match=message):
        tensors_of(value)


@pytest.mark.plain  # the shape checker would speak first
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, r"workers must be 1 or more\. Found 0\."),
        ({"retries": 0}, r"retries must be 1 or more\. Found 0\."),
        ({"backend": "rays"}, r"A backend must be one of .*'ray'.*Found 'rays'"),
    ],
)
def test_bad_settings_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        map_shards(posteriors, LENGTHS, folder=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"Results go to a folder\. Found a file"):
        map_shards(posteriors, LENGTHS, folder=tmp_path / "file")


def test_without_ray_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install \"ple-study\[scale\]\""):
        map_shards(posteriors, LENGTHS, folder=tmp_path, backend="ray")
