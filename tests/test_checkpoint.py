"""Specs survive JSON; files are whole or absent; arguments are checked by name."""

import json
from dataclasses import dataclass

import pytest
import torch

from ple_study.baselines import MMoESpec, PLESpec, SharedBottomSpec, SingleTaskSpec
from ple_study.checkpoint import (
    check_same,
    inside,
    read,
    spec_from_json,
    spec_to_json,
    under,
    write,
)
from ple_study.experts.mlp import MLPSpec
from ple_study.gates.attention import CGCAttentionSpec
from ple_study.gates.routing import GateSpec
from ple_study.gates.stages import StagesSpec
from ple_study.model import HeterogeneousPLESpec
from ple_study.names import filled
from ple_study.objective.adatt import AdaTTSpec
from ple_study.objective.gradnorm import GradNormSpec
from ple_study.objective.surgery import GradientSurgerySpec
from ple_study.objective.weighting import (
    DynamicWeightAverageSpec,
    FixedWeightingSpec,
    UncertaintyWeightingSpec,
)
from ple_study.tasks.modes import ModesSpec
from tests.experts.specs import EVERY

TENSORS = {"a.x": torch.arange(6).view(2, 3), "b": torch.tensor(1.5)}

ATTENTION = CGCAttentionSpec(
    dim_normalize=False,
    rescale=False,
    block_norm="layer",
    prior=-2.0,
    missing="default",
    entropy=0.5,
    entropy_floor=0.25,
    scaled=False,
)
MODES = ModesSpec(
    dim=6,
    names=("day", "month"),
    groups={"value": "day", "spec": "month"},
    tasks={"churn": "month"},
    fallback="day",
    shared=True,
    learned=False,
)
WHOLE = HeterogeneousPLESpec(
    experts={**EVERY, "spec": EVERY["causal-none"]},
    gates=StagesSpec(
        which="stage1_only",
        private=3,
        expert=MLPSpec(dims=(9,), dropout=0.5),
        gate=GateSpec(kind="top_k", top_k=4, balance=0.5),
        attention=ATTENTION,
        freeze_epoch=3,
    ),
    modes=MODES,
    tower=MLPSpec(dims=()),
)


@pytest.mark.parametrize(
    "spec",
    [
        MLPSpec(dims=(3, 2), norm="batch"),
        SharedBottomSpec(tower=MLPSpec(dims=())),
        SingleTaskSpec(),
        MMoESpec(experts=3, gate=GateSpec(bias=True)),
        PLESpec(private=(1, 2)),
        GateSpec(kind="sigmoid"),
        HeterogeneousPLESpec(),
        HeterogeneousPLESpec(modes=None),
        WHOLE,
        FixedWeightingSpec(),
        UncertaintyWeightingSpec(start="loss", bound=2.5),
        DynamicWeightAverageSpec(temperature=1.5),
        GradNormSpec(alpha=0.5, every=3),
        GradientSurgerySpec(aggregator="PCGrad"),
        AdaTTSpec(
            inner=UncertaintyWeightingSpec(), within={"value": 0.5}, prior=(1.0, 0.0)
        ),
        HeterogeneousPLESpec(basket=None, transfer=None),
    ],
)
def test_a_spec_survives_json(spec):
    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec


def test_a_spec_of_no_class_or_another_is_refused():
    for data in ({"dims": [1]}, {"spec": "Path", "dims": [1]}):
        with pytest.raises(ValueError, match=r"one of \['MLPSpec'.*Found"):
            spec_from_json(data)


def test_mappings_keep_their_order_and_their_kinds():
    found = spec_from_json(json.loads(json.dumps(spec_to_json(WHOLE))))
    assert list(found.experts) == [*EVERY, "spec"]
    assert [type(part) for part in found.experts.values()] == [
        type(part) for part in WHOLE.experts.values()
    ]
    assert found.gates.attention == ATTENTION
    assert dict(found.modes.groups) == {"value": "day", "spec": "month"}
    assert hash(found) == hash(WHOLE)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("experts", {"a": {"spec": "DeepMF"}}, "Found 'DeepMF'.*mean 'DeepFMSpec'"),
        (
            "experts",
            {"a": {"spec": "DeepFMSpec", "dims": 3}},
            "another .*'dims'.*'dim'",
        ),
        ("experts", {"a": {"dim": 3}}, r"one of \['MLPSpec'.*Found None"),
        ("tower", {"dims": [3]}, r"one of \['MLPSpec'.*Found None"),
        ("gates", {"spec": "StagesSpec", "private": "1"}, "private of type int.*'1'"),
        ("tower", 3, "HeterogeneousPLESpec needs tower to be a MLPSpec. Found 3"),
        ("gates", {"spec": "GateSpec"}, r"to be a StagesSpec. Found GateSpec\("),
        ("modes", {"spec": "ModesSpec", "groups": {"value": "x"}}, "'x' for value"),
        ("modes", {"spec": "ModesSpec", "groups": {"a": {"b": "x"}}}, "Found None"),
    ],
)
def test_a_part_that_cannot_be_is_refused_wherever_it_is(place, value, message):
    data = spec_to_json(WHOLE) | {place: value}
    with pytest.raises(ValueError, match=message):
        spec_from_json(data)


@dataclass(frozen=True, kw_only=True)
class Part:
    count: int = 1
    rate: float = 0.5
    name: str = "x"
    on: bool = False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 1.0),
        ("count", True),
        ("rate", "1"),
        ("rate", True),
        ("name", 3),
        ("on", 1),
    ],
)
def test_arguments_of_another_type_are_named(name, value):
    with pytest.raises(
        ValueError, match=f"Part needs {name} of type .* Found {value!r}"
    ):
        filled(Part, {name: value})


def test_whole_numbers_do_for_fractions():
    found = filled(Part, {"rate": 2, "count": 3})
    assert (found, type(found.rate)) == (Part(rate=2.0, count=3), float)
    with pytest.raises(ValueError, match=r"Part takes \['count'.*another.*'rates'"):
        filled(Part, {"rates": 2})


def test_a_file_answers_what_was_written(tmp_path):
    path = tmp_path / "new" / "file.safetensors"
    write(path, TENSORS, {"words": ["ä", 1.25, None]})
    tensors, meta = read(path)
    assert meta["words"] == ["ä", 1.25, None]
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    assert path.stat().st_mode == ordinary.stat().st_mode


def test_tensors_that_share_memory_are_written_apart(tmp_path):
    whole = torch.arange(6.0)
    write(tmp_path / "f", {"first": whole[:3], "last": whole[3:], "all": whole}, {})
    tensors, _ = read(tmp_path / "f")
    assert tensors["last"].tolist() == [3, 4, 5]
    assert tensors["all"].tolist() == whole.tolist()


def test_a_file_of_someone_else_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file(TENSORS, tmp_path / "theirs")
    with pytest.raises(ValueError, match=r"theirs must hold format 1.*none of ours"):
        read(tmp_path / "theirs")
    for words in ("{", "[1]"):
        save_file(TENSORS, tmp_path / "theirs", {"ple_study": words})
        with pytest.raises(ValueError, match=r"theirs says of itself must be .*Found"):
            read(tmp_path / "theirs")
    (tmp_path / "text").write_text("no tensors here at all")
    with pytest.raises(ValueError, match="whole safetensors file"):
        read(tmp_path / "text")


def test_names_go_under_and_come_out(tmp_path):
    assert list(under("model", {"x": TENSORS["b"]})) == ["model.x"]
    assert list(inside(TENSORS, "a")) == ["x"]
    assert inside({"ab.x": TENSORS["b"]}, "a") == {}
    with pytest.raises(ValueError, match=r"Found another seed, spec\."):
        check_same(tmp_path, {"seed": 1, "rows": 2}, {"seed": 2, "spec": 1, "rows": 2})
