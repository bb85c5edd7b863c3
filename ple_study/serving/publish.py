"""From a trained model to one folder that answers raw records without torch.

::

    publish(fitted, "service", background=study.part("train").batch)
    Service.load("service").answer({"age": 41, "city": "Oslo"})
"""

import json
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from ple_study.batch import Batch, Events
from ple_study.export import program
from ple_study.fitted import Fitted
from ple_study.names import unique
from ple_study.schema import Schema
from ple_study.serving.graphs import Answers, Contributions
from ple_study.serving.records import modalities
from ple_study.serving.service import ABOUT, EXPLAIN, FORMAT, MODEL


def publish(
    fitted: Fitted, folder: str | Path, *, background: Batch | None = None
) -> Path:
    """Write the folder that ``Service.load`` reads, and answer its path.

    ``model.onnx`` answers; scaling is in its graph, and so is what evidential heads
    think. ``schema.json`` says what a record holds, vocabularies included, and what
    each output is. With ``background``, unscaled customers such as the training part,
    or some thousand rows of a streamed study, ``explain.onnx`` also tells what each
    expert of a heterogeneous model contributes:
    ``contributions(fitted, batch, background, readout="loo")``. Without it a model that
    has gates is explained by their weights. What a service wrote there before is
    replaced.

    Raises ValueError when the packages that write ONNX are not installed, for a
    background and another kind of model, and for a column, or a task, whose name means
    something else in a record, or in a file.
    """
    if find_spec("onnxscript") is None:
        raise ValueError(
            "A service needs `pip install 'ple-study[export]'`. Found no onnxscript."
        )
    check_columns(fitted.schema)
    graphs = {MODEL: Answers(fitted, gates=background is None)}
    if background is not None:
        graphs[EXPLAIN] = Contributions(fitted, background)
    for graph in graphs.values():
        unique("Names of outputs", graph.names)
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    for file in (ABOUT, EXPLAIN):
        (path / file).unlink(missing_ok=True)
    schema = json.dumps(fitted.schema.to_json())
    for file, graph in graphs.items():
        written = program(graph, fitted.schema, graph.names)
        written.model.metadata_props["ple_study"] = schema
        written.save(path / file)
    text = json.dumps(about(fitted, graphs), indent=1)
    (path / ABOUT).write_text(text + "\n", encoding="utf-8")
    return path


def check_columns(schema: Schema) -> None:
    """Raises ValueError for a column that is named as another part of a record."""
    taken = [f.name for f in schema.features if f.name in modalities(schema)]
    if taken:
        raise ValueError(
            f"A record has {list(modalities(schema))} beside its columns. Found a "
            f"column of the same name: {taken}."
        )


def about(fitted: Fitted, graphs: dict[str, Answers]) -> dict[str, Any]:
    """What ``schema.json`` says."""
    model, last = graphs[MODEL], graphs.get(EXPLAIN)
    explanation: dict[str, Any] | None = None
    if isinstance(last, Contributions):
        explanation = {"readout": "loo", "file": EXPLAIN, "experts": last.experts}
    elif model.slots:
        explanation = {"readout": "gate", "file": MODEL, "slots": model.slots}
    packages = ("ple-study", "torch", "onnx", "onnxscript", "numpy")
    return {
        "format": FORMAT,
        "model": type(fitted.model).__name__,
        "schema": fitted.schema.to_json(),
        "outputs": {file: graph.names for file, graph in graphs.items()},
        "uncertainty": [task.name for task in model.sure],
        "explanation": explanation,
        "versions": {name: version(name) for name in packages},
    }


def records_of(schema: Schema, batch: Batch) -> list[dict[str, Any]]:
    """The raw records that a service reads as this batch: to try one on known rows.

    Code 0 becomes None, and so does what was not observed.
    """
    rows: list[dict[str, Any]] = [{} for _ in range(len(batch))]

    def put(name: str, values: list[Any]) -> None:
        for row, value in zip(rows, values, strict=True):
            row[name] = value

    for feature, column in zip(schema.numeric, batch.numeric.T, strict=True):
        put(feature.name, column.tolist())
    for feature, codes in zip(schema.categorical, batch.categorical.T, strict=True):
        values = (None, *feature.vocabulary)
        put(feature.name, [values[code] for code in codes.tolist()])
    events = {name: _steps(part) for name, part in batch.events.items()}
    diagrams = {
        name: [p[m].tolist() for p, m in zip(part.points, part.mask, strict=True)]
        for name, part in batch.diagrams.items()
    }
    vectors = {name: _rows(part) for name, part in batch.vectors.items()}
    kinds = {"events": events, "diagrams": diagrams, "vectors": vectors}
    for kind, parts in kinds.items():
        if parts:
            put(kind, _by_row(parts))
    if batch.states is not None:
        put("states", [_rows(modes) for modes in batch.states])
    if batch.clusters is not None:
        put("clusters", _rows(batch.clusters))
    return rows


def _by_row(parts: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    rows = zip(*parts.values(), strict=True)
    return [dict(zip(parts, row, strict=True)) for row in rows]


def _rows(table: Tensor) -> list[Any]:
    return [None if row.isnan().all() else row.tolist() for row in table]


def _steps(events: Events) -> list[Any]:
    """From the first real step on; None where there is none."""
    found: list[Any] = []
    for values, mask in zip(events.values, events.mask, strict=True):
        real = mask.nonzero()
        own = slice(int(real[0]), None) if len(real) else None
        told = own and {"values": values[own].tolist(), "mask": mask[own].tolist()}
        found.append(told)
    return found
