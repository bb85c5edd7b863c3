"""What a model answers does not change by being saved, loaded or exported."""

import json
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from ple_study import checkpoint, export
from ple_study.baselines import (
    MMoESpec,
    PLESpec,
    SharedBottom,
    SharedBottomSpec,
    SingleTaskSpec,
)
from ple_study.batch import ModelSpec
from ple_study.data.loader import Scaler
from ple_study.experts.mlp import MLPSpec
from ple_study.export import FILE, example, load, save, to_onnx
from ple_study.fitted import Fitted
from ple_study.gates.routing import GateSpec
from ple_study.schema import Schema, Sequence
from ple_study.training import Training, fit
from tests.studies import SCHEMA, mixed

SMALL = MLPSpec(dims=(8, 7), norm="layer")
TOWER = MLPSpec(dims=(6,))
SPECS = {
    "shared-bottom": SharedBottomSpec(trunk=replace(SMALL, norm="batch"), tower=TOWER),
    "mmoe": MMoESpec(experts=3, expert=SMALL, tower=TOWER, gate=GateSpec(norm=True)),
    "ple": PLESpec(levels=2, shared=2, private=(1, 0, 2, 1), expert=SMALL, tower=TOWER),
    "single-task": SingleTaskSpec(trunk=SMALL, tower=TOWER),
}


def fitted(spec=SPECS["ple"]):
    training = Training(epochs=2, batch_size=32)
    return fit(mixed(), spec, training=training, device="cpu")


def untrained(spec):
    scaler = Scaler.fit(SCHEMA, mixed().part("train").batch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = spec.build(SCHEMA)
        for buffer in model.buffers():  # as if batches had gone through the norms
            if buffer.is_floating_point():
                buffer += torch.rand_like(buffer)
    return Fitted(model.eval(), spec, SCHEMA, scaler)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_saved_model_answers_as_before(tmp_path, spec):
    before, batch = fitted(spec), mixed().rows.batch
    file = save(before, tmp_path / "new" / "folder")
    after = load(file.parent)
    assert after.spec == spec
    assert after.schema == SCHEMA
    assert after.history == before.history
    assert after.run == before.run
    assert after.best_epoch == before.best_epoch
    for task, answer in before.predict(batch).items():
        assert torch.equal(answer, after.predict(batch)[task])


def test_loading_leaves_the_callers_random_numbers_alone(tmp_path):
    save(untrained(SPECS["ple"]), tmp_path)
    state = torch.get_rng_state()
    load(tmp_path)
    assert torch.equal(state, torch.get_rng_state())


@dataclass(frozen=True, kw_only=True)
class OwnSpec(ModelSpec):
    width: int = 5

    def build(self, schema: Schema):
        trunk = MLPSpec(dims=(self.width,))
        return SharedBottomSpec(trunk=trunk, tower=TOWER).build(schema)


def test_a_spec_that_is_not_the_librarys_is_handed_over(tmp_path):
    before = untrained(OwnSpec())
    save(before, tmp_path)
    with pytest.raises(ValueError, match=r"PLESpec.*Found 'OwnSpec'"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"OwnSpec\(width=6\).*Found.*'width': 5"):
        load(tmp_path, OwnSpec(width=6))
    after, batch = load(tmp_path, OwnSpec()), mixed().rows.batch
    assert torch.equal(before.predict(batch)["brand"], after.predict(batch)["brand"])


def test_a_file_that_cannot_be_loaded_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"model\.safetensors\. Found no such file"):
        load(tmp_path)
    file = save(untrained(SPECS["mmoe"]), tmp_path)
    whole = file.read_bytes()
    for damaged in (whole[:-5], whole[:50], b""):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="must be a whole safetensors file"):
            load(tmp_path)
    file.write_bytes(whole.replace(b'\\"format\\": 1', b'\\"format\\": 7'))
    with pytest.raises(ValueError, match=r"format 1 of ple_study. Found 7"):
        load(tmp_path)


def feed(session, batch):
    given = {"batch_numeric": batch.numeric, "batch_categorical": batch.categorical}
    answers = session.run(None, {k: v.numpy() for k, v in given.items()})
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, answers, strict=True))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("scaler.mean", None, r"must hold 'scaler.mean', as its model does. Found \d+"),
        ("model.new", torch.ones(1), r"must hold no 'model.new', as its model does"),
        ("scaler.std", torch.ones(4), r"'scaler.std' as .*\[3\].* Found .*\[4\]"),
        ("scaler.std", torch.ones(3).long(), r"float32.* Found .*int64"),
    ],
)
def test_other_tensors_are_named(tmp_path, name, change, message):
    path = save(untrained(SPECS["ple"]), tmp_path)
    tensors, meta = checkpoint.read(path)
    tensors.pop(name, None)
    more = {} if change is None else {name: change}
    checkpoint.write(path, tensors | more, meta)
    with pytest.raises(ValueError, match=f"{FILE} .*{message}"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"history": None}, "needs history of type list. Found None"),
        ({"run": []}, r"needs run of type Mapping. Found \[\]"),
        ({"spec": {"spec": "MLPSpec"}}, r"must be of a ModelSpec. Found MLPSpec\("),
        ({"schema": {}}, "Schema needs .* Found no 'features'"),
    ],
)
def test_other_words_are_named(tmp_path, change, message):
    path = save(untrained(SPECS["ple"]), tmp_path)
    tensors, meta = checkpoint.read(path)
    checkpoint.write(path, tensors, meta | change)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)
    del meta["history"]
    checkpoint.write(path, tensors, meta)
    with pytest.raises(ValueError, match=r"needs \['schema'.* Found no 'history'"):
        load(tmp_path)


@pytest.mark.plain  # slow: ten seconds each for the exporter
@pytest.mark.parametrize(("name", "raw"), [(name, name != "ple") for name in SPECS])
def test_onnx_runtime_answers_as_torch_does(tmp_path, capfd, name, raw):
    own = untrained(SPECS[name])
    path = to_onnx(own, tmp_path / "model.onnx", raw=raw, logits=not raw)
    assert capfd.readouterr() == ("", "")
    session = onnxruntime.InferenceSession(path)
    batch = mixed(rows=1000, seed=4).rows.batch
    expected = own.predict(batch) if raw else own.output(batch).logits
    for start, size in ((0, 1), (1, 7), (0, 1000)):
        piece = batch.rows(torch.arange(start, start + size))
        found = feed(session, piece if raw else own.scaler(piece))
        assert list(found) == list(SCHEMA.task_names)
        for task, answer in found.items():
            rows = expected[task][start : start + size].numpy()
            assert answer.shape == rows.shape
            assert np.abs(answer - rows).max() <= 1e-5, task
    kept = json.loads(onnx.load(path).metadata_props[0].value)
    assert Schema.from_json(kept) == SCHEMA


def test_export_without_its_packages_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"ple-study\[export\].*no onnxscript"):
        to_onnx(untrained(SPECS["mmoe"]), tmp_path / "model.onnx")


def test_an_example_has_every_field_of_the_schema():
    schema = replace(
        SCHEMA,
        sequences=(Sequence(name="daily", steps=6, channels=("a", "b")),),
        diagrams=("loops",),
        states=(3, 4),
        clusters=2,
    )
    batch = example(schema)
    assert batch.events["daily"].values.shape == (3, 6, 2)
    assert batch.diagrams["loops"].mask.shape == (3, 2)
    assert batch.states.shape == (3, 3, 4)
    assert batch.clusters.shape == (3, 2)
    assert example(SCHEMA).states is None


class Turned(SharedBottom):
    """Names its answers in another order than the schema."""

    def forward(self, batch):
        output = super().forward(batch)
        return output._replace(logits=dict(reversed(output.logits.items())))


class TurnedSpec(SharedBottomSpec):
    def build(self, schema):
        return Turned(schema, self)


def test_logits_are_named_as_the_tasks_are(tmp_path):
    own = untrained(TurnedSpec())
    path = to_onnx(own, tmp_path / "model.onnx", logits=True)
    batch = mixed().part("test").batch
    found = feed(onnxruntime.InferenceSession(path), batch)
    for task, wanted in own.output(batch).logits.items():
        assert np.abs(found[task] - wanted.numpy()).max() <= 1e-4
