"""What a service answers is what the model answers, and it needs no torch for that."""

import json
import re
import shutil
import subprocess
import sys
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ple_study.batch import Batch
from ple_study.export import onnx_inputs
from ple_study.fitted import Fitted
from ple_study.interpret.contributions import contributions
from ple_study.serving import service as serving
from ple_study.serving.service import Service
from tests.serving.published import WHOLE, fitted, raw, served, several
from tests.studies import mixed

ROOT = Path(__file__).parents[2]
SIZES = (1, 5, 100)
BACKGROUND = several(17, seed=3)


def near(found: object, wanted: object) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def same_predictions(own: Fitted, batch: Batch, answers: list[Any]) -> None:
    wanted = own.predict(batch)
    for task in own.schema.tasks:
        found = [answer["predictions"][task.name] for answer in answers]
        rows = wanted[task.name]
        if task.outputs > 1:
            near([a["probabilities"] for a in found], rows)
            near([a["probability"] for a in found], rows.amax(1))
            sure = rows.topk(2).values.diff(dim=1)[:, 0].abs() > 1e-5
            best = torch.tensor([a["class"] for a in found])
            assert torch.equal(best[sure], rows.argmax(1)[sure])
            continue
        key = "value" if task.kind == "regression" else "probability"
        assert all(list(a) == [key] for a in found)
        near([a[key] for a in found], rows[:, 0])


def same_uncertainty(own: Fitted, batch: Batch, answers: list[Any]) -> None:
    wanted = own.uncertainty(batch)
    for name, opinion in wanted.items():
        found = [answer["uncertainty"][name] for answer in answers]
        task = own.schema.task(name)
        for part in ("vacuity", "aleatoric", "epistemic"):
            if part == "vacuity" and task.kind == "regression":
                assert not any(part in a for a in found)
                continue
            near([a[part] for a in found], getattr(opinion, part))
        key = {"binary": "probability", "regression": "value"}.get(task.kind)
        first = opinion.answer[:, 0]
        near([a[key or "probability"] for a in found],
             first if key else opinion.answer.amax(1))  # fmt: skip
    assert list(answers[0]["uncertainty"]) == list(wanted)


def same_contributions(own: Fitted, batch: Batch, answers: list[Any]) -> None:
    wanted = contributions(own, batch, BACKGROUND, readout="loo")
    for row, answer in enumerate(answers):
        told = answer["explanation"]
        assert told["readout"] == "loo"
        silent = [not here for here in wanted.present[row]]
        assert told["absent"] == list(np.array(wanted.experts)[silent])
        for place, task in enumerate(wanted.about):
            own_task = told["tasks"][task.name]
            assert list(own_task["experts"]) == list(wanted.experts)
            near(list(own_task["experts"].values()), wanted.raw[row, place])
            near(own_task["margin"], wanted.full[row, place])
            chosen = wanted.classes[row, place].item() if task.outputs > 1 else None
            assert own_task.get("class") == chosen


@pytest.mark.parametrize("size", SIZES)
def test_a_baseline_answers_as_the_model_does(
    ple: tuple[Fitted, Service], size: int
) -> None:
    own, service = ple
    batch = mixed(rows=max(size, 6), seed=4).rows.batch.rows(torch.arange(size))
    answers = service.answer(raw(own.schema, batch), explain=True)
    same_predictions(own, batch, answers)
    assert [list(answer) for answer in answers] == [
        ["predictions", "explanation"]
    ] * size
    weights, private = own.output(batch).weights, (1, 0, 2, 1)
    for row, answer in enumerate(answers):
        assert answer["explanation"]["readout"] == "gate"
        for place, (task, count) in enumerate(
            zip(own.schema.task_names, private, strict=True)
        ):
            levels = answer["explanation"]["tasks"][task]["levels"]
            names = [f"private {i + 1}" for i in range(count)] + [
                "shared 1",
                "shared 2",
            ]
            assert [list(level) for level in levels] == [names, names]
            for level, whole in zip(levels, weights, strict=True):
                near(list(level.values()), whole[row, place, : len(names)])
                near(sum(level.values()), 1.0)


@pytest.mark.parametrize("size", SIZES)
def test_a_heterogeneous_model_answers_as_it_does(
    cheap: tuple[Fitted, Service], size: int
) -> None:
    own, service = cheap
    batch = several(size)
    records = raw(own.schema, batch)
    for explain in (True, False):
        answers = service.answer(records, explain=explain)
        same_predictions(own, batch, answers)
        same_uncertainty(own, batch, answers)
        assert ("explanation" in answers[0]) == explain
        if explain:
            same_contributions(own, batch, answers)
    assert service.answer(records[0]) == service.answer(records[:1])


def test_every_modality_is_served(folder: Path) -> None:
    own = fitted(WHOLE)
    service = served(own, folder, BACKGROUND)
    asked = {i.name for i in service.explainer.get_inputs()}
    kinds = ("numeric", "events", "diagrams", "states", "clusters", "vectors")
    assert all(any(kind in name for name in asked) for kind in kinds)
    for size in SIZES:
        batch = several(size)
        for masked in (False, True):
            records = raw(own.schema, batch, masked)
            answers = service.answer(records, explain=True)
            same_predictions(own, batch, answers)
            same_uncertainty(own, batch, answers)
            same_contributions(own, batch, answers)
            same_predictions(own, batch, service.answer(records))
    nothing = [{f.name: 0.5 for f in own.schema.numeric}]
    (answer,) = service.answer(nothing, explain=True)
    assert answer["explanation"]["absent"] == ["perslay", "temporal", "lightgcn"]


def test_answers_are_json(cheap: tuple[Fitted, Service]) -> None:
    own, service = cheap
    answers = service.answer(raw(own.schema, several(5)), explain=True)
    assert json.loads(json.dumps(answers, allow_nan=False)) == answers


def test_many_records_are_answered_piece_by_piece(
    ple: tuple[Fitted, Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, service = ple
    batch = mixed(rows=8, seed=4).rows.batch
    records = raw(own.schema, batch)
    monkeypatch.setattr(serving, "ROWS", 3)
    same_predictions(own, batch, service.answer(records))
    records[7]["age"] = None
    with pytest.raises(ValueError, match="'age' of record 7 must be a finite number"):
        service.answer(records)


def test_a_session_is_asked_by_name(cheap: tuple[Fitted, Service]) -> None:
    own, service = cheap
    batch = several(5)
    arrays = {k: v.numpy() for k, v in onnx_inputs(batch).items()}
    outputs = service.run(arrays)
    assert list(outputs) == service.about["outputs"]["model.onnx"]
    explained = service.run(service.inputs(raw(own.schema, batch)), explain=True)
    assert list(explained) == service.about["outputs"]["explain.onnx"]
    for name in own.schema.task_names:
        near(outputs[name], own.predict(batch)[name])
        near(explained[name], outputs[name])


ALONE = """
import importlib.abc, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        allowed = {"ple_study", "numpy", "onnxruntime", *sys.stdlib_module_names}
        if name.split(".")[0] in {"torch", "pandas", "scipy", "jaxtyping", "pyarrow"}:
            raise AssertionError(name)

sys.meta_path.insert(0, Refuse())
from ple_study.serving.service import Service
folder, records = sys.argv[1], json.loads(sys.argv[2])
answers = Service.load(folder).answer(records, explain=True)
loaded = {name.split(".")[0] for name in sys.modules}
print(json.dumps([answers, sorted(loaded - set(sys.stdlib_module_names))]))
"""


def test_a_service_needs_numpy_and_onnx_runtime_alone(
    cheap: tuple[Fitted, Service],
) -> None:
    own, service = cheap
    records = raw(own.schema, several(2))
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(service.folder), json.dumps(records)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    answers, loaded = json.loads(done.stdout)
    wanted = service.answer(records, explain=True)
    near(*([a["predictions"]["ctr"]["probability"] for a in x]
           for x in (answers, wanted)))  # fmt: skip
    assert {"numpy", "onnxruntime", "ple_study"} <= set(loaded)
    ours = {name for name in loaded if not name.startswith(("_", "numpy", "onnx"))}
    assert ours <= {"ple_study", "google", "flatbuffers", "packaging", "distutils"}


def test_the_explainer_is_read_when_it_is_asked_for(
    cheap: tuple[Fitted, Service], folder: Path
) -> None:
    own, service = cheap
    shutil.copytree(service.folder, folder)
    (folder / "explain.onnx").unlink()
    copied, records = Service.load(folder), raw(own.schema, several(1))
    copied.answer(records)
    with pytest.raises(
        ValueError, match=r"names explain.onnx. Found no .*explain.onnx"
    ):
        copied.answer(records, explain=True)


def test_a_folder_that_is_not_whole_is_refused(
    ple: tuple[Fitted, Service], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"that publish wrote. Found no .*schema.json"):
        Service.load(folder)
    shutil.copytree(ple[1].folder, folder)
    file = folder / "schema.json"
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole.replace('"format": 1', '"format": 9'), encoding="utf-8")
    with pytest.raises(ValueError, match=r"of format 1. Found 9"):
        Service.load(folder)
    file.write_text(whole.replace('"age"', '"years"'), encoding="utf-8")
    with pytest.raises(ValueError, match=r"model.onnx must be of the schema in"):
        Service.load(folder)
    file.write_text(whole, encoding="utf-8")
    Service.load(folder)
    found = util.find_spec
    monkeypatch.setattr(
        serving, "find_spec", lambda n: None if n == "onnxruntime" else found(n)
    )
    with pytest.raises(ValueError, match="pip install onnxruntime"):
        Service.load(folder)


@pytest.mark.plain
@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "Records must be one or more. Found an empty list."),
        ("age", "Records must be a mapping, or a list of them. Found 'age'."),
        ([3], "Record 0 must be a mapping of fields. Found 3."),
    ],
)
def test_what_is_no_record_is_refused(
    ple: tuple[Fitted, Service], records: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ple[1].answer(records)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"schema.json must be JSON. Found: Expecting"),
        ("[1]", r"schema.json must be a JSON object. Found \[1\]"),
        ('{"format": 1}', r"schema.json needs \['schema', 'model'.* no 'schema'"),
    ],
)
def test_words_that_are_no_services_are_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "schema.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        Service.load(tmp_path)
    whole = {"format": 1, "schema": {}, "model": 3, "uncertainty": []}
    (tmp_path / "schema.json").write_text(json.dumps(whole | {"explanation": None}))
    with pytest.raises(
        ValueError, match=r"schema.json needs model of type str. Found 3"
    ):
        Service.load(tmp_path)
