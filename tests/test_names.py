"""A wrong name is refused, and the one that was meant is named, at every door."""

from dataclasses import replace

import pandas as pd
import pytest

from ple_study.checkpoint import spec_from_json
from ple_study.cli import parser
from ple_study.commands import fit
from ple_study.data.columns import check_names
from ple_study.data.tables import from_frame
from ple_study.experts.mlp import MLPSpec
from ple_study.fitted import check_monitor
from ple_study.names import filled, nearest, one_of, unique
from ple_study.recipes import from_toml, recipe
from ple_study.schema import Schema, TaskSpec, Transfer
from tests.studies import SCHEMA, mixed


def test_the_nearest_name_is_asked_for_and_a_far_one_is_not():
    known = ["churn", "channel", "spend", 7]
    assert nearest("chanel", known) == " Did you mean 'channel'?"
    assert nearest("cspend", known) == " Did you mean 'spend'?"
    assert nearest("77", known) == " Did you mean 7?"
    assert nearest("basket", known) == ""
    assert nearest("churn", []) == ""
    assert nearest(None, known) == ""


def test_a_name_is_one_of_those_allowed():
    one_of("Kind", "binary", ("binary", "regression"))
    with pytest.raises(ValueError, match=r"Kind must be .*Found 'binray'\. Did you me"):
        one_of("Kind", "binray", ("binary", "regression"))
    with pytest.raises(ValueError, match=r"Found 'rank'\.$"):
        one_of("Kind", "rank", ("binary", "regression"))


def test_a_name_is_there_once():
    unique("Names", ["a", "b"])
    with pytest.raises(ValueError, match=r"Names must be unique.*: \['b'\]\."):
        unique("Names", ["a", "b", "b"])


def transfer(name):
    return replace(SCHEMA, transfers=(Transfer(source=name, target="spend"),))


def weights(name):
    study = mixed()
    rows = replace(study.rows, weights={name: study.rows.labels["churn"] + 1})
    return replace(study, rows=rows)


def columns(name):
    schema = Schema(features=(), tasks=(TaskSpec(name="churn"),))
    frame = pd.DataFrame({"churn": [0, 1], "load": [1.0, 2.0]})
    return from_frame(frame, schema, weights={name: "load"})


@pytest.mark.parametrize(
    ("door", "found", "meant"),
    [
        (SCHEMA.task, "chrun", "churn"),
        (transfer, "chrun", "churn"),
        (weights, "chrun", "churn"),
        (columns, "chrun", "churn"),
        (mixed().part, "tests", "test"),
        (recipe, "jorney", "journey"),
        (lambda name: check_names(["spent", "age"], [name]), "spend", "spent"),
        (lambda name: check_monitor(SCHEMA, name), "churn/acu", "churn/auc"),
        (lambda name: filled(MLPSpec, {name: (4,)}), "dim", "dims"),
        (lambda name: spec_from_json({"spec": name}), "PLSpec", "PLESpec"),
        (lambda kind: TaskSpec(name="churn", kind=kind), "binray", "binary"),
        (
            lambda name: fit(parser().parse_args(["fit", "census", "--model", name])),
            "mmeo",
            "mmoe",
        ),
    ],
)
@pytest.mark.plain
def test_every_door_names_what_was_meant(door, found, meant):
    with pytest.raises(ValueError, match=rf"{found}.* Did you mean '{meant}'\?"):
        door(found)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("[tsaks]\na = 'binary'", "tasks"),
        ("[data]\nparquet = 'a'\nignored = []\n[tasks]\na = 'binary'", "ignore"),
    ],
)
def test_a_file_is_a_door_too(tmp_path, text, meant):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"Did you mean '{meant}'"):
        from_toml(path)
