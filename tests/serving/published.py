"""Small published models, and a batch told as raw records."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jaxtyping
import torch

from ple_study.batch import Batch
from ple_study.data.loader import Scaler
from ple_study.experts.base import ExpertSpec
from ple_study.fitted import Fitted
from ple_study.model import HeterogeneousPLESpec
from ple_study.schema import Schema
from ple_study.serving.publish import publish
from ple_study.serving.service import Service
from ple_study.tasks.evidential import EvidentialSpec
from tests import customers
from tests.experts.specs import PERSLAY, TEMPORAL
from tests.test_model import FOUR, SCHEMA, SPEC, built, people

LTV = {"scale": (40.0, 7.0), "experts": ()}
OWN = replace(SCHEMA, tasks=(*SCHEMA.tasks[:2], replace(SCHEMA.tasks[2], **LTV)))
SURE = EvidentialSpec()
CHEAP = replace(SPEC, evidential=SURE)
EVERY: dict[str, ExpertSpec] = {
    "perslay": PERSLAY["gaussian"],
    "temporal": replace(TEMPORAL["default"], widths=(32,), sequences=("session",)),
    "lightgcn": FOUR["lightgcn"],
    "deepfm": FOUR["deepfm"],
}
WHOLE = replace(CHEAP, experts=EVERY)


def several(size: int, seed: int = 0) -> Batch:
    """Customers, some of whom lack a part: 1 and 3 a vector, 2 and 4 states."""
    found = people(max(size, 5)) if not seed else customers.customers(size, seed)
    return found.rows(torch.arange(size))


def fitted(spec: HeterogeneousPLESpec, schema: Schema = OWN) -> Fitted:
    about = replace(schema, tasks=tuple(replace(t, experts=()) for t in schema.tasks))
    scaler = Scaler.fit(about, several(40))
    return Fitted(built(spec, schema=about), spec, about, scaler)


@contextmanager
def unchecked() -> Iterator[None]:
    """torch.export cannot trace jaxtyping's checks."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    torch.compiler.reset()
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def served(own: Fitted, folder: Path, background: Batch | None = None) -> Service:
    with unchecked():
        return Service.load(publish(own, folder, background=background), threads=1)


def raw(schema: Schema, batch: Batch, masked: bool = False) -> list[dict[str, Any]]:
    """The records that this batch is made of, as JSON has them.

    With ``masked``, padding is told as steps that are not real, with anything in them.
    """
    found = []
    for row in range(len(batch)):
        one = {
            f.name: batch.numeric[row, i].item() for i, f in enumerate(schema.numeric)
        }
        for i, f in enumerate(schema.categorical):
            code = batch.categorical[row, i].item()
            one[f.name] = f.vocabulary[code - 1] if code else None
        one["events"] = {
            name: _steps(e.values[row], e.mask[row], masked)
            for name, e in batch.events.items()
        }
        one["diagrams"] = {
            k: d.points[row][d.mask[row]].tolist() for k, d in batch.diagrams.items()
        }
        one["vectors"] = {k: _or_none(v[row]) for k, v in batch.vectors.items()}
        if batch.states is not None:
            one["states"] = [_or_none(mode) for mode in batch.states[row]]
        if batch.clusters is not None:
            one["clusters"] = _or_none(batch.clusters[row])
        found.append({k: v for k, v in one.items() if v != {}})
    return json.loads(json.dumps(found))


def _or_none(row: torch.Tensor) -> list[float] | None:
    return None if row.isnan().all() else row.tolist()


def _steps(values: torch.Tensor, mask: torch.Tensor, masked: bool) -> Any:
    if masked:
        rows = [v.tolist() if m else None for v, m in zip(values, mask, strict=True)]
        return {"values": rows, "mask": mask.tolist()}
    if not mask.any():
        return None
    first = int(mask.nonzero()[0])
    return {"values": values[first:].tolist(), "mask": mask[first:].tolist()}
