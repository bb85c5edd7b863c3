"""A run on rows from disk is the run on the same rows in memory."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ple_study.batch import Rows, concat, tree_map
from ple_study.checkpoint import read
from ple_study.data import loader, streamed
from ple_study.data.checks import SPLITS
from ple_study.data.loader import Loader, Study
from ple_study.data.stream import Stream
from ple_study.data.streamed import StreamedStudy, stream_parquet
from ple_study.data.tables import from_parquet
from ple_study.training import fit
from tests.runs import BOTTOM, PLE, SHORT, SMALL, same
from tests.studies import SCHEMA, mixed

ROOT = Path(__file__).parents[1]
TABLE = replace(SCHEMA, tasks=SCHEMA.tasks[:3])
WEIGHTS = {"churn": "weight"}
KILLED = """
import os, signal, sys
from ple_study.learner import Learner
from tests.test_training_stream import run

whole, calls = Learner.training_step, 0

def until_killed(*args):
    global calls
    calls += 1
    if calls == 2 * 6 + 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*args)

Learner.training_step = until_killed
run(sys.argv[1], folder=sys.argv[2])
"""


def write(folder: Path, study: Study | None = None) -> Path:
    """The mixed study as train, val and test; its train in two files."""
    study = study or mixed()
    for part in SPLITS:
        rows = study.part(part)
        numeric, codes = rows.batch.numeric.double().numpy(), rows.batch.categorical
        frame = pd.DataFrame(
            {f.name: numeric[:, i] for i, f in enumerate(SCHEMA.numeric)}
        )
        for i, feature in enumerate(SCHEMA.categorical):
            values = [None, *feature.vocabulary]
            frame[feature.name] = [values[code] for code in codes[:, i]]
        for name in TABLE.task_names:
            frame[name] = rows.labels[name].double().numpy()
        frame["weight"] = rows.weights["churn"].double().numpy()
        frame["store"] = frame["store"].astype("Int64")
        (folder / part).mkdir(parents=True)
        for number, own in enumerate(np.array_split(np.arange(len(frame)), 2)):
            path = folder / part / f"{number}.parquet"
            frame.iloc[own].to_parquet(path, row_group_size=40)
    return folder


def streaming(folder: Path, **changes) -> StreamedStudy:
    options = {"val": folder / "val", "test": folder / "test", "weights": WEIGHTS}
    return stream_parquet(folder / "train", TABLE, **(options | changes))


def run(table, **changes):
    options = {"training": SHORT, "seed": 5, "device": "cpu"}
    return fit(streaming(Path(table), buffer=64), PLE, **(options | changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "rows")


def in_memory(folder: Path) -> Study:
    """The same rows as one study, in the order of the files."""
    parts = [from_parquet(folder / p, TABLE, weights=WEIGHTS).rows for p in SPLITS]
    index = torch.arange(sum(map(len, parts))).split([len(part) for part in parts])
    return Study(TABLE, concat(parts), dict(zip(SPLITS, index, strict=True)))


def unshuffled(monkeypatch):
    def plain(rows, size, *, drop_last, seed, **_):
        return Loader(rows, size, drop_last=drop_last, seed=seed)

    monkeypatch.setattr(loader, "Loader", plain)
    monkeypatch.setattr(streamed, "Stream", partial(Stream, shuffle=False))


@pytest.mark.parametrize("size", [32, 45])  # 180 training rows
@pytest.mark.parametrize("buffer", [1, 1000])
def test_a_run_is_to_the_bit_that_of_the_same_rows_in_memory(
    folder, monkeypatch, size, buffer
):
    study, disk = in_memory(folder), streaming(folder, buffer=buffer)
    assert len(disk.train) == len(study.split["train"]) == 181
    common = {"training": replace(SHORT, batch_size=size), "seed": 3, "device": "cpu"}
    start = fit(study, BOTTOM, **common)
    unshuffled(monkeypatch)
    first = fit(study, BOTTOM, start=start, **common)
    assert same(first, fit(disk, BOTTOM, start=start, **common))


def test_a_run_learns_the_scaler_too(folder, monkeypatch):
    unshuffled(monkeypatch)
    own = fit(streaming(folder), BOTTOM, training=SHORT, seed=3, device="cpu")
    other = fit(in_memory(folder), BOTTOM, training=SHORT, seed=3, device="cpu")
    for ours, theirs in zip(own.scaler, other.scaler, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    for ours, theirs in zip(own.history, other.history, strict=True):
        assert ours["train"] == pytest.approx(theirs["train"], rel=1e-3)
    found = own.predict(in_memory(folder).part("test").batch)
    wanted = other.predict(in_memory(folder).part("test").batch)
    for name, answer in found.items():
        torch.testing.assert_close(answer, wanted[name], rtol=1e-2, atol=1e-2)


def test_shuffled_it_learns_as_well(folder):
    training = replace(SHORT, epochs=30)
    own = fit(streaming(folder, buffer=64), BOTTOM, training=training, device="cpu")
    found = own.evaluate(streaming(folder).part("test"))
    assert all(metrics["skill"] > 0.1 for metrics in found.values()), found


@pytest.mark.plain
def test_a_seed_fixes_every_bit(folder):
    first = run(folder)
    torch.rand(3)
    assert same(first, run(folder))
    assert not same(first, run(folder, seed=6))


def test_a_killed_run_ends_as_if_nothing_had_happened(folder, tmp_path):
    place = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(place)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert len(read(place / "checkpoint.safetensors")[1]["history"]) == 2
    resumed = run(folder, folder=place, resume=True)
    assert same(resumed, run(folder))
    assert len(resumed.history) == SHORT.epochs > 2


def test_other_rows_or_another_buffer_are_another_run(folder, tmp_path):
    options = {"training": replace(SHORT, epochs=1), "device": "cpu"}
    place = tmp_path / "run"
    fit(streaming(folder, buffer=64), PLE, folder=place, **options)
    again = {"folder": place, "resume": True} | options
    fit(streaming(folder, buffer=64), PLE, **again)
    with pytest.raises(ValueError, match=r"Found another rows\."):
        fit(streaming(folder, buffer=65), PLE, **again)
    with pytest.raises(ValueError, match=r"Found another rows\."):
        fit(streaming(folder, buffer=64, val=folder / "test"), PLE, **again)
    with pytest.raises(ValueError, match=r"Found another rows\."):
        fit(streaming(folder, buffer=64, test=None), PLE, **again)
    other = write(tmp_path / "other", mixed(seed=1))
    with pytest.raises(ValueError, match=r"Found another rows\."):
        fit(streaming(other, buffer=64), PLE, **again)


def test_a_last_batch_of_one_row_is_left_out(folder):
    spec = replace(BOTTOM, trunk=replace(SMALL, norm="batch"))
    study = streaming(folder, buffer=64)
    training = replace(SHORT, batch_size=(len(study.train) - 1) // 4)
    assert len(study.train) % training.batch_size == 1
    fitted = fit(study, spec, training=training, device="cpu")
    assert len(fitted.history) == 4


def test_a_run_under_torch_distributed_reads_all_rows(folder, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    study, cpu = streaming(folder), torch.device("cpu")
    found = study.loader(50, seed=0, scaler=study.scaler(), device=cpu)
    assert sum(map(len, found)) == len(study.train)


def test_batches_come_scaled(folder):
    study, cpu = streaming(folder), torch.device("cpu")
    scaler = study.scaler()
    batches = list(study.loader(50, seed=0, scaler=scaler, device=cpu))
    numeric = torch.cat([rows.batch.numeric for rows in batches]).double()
    assert numeric[:, :2].mean(0).abs().max() < 1e-5
    assert (numeric[:, :2].std(0, correction=0) - 1).abs().max() < 1e-5


def changed(rows: Rows, **labels: float) -> Rows:
    rows = tree_map(torch.clone, rows)
    for name, value in labels.items():
        rows.labels[name][2] = value
    return rows


def test_rows_in_memory_must_fit_the_schema(folder):
    study = streaming(folder)
    for part in ("val", "test"):
        with pytest.raises(ValueError, match=r"'churn' must be whole numbers in 0..1"):
            replace(study, **{part: changed(study.val, churn=3)})
    bare = Rows(study.val.batch, {})
    with pytest.raises(ValueError, match="has no labels"):
        replace(study, val=bare)
    with pytest.raises(ValueError, match=r"buffer must be 1 or more. Found 0"):
        streaming(folder, buffer=0)
    none = changed(study.val)
    none.labels["spend"][:] = torch.nan  # judged on what is known; nothing, here
    assert replace(study, val=none).part("val") is none


def test_what_training_needs_is_said_before_it_begins(folder):
    late = folder / "train" / "1.parquet"
    frames = [pd.read_parquet(folder / "train" / f"{i}.parquet") for i in (0, 1)]

    def refused(message: str, **columns: object) -> None:
        for number, frame in enumerate(frames):
            frame.assign(**columns).to_parquet(folder / "train" / f"{number}.parquet")
        with pytest.raises(ValueError, match=message):
            fit(streaming(folder), BOTTOM, training=SHORT, device="cpu")

    refused("'spend' has no observed label among the training rows", spend=np.nan)
    refused("'churn' are above zero in some row. Found zero", weight=0.0)
    refused("0.parquet: .*'age' must be finite. Found inf in row 0", age=np.inf)
    frames[1].drop(columns="age").to_parquet(late)
    frames[0].to_parquet(folder / "train" / "0.parquet")
    with pytest.raises(ValueError, match=r"1.parquet: .*needs the columns \['age'\]"):
        streaming(folder)


def test_training_rows_are_never_held(folder):
    study = streaming(folder, test=None)
    with pytest.raises(
        ValueError, match=r"parts in memory are \['val'\]. Found 'test'"
    ):
        study.part("test")
    with pytest.raises(ValueError, match=r"Found 'train'"):
        study.part("train")
