"""The command line, as a stranger meets it: help, a run, a model, one line of error."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest

from ple_study import batch_from_frame, load, recipes
from ple_study.cli import EVALUATE, EXPORT, FIT, main, parser

TOML = """
[data]
parquet = "people.parquet"
[tasks]
bought = "binary"
spend = "regression"
[training]
epochs = 3
batch_size = 32
lr = 0.02
[models.single-task]
spec = "SingleTaskSpec"
trunk = { spec = "MLPSpec", dims = [7] }
tower = { spec = "MLPSpec", dims = [6] }
[models.ple]
spec = "PLESpec"
levels = 1
expert = { spec = "MLPSpec", dims = [7] }
tower = { spec = "MLPSpec", dims = [6] }
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to stand in, with a table and a recipe for it."""
    rng = np.random.default_rng(0)
    size = 300
    age = rng.normal(size=size)
    pd.DataFrame({
        "age": 40 + 9 * age,
        "city": rng.choice(["Bonn", "Oslo"], size),
        "bought": (age + rng.normal(size=size) / 2 > 0).astype(int),
        "spend": np.where(rng.random(size) < 0.3, np.nan, age + rng.normal(size=size)),
    }).to_parquet(tmp_path / "people.parquet")  # fmt: skip
    (tmp_path / "mine.toml").write_text(TOML, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_fit_prints_a_table_of_all_tasks_with_intervals_and_keeps_a_model(
    folder, capsys
):
    assert main(["fit", "mine.toml", "--seeds", "2"]) == 0
    text = capsys.readouterr().out
    columns = r"metric\s+single-task\s+ple\s+ple over single-task"
    assert re.search(columns, text)
    number = r"\s+-?\d\.\d{3} ± \d+\.\d{3}"
    for row in ("bought +auc", "spend +mae", "mean skill +skill"):
        assert re.search(rf"^{row}{number}{number}\s+[+-]\d\.\d{{3}} ±", text, re.M)
    assert "Mean over 2 seeds" in text
    results = pd.read_csv(folder / "runs" / "mine-ple" / "results.csv")
    assert len(results) == 2 * 2 * 2

    main(["evaluate", "runs/mine-ple"])
    found = capsys.readouterr().out
    kept = results.query("model == 'ple' and seed == 0 and task == 'bought'")
    assert f"{kept['auc'].item():.4f}" in found
    assert "log_loss" in found
    main(["evaluate", "runs/mine-ple", "--part", "val"])
    assert capsys.readouterr().out != found


def test_alone_trains_one_model_and_goes_on_where_it_was(folder, capsys):
    alone = ["fit", "mine.toml", "--alone", "--seed", "4", "--out", "here"]
    assert main(alone) == 0
    first = capsys.readouterr().out
    written = (folder / "here" / "checkpoint.safetensors").stat().st_mtime_ns
    assert main(alone) == 0
    assert capsys.readouterr().out == first
    assert (folder / "here" / "checkpoint.safetensors").stat().st_mtime_ns == written
    assert main([*alone, "--epochs", "9"]) == 2
    assert "Found another training" in capsys.readouterr().err


@pytest.mark.plain
def test_export_writes_what_onnx_runtime_reads(folder, capsys):
    main(["fit", "mine.toml", "--alone"])
    assert main(["export", "runs/mine-ple", "--to", "served.onnx"]) == 0
    assert "served.onnx" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(folder / "served.onnx")
    assert [output.name for output in session.get_outputs()] == ["bought", "spend"]
    kept = json.loads(session.get_modelmeta().custom_metadata_map["ple_study"])
    city = kept["features"][1]["vocabulary"]
    numeric = np.array([[60.0]], dtype=np.float32)
    codes = np.array([[1 + city.index("Oslo")]])
    given = {"batch_numeric": numeric, "batch_categorical": codes}
    bought = session.run(["bought"], given)[0]
    assert 0.5 < bought.item() <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "jorney"], r"A study is one of .*'journey'.* Found 'jorney'"),
        (["fit", "none.toml"], r"none\.toml must be a TOML file"),
        (["fit", "mine.toml", "--model", "mmoe"], r"\['single-task', 'ple'\].*'mmoe'"),
        (["fit", "mine.toml", "--epochs", "0"], r"needs epochs >= 1\. Found 0"),
        (["fit", "mine.toml", "--seeds", "1"], r"two different seeds"),
        (["fit", "mine.toml", "--device", "tpu"], r"Found 'tpu'"),
        (["evaluate", "nowhere"], r"nowhere.*Found no such file"),
        (["export", "nowhere"], r"nowhere.*Found no such file"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_bad_input_is_one_line_and_code_two(arguments, message, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"ple-study: .*{message}.*\n", err), err


@pytest.mark.parametrize(
    "arguments", [[], ["fot"], ["fit"], ["fit", "x", "--seeds", "y"]]
)
def test_bad_arguments_are_one_line_and_code_two(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_model_of_another_study_is_refused(folder, capsys):
    main(["fit", "mine.toml", "--alone"])
    other = TOML.replace('spend = "regression"', "")
    other = other.replace("[tasks]", 'ignore = ["spend"]\n[tasks]')
    (folder / "other.toml").write_text(other, encoding="utf-8")
    capsys.readouterr()
    assert main(["evaluate", "runs/mine-ple", "--study", "other.toml"]) == 2
    assert "of the study other.toml. Found another schema" in capsys.readouterr().err


def test_the_examples_of_the_help_can_be_parsed(tmp_path):
    examples = re.findall(r"^  ple-study (.+)$", FIT + EVALUATE + EXPORT, re.M)
    assert len(examples) == 5
    for example in examples:
        parser().parse_args(shlex.split(example))
    _, file = FIT.split("mine.toml:\n")
    path = tmp_path / "mine.toml"
    path.write_text(file, encoding="utf-8")
    found = recipes.from_toml(path)
    assert found.training.epochs == 20
    assert list(found.models) == ["ple"]


def test_every_option_says_what_it_is_and_its_default(capsys):
    for command in ("fit", "evaluate", "predict", "export"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = capsys.readouterr().out
        options = text.split("options:")[1]
        for option in re.findall(r"^  (--\S+)", options, re.M):
            words = re.search(rf"{option}\b(.*?)(?=\n  --|\Z)", options, re.S)[1]
            assert "(default: " in words, option
            assert "None" not in words


def test_the_installed_command_runs_without_a_word_on_stderr(folder):
    command = Path(sys.executable).with_name("ple-study")
    done = subprocess.run(
        [command, "fit", "mine.toml", "--alone", "--out", "there"],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "bought" in done.stdout


@pytest.mark.usefixtures("folder")
def test_a_model_is_not_written_over_unasked(capsys):
    again = ["fit", "mine.toml", "--seeds", "2"]
    assert main(again) == 0
    assert "above zero, ple is better" in capsys.readouterr().out
    assert main(again) == 2
    assert "must hold no model yet" in capsys.readouterr().err
    assert main([*again, "--overwrite"]) == 0


def test_overwriting_begins_anew_and_leaves_nothing_of_what_was_there(folder, capsys):
    here, told = folder / "here", ["fit", "mine.toml", "--out", "here"]
    alone, all_of_them = [*told, "--alone"], [*told, "--seeds", "2"]
    assert main(alone) == 0
    assert main([*alone, "--overwrite", "--seed", "3"]) == 0
    assert load(here).run["seed"] == 3
    assert main(all_of_them) == 2
    assert "must hold no model yet" in capsys.readouterr().err
    assert main([*all_of_them, "--overwrite"]) == 0
    assert not (here / "checkpoint.safetensors").exists()
    assert (here / "results.csv").exists()
    assert main(alone) == 2
    assert main([*alone, "--overwrite"]) == 0
    assert not (here / "results.csv").exists()
    (here / "model.safetensors").unlink()  # as if it had been killed
    assert main(all_of_them) == 2
    assert "Found checkpoint.safetensors" in capsys.readouterr().err


def test_predict_answers_rows_without_labels(folder, capsys, monkeypatch):
    main(["fit", "mine.toml", "--alone"])
    new = pd.DataFrame({"city": ["Oslo", "Rome"], "age": [60.0, 20.0]}, index=[7, 9])
    new.to_parquet(folder / "new.parquet")
    told = ["predict", "runs/mine-ple", "new.parquet", "--to", "answers.parquet"]
    assert main(told) == 0
    found = pd.read_parquet(folder / "answers.parquet")
    assert list(found.columns) == ["bought", "spend"]
    assert list(found.index) == [7, 9]
    wanted = load("runs/mine-ple")
    answers = wanted.predict(batch_from_frame(new, wanted.schema))
    np.testing.assert_array_equal(found["bought"], answers["bought"][:, 0])
    told[2] = "mine.toml"
    assert main(told) == 2
    assert "mine.toml must be a Parquet file" in capsys.readouterr().err
    monkeypatch.chdir("/")  # the model knows where its study is
    assert main(["evaluate", str(folder / "runs" / "mine-ple")]) == 0
