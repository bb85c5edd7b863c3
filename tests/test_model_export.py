"""The whole model on its way out: a file, JSON, TOML, ONNX, a compiled form."""

import json
import tomllib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from ple_study.checkpoint import spec_from_json, spec_to_json
from ple_study.experts.mlp import MLPSpec
from ple_study.export import load, onnx_inputs, save, to_onnx
from ple_study.model import HeterogeneousPLESpec
from ple_study.tasks.basket import BasketSpec
from ple_study.tasks.transfer import TransferSpec
from tests import laws
from tests.experts.specs import TRANSPORT
from tests.sizes import BATCH
from tests.test_model import (
    EVEN,
    FOUR,
    SCHEMA,
    SPECS,
    built,
    close,
    each,
    fitted,
    people,
)


@each
def test_a_saved_model_answers_as_before(
    spec: HeterogeneousPLESpec, tmp_path: Path
) -> None:
    before, batch = fitted(spec), people()
    save(before, tmp_path)
    after = load(tmp_path)
    assert (after.spec, after.schema) == (spec, SCHEMA)
    everyone = torch.arange(BATCH)
    found, wanted = (laws.cut(own.output(batch), everyone) for own in (after, before))
    assert all(map(torch.equal, found, wanted))


@pytest.mark.plain
@pytest.mark.parametrize("name", ["both", "form B"])
def test_onnx_runtime_answers_as_torch_does(name: str, tmp_path: Path) -> None:
    transport = replace(TRANSPORT["metric"], iterations=2)
    experts = {"lightgcn": FOUR["lightgcn"], "optimal_transport": transport}
    own = fitted(replace(SPECS[name], experts=experts), EVEN)
    path = to_onnx(own, tmp_path / "model.onnx", logits=True)
    session = onnxruntime.InferenceSession(path)
    for size in (5, 100):
        batch = people(size)
        given = onnx_inputs(batch)
        asked = {i.name: given[i.name].numpy() for i in session.get_inputs()}
        assert {"batch_states", "batch_clusters"} <= set(asked)
        wanted = own.output(batch).logits
        found = session.run(list(wanted), asked)
        for logits, answer in zip(wanted.values(), found, strict=True):
            close(torch.from_numpy(answer), logits, 1e-5)


def gradients(logits: Iterable[Tensor], model: nn.Module) -> list[Tensor | None]:
    model.zero_grad()
    torch.stack([z.square().sum() for z in logits]).sum().backward()
    return [p.grad for p in model.parameters()]


@pytest.mark.plain
def test_the_compiled_form_is_the_same() -> None:
    model, batch = built().train(), people()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    found, wanted = compiled(batch), model(batch)
    close(found, wanted, 1e-5)
    one, other = (gradients(x.logits.values(), model) for x in (found, wanted))
    close(one, other, 1e-5)


@each
def test_a_spec_survives_json(spec: HeterogeneousPLESpec) -> None:
    found = spec_from_json(json.loads(json.dumps(spec_to_json(spec))))
    assert found == spec
    assert found.basket == spec.basket
    assert found.transfer == spec.transfer


MINE = """
spec = "HeterogeneousPLESpec"
modes = false
[basket]
spec = "BasketSpec"
form = "B"
routing = "hard"
encoder = { spec = "MLPSpec", dims = [9] }
dim = 7
[transfer]
spec = "TransferSpec"
method = "output_concat"
detach = true
"""


@pytest.mark.plain
def test_a_table_of_a_file_is_a_stage_and_false_is_none() -> None:
    found = spec_from_json(tomllib.loads(MINE))
    encoder = MLPSpec(dims=(9,))
    assert found.basket == BasketSpec(form="B", routing="hard", encoder=encoder, dim=7)
    assert found.transfer == TransferSpec(method="output_concat", detach=True)
    assert found.modes is None
    nothing = 'spec = "HeterogeneousPLESpec"\nbasket = false\ntransfer = false'
    assert spec_from_json(tomllib.loads(nothing)) == HeterogeneousPLESpec(
        basket=None, transfer=None
    )
    for old, new, message in (
        ('form = "B"', 'form = "C"', "form must be one of .*Found 'C'"),
        ('"TransferSpec"', '"BasketSpec"', "BasketSpec takes .*argument 'method'"),
        ("modes = false", 'modes = "none"', "needs modes of type .*Found 'none'"),
        ("dim = 7", "dim = 7.5", "BasketSpec needs dim of type int. Found 7.5"),
    ):
        assert old in MINE
        with pytest.raises(ValueError, match=message):
            spec_from_json(tomllib.loads(MINE.replace(old, new)))
