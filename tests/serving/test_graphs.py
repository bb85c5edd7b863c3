"""What the files compute, before they are files: formulas, names, what is refused."""

from dataclasses import replace
from pathlib import Path

import mpmath
import numpy as np
import onnxruntime
import pytest
import scipy.special
import torch
from torch import Tensor, nn

from ple_study.baselines import MMoESpec, PLESpec, SharedBottomSpec
from ple_study.batch import Batch, Model, Output
from ple_study.data.loader import Scaler
from ple_study.export import example, onnx_inputs, program
from ple_study.fitted import Fitted
from ple_study.interpret.contributions import contributions
from ple_study.model import HeterogeneousPLESpec
from ple_study.objective import evidence
from ple_study.schema import Feature, Schema, Sequence, TaskSpec, Vector
from ple_study.serving import publish as publishing
from ple_study.serving.graphs import Answers, Contributions, digamma, opinion, slots
from ple_study.serving.publish import publish
from ple_study.serving.service import Service
from ple_study.tasks.evidential import EvidentialSpec
from tests.interpret import explained
from tests.interpret.explained import WAYS
from tests.serving.published import CHEAP, OWN, fitted, several, unchecked
from tests.studies import SCHEMA, mixed
from tests.test_export import SMALL, TOWER, untrained
from tests.test_model import SPEC


def test_digamma_is_that_of_scipy_and_of_many_digits() -> None:
    x = torch.cat([torch.linspace(1, 12, 400), torch.logspace(1, 7, 100)]).double()
    wanted = scipy.special.digamma(x.numpy())
    np.testing.assert_allclose(digamma(x).numpy(), wanted, 1e-12, 3e-12)
    for value in (1.0, 1.5, 2.0, 3.25, 1e4):
        one = digamma(torch.tensor([value], dtype=torch.float64)).item()
        assert abs(one - float(mpmath.digamma(value))) < 3e-12


@pytest.mark.parametrize(
    "task",
    [
        TaskSpec(name="binary"),
        TaskSpec(name="classes", kind="multiclass", classes=4),
        TaskSpec(name="value", kind="regression", scale=(40.0, 7.0)),
    ],
    ids=lambda task: task.kind,
)
@pytest.mark.parametrize("size", [0.0, 3.0, 1e5])
def test_an_opinion_is_that_of_the_library(task: TaskSpec, size: float) -> None:
    width = {"binary": 2, "multiclass": 4, "regression": 4}[task.kind]
    draw = torch.Generator().manual_seed(0)
    found = 1.0 + size * torch.rand(50, width, generator=draw)
    if task.kind == "regression":
        found[:, 2] += 0.1
    for ours, theirs in zip(
        opinion(task, found), evidence.opinion(task, found), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize("name", WAYS)
def test_leaving_out_is_that_of_contributions(name: str) -> None:
    own, others = explained.fitted(WAYS[name]), explained.background()
    graph, batch = Contributions(own, others), explained.asked()
    found = dict(zip(graph.names, graph(batch), strict=True))
    wanted = contributions(own, batch, others, readout="loo")
    explained.close(found["explanation/loo"], wanted.raw)
    explained.close(found["explanation/margin"], wanted.full)
    assert torch.equal(found["explanation/class"], wanted.classes)
    assert torch.equal(found["explanation/present"], wanted.present)
    assert not found["explanation/present"].all()
    for task, answer in own.predict(batch).items():
        explained.close(found[task], answer)
    assert list(found)[: len(own.schema.tasks)] == list(own.schema.task_names)


@pytest.mark.parametrize("place", ["beside", "instead"])
def test_evidence_is_that_of_the_customer_as_he_is(place: str) -> None:
    own = fitted(replace(CHEAP, evidential=EvidentialSpec(place=place)))
    batch, other = several(5), Contributions(own, several(9, seed=2))
    graphs = (Answers(own), Answers(own, gates=False), other)
    wanted = own.uncertainty(batch)
    for graph in graphs:
        found = dict(zip(graph.names, graph(batch), strict=True))
        for at, (name, sure) in enumerate(wanted.items()):
            close(found[f"uncertainty/answer/{name}"], sure.answer)
            for part in ("vacuity", "aleatoric", "epistemic"):
                close(found[f"uncertainty/{part}"][:, at], getattr(sure, part))
        for name, answer in own.predict(batch).items():
            close(found[name], answer)


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=2e-6, rtol=1e-5, equal_nan=True)


def built(spec: PLESpec | MMoESpec | HeterogeneousPLESpec, schema: Schema) -> Fitted:
    scaler = Scaler(*torch.ones(2, len(schema.numeric)).unbind())
    return Fitted(spec.build(schema).eval(), spec, schema, scaler)


def test_slots_are_named_by_who_is_heard() -> None:
    two = replace(SCHEMA, tasks=SCHEMA.tasks[:2])
    ple = PLESpec(levels=2, shared=1, private=(2, 0), expert=SMALL, tower=TOWER)
    level = [["private 1", "private 2", "shared 1"], ["shared 1"]]
    assert slots(built(ple, two)) == [level, level]
    mmoe = MMoESpec(experts=3, expert=SMALL, tower=TOWER)
    assert slots(built(mmoe, two)) == [[["shared 1", "shared 2", "shared 3"]] * 2]
    assert slots(built(SharedBottomSpec(), two)) == []
    names = list(SPEC.experts)
    first = [["private 1", "private 2", *names]] * 3
    wanted = {
        "both": [first, [names] * 3],
        "stage1_only": [first],
        "stage2_only": [[names] * 3],
        "neither": [],
    }
    for which, levels in wanted.items():
        spec = replace(SPEC, gates=replace(SPEC.gates, which=which))
        assert slots(built(spec, OWN)) == levels


def test_a_gates_weights_are_in_the_models_order() -> None:
    own = untrained(PLESpec(shared=1, private=(2, 0, 1, 1), expert=SMALL, tower=TOWER))
    graph, batch = Answers(own), mixed(rows=9).rows.batch
    found = dict(zip(graph.names, graph(batch), strict=True))
    for level, weights in enumerate(own.output(batch).weights, 1):
        assert torch.equal(found[f"explanation/gate/{level}"], weights)
        for task, names in enumerate(graph.slots[level - 1]):
            assert not weights[:, task, len(names) :].any()
            assert (weights[:, task, : len(names)] > 0).all()


class Own(Model):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, batch: Batch) -> Output:
        weights = self.linear(batch.numeric).softmax(1)
        logits = {task.name: weights[:, : task.outputs] for task in SCHEMA.tasks[:2]}
        return Output(logits, (weights[:, None].expand(-1, 2, -1),))


def test_a_model_of_ones_own_has_numbered_slots() -> None:
    schema = replace(SCHEMA, tasks=SCHEMA.tasks[:2])
    own = Fitted(
        Own(), SharedBottomSpec(), schema, Scaler(torch.zeros(3), torch.ones(3))
    )
    assert slots(own) == [[["slot 1", "slot 2", "slot 3"]] * 2]


class Sum(nn.Module):
    """Reads every vector, and so many of the series."""

    def __init__(self, count: int = 3) -> None:
        super().__init__()
        self.count = count

    def forward(self, batch: Batch) -> tuple[Tensor]:
        read = list(batch.events.values())[: self.count]
        events = [e.values.sum((1, 2)) for e in read]
        vectors = [v.sum(1) for v in batch.vectors.values()]
        return (torch.stack([*events, *vectors]).sum(0),)


def series(*names: str) -> Schema:
    return Schema(
        features=(Feature(name="a"),),
        tasks=(TaskSpec(name="t"),),
        sequences=tuple(Sequence(name=n, steps=4, channels=("x",)) for n in names),
        vectors=(Vector(name="a.B", dim=3),),
    )


def test_inputs_keep_their_names(tmp_path: Path) -> None:
    schema = series("Day by day", "1st", "pay-day")
    with unchecked():
        program(Sum(), schema, ["t"]).save(tmp_path / "sum.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "sum.onnx")
    given = {k: torch.ones_like(v) for k, v in onnx_inputs(example(schema)).items()}
    asked = {i.name: given[i.name].numpy() for i in session.get_inputs()}
    assert len(asked) == 4
    assert session.run(None, asked)[0].tolist() == [3 * 4 + 3] * 3
    for count in (1, 2):
        with (
            unchecked(),
            pytest.raises(ValueError, match=r"differ in their letters and digits"),
        ):
            program(Sum(count), series("pay-day", "pay day"), ["t"])


def test_what_cannot_be_published_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = untrained(SharedBottomSpec(trunk=SMALL, tower=TOWER))
    with pytest.raises(ValueError, match=r"HeterogeneousPLE. Found a SharedBottom"):
        publish(own, folder, background=mixed().rows.batch)
    named = replace(OWN, features=(*OWN.features, Feature(name="clusters")))
    with pytest.raises(ValueError, match=r"column of the same name: \['clusters'\]"):
        publish(replace(fitted(SPEC), schema=named), folder)
    task = TaskSpec(name="explanation/gate/1")
    twice = replace(SCHEMA, tasks=(*SCHEMA.tasks, task))
    with pytest.raises(ValueError, match=r"Names of outputs must be unique.*gate/1"):
        publish(built(MMoESpec(expert=SMALL, tower=TOWER), twice), folder)
    monkeypatch.setattr(publishing, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"ple-study\[export\].*no onnxscript"):
        publish(own, folder)
    assert not folder.exists()


@pytest.mark.plain
def test_what_was_published_before_is_replaced(folder: Path) -> None:
    folder.mkdir()
    (folder / "explain.onnx").write_text("of another model")
    own = untrained(SharedBottomSpec(trunk=SMALL, tower=TOWER))
    assert publish(own, folder) == folder
    assert {f.name for f in folder.iterdir()} == {"model.onnx", "schema.json"}
    service = Service.load(folder)
    record = {"age": 1, "visits": 2, "share": 0.5}
    assert list(service.answer(record)[0]) == ["predictions"]
    assert service.about["versions"]["torch"] == torch.__version__
    with pytest.raises(ValueError, match=r"Found a SharedBottom with neither"):
        service.answer(record, explain=True)
