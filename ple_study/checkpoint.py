"""What is kept on disk: tensors and JSON in one safetensors file, and never a pickle.

A file is written beside its place and moved there whole, so that whoever is killed
while writing leaves the file before it untouched.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ple_study.baselines import MMoESpec, PLESpec, SharedBottomSpec, SingleTaskSpec
from ple_study.experts.causal import CausalSpec
from ple_study.experts.deepfm import DeepFMSpec
from ple_study.experts.hgcn import HGCNSpec
from ple_study.experts.lightgcn import LightGCNSpec
from ple_study.experts.mlp import MLPSpec
from ple_study.experts.perslay import PersLaySpec
from ple_study.experts.temporal import TemporalSpec
from ple_study.experts.transport import OptimalTransportSpec
from ple_study.gates.attention import CGCAttentionSpec
from ple_study.gates.routing import GateSpec
from ple_study.gates.stages import StagesSpec
from ple_study.model import HeterogeneousPLESpec
from ple_study.names import filled, nearest, object_of
from ple_study.objective.adatt import AdaTTSpec
from ple_study.objective.gradnorm import GradNormSpec
from ple_study.objective.surgery import GradientSurgerySpec
from ple_study.objective.weighting import (
    DynamicWeightAverageSpec,
    FixedWeightingSpec,
    UncertaintyWeightingSpec,
)
from ple_study.tasks.basket import BasketSpec
from ple_study.tasks.evidential import EvidentialSpec
from ple_study.tasks.modes import ModesSpec
from ple_study.tasks.transfer import TransferSpec

FORMAT = 1
_PARTS: dict[str, type] = {
    part.__name__: part
    for part in (
        MLPSpec,
        SharedBottomSpec,
        SingleTaskSpec,
        MMoESpec,
        PLESpec,
        GateSpec,
        CGCAttentionSpec,
        StagesSpec,
        ModesSpec,
        BasketSpec,
        TransferSpec,
        EvidentialSpec,
        DeepFMSpec,
        LightGCNSpec,
        HGCNSpec,
        TemporalSpec,
        PersLaySpec,
        CausalSpec,
        OptimalTransportSpec,
        HeterogeneousPLESpec,
        FixedWeightingSpec,
        UncertaintyWeightingSpec,
        DynamicWeightAverageSpec,
        GradNormSpec,
        GradientSurgerySpec,
        AdaTTSpec,
    )
}


def spec_to_json(spec: Any) -> Any:
    """A spec as plain JSON values; each nested spec names its class as ``spec``."""
    if is_dataclass(spec):
        parts = {f.name: spec_to_json(getattr(spec, f.name)) for f in fields(spec)}
        return {"spec": type(spec).__name__, **parts}
    if isinstance(spec, tuple | list):
        return [spec_to_json(value) for value in spec]
    if isinstance(spec, Mapping):
        return {name: spec_to_json(value) for name, value in spec.items()}
    return spec


def spec_from_json(data: Any) -> Any:
    """The spec that ``spec_to_json`` wrote.

    Raises ValueError for a class that is not the library's, and as ``names.filled``.
    """
    if isinstance(data, list):
        return tuple(spec_from_json(value) for value in data)
    if not isinstance(data, Mapping):
        return data
    if not isinstance(data.get("spec"), str) or data["spec"] not in _PARTS:
        raise ValueError(
            f"A spec names its class, one of {list(_PARTS)}; another class is handed "
            f"over as `spec`. Found {data.get('spec')!r}."
            f"{nearest(data.get('spec'), _PARTS)}"
        )
    part = _PARTS[data["spec"]]
    kinds = get_type_hints(part)
    named = [name for name in kinds if get_origin(kinds[name]) is Mapping]
    return filled(
        part,
        {
            name: {k: spec_from_json(v) for k, v in value.items()}
            if name in named and isinstance(value, Mapping)
            else spec_from_json(value)
            for name, value in data.items()
            if name != "spec"
        },
    )


def check_same(path: Path, found: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raises ValueError when the file's run is not the one that was asked for."""
    other = [name for name, value in asked.items() if found.get(name) != value]
    if other:
        raise ValueError(
            f"{path} must be of the run that was asked for. Found another "
            f"{', '.join(other)}."
        )


def check_tensors(
    path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> None:
    """Raises ValueError for tensors that lack, are too many, or of another kind."""
    for what, one, other in (("", wanted, found), ("no ", found, wanted)):
        lost = [name for name in one if name not in other]
        if lost:
            raise ValueError(
                f"{path} must hold {what}{lost[0]!r}, as its model does. Found "
                f"{len(found)} tensors for {len(wanted)}."
            )
    for name, tensor in wanted.items():
        mine, theirs = ((x.dtype, [*x.shape]) for x in (tensor, found[name]))
        if mine != theirs:
            raise ValueError(f"{path} must hold {name!r} as {mine}. Found {theirs}.")


def write(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors and JSON values to ``path``, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    # Cloned, since tensors that share memory cannot be told apart in a file.
    ready = {
        name: t.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, t in tensors.items()
    }
    with part.open("wb") as file:
        file.write(save(ready, {"ple_study": json.dumps({"format": FORMAT, **meta})}))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the JSON values of a file that ``write`` wrote.

    Raises ValueError when there is no such file, when it is cut short or damaged, and
    when something else wrote it.
    """
    if not path.is_file():
        raise ValueError(f"Expected a checkpoint at {path}. Found no such file.")
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get("ple_study")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{path} must be a whole safetensors file. Found it damaged: {error}."
        ) from error
    meta = object_of(f"What {path} says of itself", header) if header else {}
    if meta.get("format") != FORMAT:
        raise ValueError(
            f"{path} must hold format {FORMAT} of ple_study. "
            f"Found {meta.get('format', 'none of ours')}."
        )
    return tensors, meta


def inside(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors whose names start with ``name.``, without that start."""
    start = f"{name}."
    return {k.removeprefix(start): t for k, t in tensors.items() if k.startswith(start)}


def under(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, each name preceded by ``name.``."""
    return {f"{name}.{k}": t for k, t in tensors.items()}
