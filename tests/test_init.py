"""The package's front door: every public name, and nothing before it is asked for."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ple_study

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ple_study.__all__)
def test_every_public_name_is_there(name):
    assert getattr(ple_study, name).__name__ == name
    assert name in dir(ple_study)


def test_the_type_checker_sees_the_same_names():
    tree = ast.parse(Path(ple_study.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {name.asname: node.module for node in block.body for name in node.names}
    found = {name: f"ple_study.{home}" for name, home in ple_study._HOME.items()}
    assert seen == found


def test_another_name_is_refused():
    with pytest.raises(AttributeError, match=r"no 'PLESpecs'. It has .*PLESpec"):
        ple_study.PLESpecs  # noqa: B018


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, ple_study; print({'torch', 'lightning'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.plain
def test_the_readme_trains_on_a_table_of_ones_own(tmp_path, monkeypatch, capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    train, later, beyond = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(train.strip().splitlines()) <= 11
    rng = np.random.default_rng(0)
    size = 200
    age = rng.normal(size=size)
    frame = pd.DataFrame({
        "id": np.arange(size),
        "age": 40 + 9 * age,
        "city": rng.choice(["Bonn", "Oslo", None], size),
        "bought": (age > 0).astype(float),
        "spend": age + rng.normal(size=size) / 3,
        "stage": rng.integers(0, 3, size),
    })  # fmt: skip
    frame.loc[::7, "bought"] = np.nan
    frame.to_parquet(tmp_path / "customers.parquet")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(train, "README.md", "exec"), names)
    found = ast.literal_eval(capsys.readouterr().out.replace("nan", "None"))
    assert set(found) == {"bought", "spend", "stage"}
    assert found["bought"]["auc"] > 0.9
    names["new"] = frame[["age", "city"]].tail(3)
    exec(compile(later, "README.md", "exec"), names)
    shapes = {task: tuple(answer.shape) for task, answer in names["answers"].items()}
    assert shapes == {"bought": (3, 1), "spend": (3, 1), "stage": (3, 3)}
    for number, part in enumerate(("train", "val", "test")):
        (tmp_path / part).mkdir()
        frame.iloc[number::3].to_parquet(tmp_path / part / "0.parquet")
    exec(compile(beyond, "README.md", "exec"), names)
    assert len(names["study"].part("test")) == len(frame.iloc[2::3])
    (answer,) = names["answers"]
    assert set(answer["predictions"]) == {"bought", "spend", "stage"}
