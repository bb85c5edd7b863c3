"""The whole model with evidential heads: what they leave alone, and what they train."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from ple_study.baselines import SharedBottomSpec
from ple_study.batch import Output
from ple_study.checkpoint import spec_from_json, spec_to_json
from ple_study.data.loader import Scaler
from ple_study.export import load, onnx_inputs, save, to_onnx
from ple_study.fitted import Fitted, probabilities
from ple_study.model import HeterogeneousPLESpec
from ple_study.objective.evidence import evidence_losses, opinion
from ple_study.schema import TaskSpec
from ple_study.tasks.evidential import EvidentialHeads, EvidentialSpec
from tests import laws
from tests.sizes import BATCH
from tests.test_model import (
    EVEN,
    FOUR,
    GATES,
    SCHEMA,
    SPEC,
    built,
    close,
    fitted,
    people,
    rows,
)

BESIDE, INSTEAD = EvidentialSpec(), EvidentialSpec(place="instead", anneal=4)
PLACES = {
    "beside": replace(SPEC, evidential=BESIDE),
    "attached": replace(SPEC, evidential=EvidentialSpec(detach=False)),
    "instead": replace(SPEC, evidential=INSTEAD),
    "no basket": replace(SPEC, evidential=BESIDE, basket=None),
    "no transfer": replace(SPEC, evidential=INSTEAD, transfer=None),
}
each = pytest.mark.parametrize("spec", PLACES.values(), ids=PLACES)
WIDTH = {"ctr": 2, "channel": 4, "ltv": 4}
CUT = laws.cut


@pytest.fixture
def _evidence_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(output: Output, index: Tensor) -> list[Tensor]:
        evidence = [part[index] for part in output.evidence.values()]
        assert len(evidence) == len(WIDTH)
        return CUT(output, index) + evidence

    monkeypatch.setattr(laws, "cut", cut)


@each
@pytest.mark.usefixtures("_evidence_too")
def test_laws_of_rows(spec: HeterogeneousPLESpec) -> None:
    laws.one_row_alone_is_that_row(built(spec), people())
    laws.permuted_rows_permute_answers(built(spec), people())


@each
def test_every_parameter_learns(spec: HeterogeneousPLESpec) -> None:
    model, part = built(spec), rows(40)
    output = model(part.batch)
    assert {k: v.shape for k, v in output.evidence.items()} == {
        name: (40, width) for name, width in WIDTH.items()
    }
    own = evidence_losses(
        SCHEMA.tasks, output.evidence, part.labels, spec=spec.evidential, epoch=5
    )
    (laws.random_loss(output) + own.values.sum()).backward()
    still = {f"experts.absent.{name}" for name in ("deepfm", "causal")}
    for name, parameter in model.named_parameters():
        grad = parameter.new_zeros(1) if parameter.grad is None else parameter.grad
        assert grad.isfinite().all(), name
        assert grad.any() != (name in still), name


def test_heads_beside_read_what_is_the_tasks_own_before_transfer() -> None:
    model, batch = built(PLACES["beside"]), people()
    seen: list[list[Tensor]] = []
    model.basket.register_forward_hook(lambda *given: seen.append(given[2]))
    evidence = model(batch).evidence
    alone = EvidentialHeads(SCHEMA.tasks, 8)
    alone.load_state_dict(model.evidence.state_dict())
    close(evidence, alone(seen[0]))
    quiet = built(PLACES["beside"])
    for parameter in quiet.towers.parameters():
        torch.nn.init.normal_(parameter)
    assert all(map(torch.equal, quiet(batch).evidence.values(), evidence.values()))


def test_answers_instead_of_towers_are_derived_from_evidence() -> None:
    own, batch = fitted(PLACES["instead"]), people()
    output, answers = own.output(batch), own.predict(batch)
    alpha = output.evidence["ctr"]
    close(answers["ctr"][:, 0], alpha[:, 0] / alpha.sum(1))
    alpha = output.evidence["channel"]
    close(answers["channel"], alpha / alpha.sum(1, keepdim=True))
    close(answers["ltv"], output.evidence["ltv"][:, :1])
    close(answers, probabilities(SCHEMA.tasks, output.logits))
    assert set(own.evaluate(rows(40))) == set(SCHEMA.task_names)


def test_uncertainty_is_what_the_evidence_says() -> None:
    schema = replace(
        EVEN,
        tasks=(*EVEN.tasks[:2], replace(EVEN.tasks[2], scale=(40.0, 7.0))),
    )
    own, batch = fitted(PLACES["beside"], schema), people()
    found, output = own.uncertainty(batch), own.output(batch)
    assert list(found) == list(schema.task_names)
    for task in schema.tasks:
        for part, wanted in zip(
            found[task.name], opinion(task, output.evidence[task.name]), strict=True
        ):
            torch.testing.assert_close(part, wanted, equal_nan=True)
            assert not part.requires_grad
    raw = own.model(own.scaler(batch)).evidence["ltv"]
    close(found["ltv"].answer, 40 + 7 * raw[:, :1].detach(), 1e-5)
    assert found["ctr"].answer.shape == (BATCH, 2)
    assert ((found["ctr"].vacuity > 0) & (found["ctr"].vacuity < 1)).all()


@pytest.mark.parametrize("spec", [SPEC, SharedBottomSpec()])
def test_a_model_without_heads_is_not_asked(spec: object) -> None:
    model, scaler = spec.build(SCHEMA), Scaler.fit(SCHEMA, people(40))
    own = Fitted(model, spec, SCHEMA, scaler)
    with pytest.raises(
        ValueError, match=r"evidential=EvidentialSpec\(\). Found a spec"
    ):
        own.uncertainty(people())
    assert own.output(people()).evidence == {}


@each
def test_a_saved_model_and_its_spec_come_back(
    spec: HeterogeneousPLESpec, tmp_path: Path
) -> None:
    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec
    before, batch = fitted(spec), people()
    save(before, tmp_path)
    after = load(tmp_path)
    assert (after.spec, after.model.evidential) == (spec, spec.evidential)
    found, wanted = (own.output(batch).evidence for own in (after, before))
    assert len(found) == 3
    assert all(map(torch.equal, found.values(), wanted.values()))


MINE = """
spec = "HeterogeneousPLESpec"
[evidential]
spec = "EvidentialSpec"
place = "instead"
kl = 1
anneal = 3
"""


@pytest.mark.plain
def test_a_table_of_a_file_is_heads_and_false_is_none() -> None:
    found = spec_from_json(tomllib.loads(MINE)).evidential
    assert found == EvidentialSpec(place="instead", kl=1.0, anneal=3)
    nothing = 'spec = "HeterogeneousPLESpec"\nevidential = false'
    assert spec_from_json(tomllib.loads(nothing)) == HeterogeneousPLESpec()
    for old, new, message in (
        ('"instead"', '"inside"', "place must be one of"),
        ("anneal = 3", "anneal = 0.5", "EvidentialSpec needs anneal of type int"),
        ("kl = 1", "kl_weight = 1", "EvidentialSpec takes .*'kl_weight'"),
        ('"EvidentialSpec"', '"BasketSpec"', "BasketSpec takes"),
    ):
        with pytest.raises(ValueError, match=message):
            spec_from_json(tomllib.loads(MINE.replace(old, new)))
    with pytest.raises(ValueError, match="evidential must be a EvidentialSpec or None"):
        HeterogeneousPLESpec(evidential=True)


def test_a_schema_of_brands_alone_is_refused() -> None:
    brand = TaskSpec(name="brand", kind="contrastive", classes=5)
    schema = replace(SCHEMA, tasks=(brand,), transfers=())
    for heads in (BESIDE, INSTEAD):
        spec = replace(SPEC, modes=None, evidential=heads)
        with pytest.raises(ValueError, match=r"Found only \['brand \(contrastive\)'\]"):
            spec.build(schema)


@pytest.mark.plain
def test_onnx_knows_nothing_of_heads_beside(tmp_path: Path) -> None:
    few, gates = {"lightgcn": FOUR["lightgcn"]}, replace(GATES, which="neither")
    plain = replace(SPEC, experts=few, gates=gates, modes=None)
    batch, graphs, answers = people(9), [], []
    for name, heads in (("plain", None), ("beside", BESIDE), ("instead", INSTEAD)):
        own = fitted(replace(plain, evidential=heads), EVEN)
        path = to_onnx(own, tmp_path / f"{name}.onnx", logits=True)
        session = onnxruntime.InferenceSession(path)
        given = onnx_inputs(batch)
        asked = {i.name: given[i.name].numpy() for i in session.get_inputs()}
        answers.append(session.run(None, asked))
        wanted = own.output(batch).logits.values()
        for logits, answer in zip(wanted, answers[-1], strict=True):
            close(torch.from_numpy(answer), logits, 1e-5)
        graph = onnx.load(path).graph
        weights = [i.raw_data for i in graph.initializer]
        named = [[i.name for i in part] for part in (graph.input, graph.output)]
        graphs.append(([node.op_type for node in graph.node], weights, named))
    assert graphs[0] == graphs[1] != graphs[2]
    assert all((x == y).all() for x, y in zip(*answers[:2], strict=True))


@pytest.mark.plain
@pytest.mark.parametrize("name", ["beside", "instead"])
def test_the_compiled_form_is_the_same(name: str) -> None:
    model, batch = built(PLACES[name]).train(), people()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    found, wanted = compiled(batch), model(batch)
    close(found.logits, wanted.logits, 1e-5)
    close(dict(found.evidence), dict(wanted.evidence), 1e-5)
