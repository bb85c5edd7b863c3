"""Specs survive JSON; files are whole or absent; arguments are checked by name."""

import json
from dataclasses import dataclass

import pytest
import torch

from ple_study.baselines import MMoESpec, PLESpec, SharedBottomSpec, SingleTaskSpec
from ple_study.checkpoint import (
    check_same,
    filled,
    inside,
    read,
    spec_from_json,
    spec_to_json,
    under,
    write,
)
from ple_study.experts.mlp import MLPSpec
from ple_study.objective.weighting import FixedWeightingSpec, UncertaintyWeightingSpec

TENSORS = {"a.x": torch.arange(6).view(2, 3), "b": torch.tensor(1.5)}


@pytest.mark.parametrize(
    "spec",
    [
        MLPSpec(dims=(3, 2), norm="batch"),
        SharedBottomSpec(tower=MLPSpec(dims=())),
        SingleTaskSpec(),
        MMoESpec(experts=3, gate_bias=True),
        PLESpec(private=(1, 2)),
        FixedWeightingSpec(),
        UncertaintyWeightingSpec(start="loss", bound=2.5),
    ],
)
def test_a_spec_survives_json(spec):
    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec


def test_a_spec_of_no_class_or_another_is_refused():
    for data in ({"dims": [1]}, {"spec": "Path", "dims": [1]}):
        with pytest.raises(ValueError, match=r"one of \['MLPSpec'.*Found"):
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
    (tmp_path / "text").write_text("no tensors here at all")
    with pytest.raises(ValueError, match="whole safetensors file"):
        read(tmp_path / "text")


def test_names_go_under_and_come_out(tmp_path):
    assert list(under("model", {"x": TENSORS["b"]})) == ["model.x"]
    assert list(inside(TENSORS, "a")) == ["x"]
    assert inside({"ab.x": TENSORS["b"]}, "a") == {}
    with pytest.raises(ValueError, match=r"Found another seed, spec\."):
        check_same(tmp_path, {"seed": 1, "rows": 2}, {"seed": 2, "spec": 1, "rows": 2})
