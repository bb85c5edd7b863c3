"""From a trained model to a file: for this library, or for any that reads ONNX."""

import copy
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ShapesCollection

from ple_study import checkpoint
from ple_study.batch import Batch, Diagrams, Events, Model, ModelSpec, tree_map
from ple_study.checkpoint import (
    check_tensors,
    inside,
    spec_from_json,
    spec_to_json,
    under,
)
from ple_study.data.loader import Scaler
from ple_study.fitted import Fitted, probabilities
from ple_study.names import check_kinds
from ple_study.schema import Schema

FILE = "model.safetensors"
SAID = {"schema": Mapping, "spec": Mapping, "run": Mapping, "history": list}


def save(fitted: Fitted, folder: str | Path) -> Path:
    """Write weights, scaler, schema, spec and history to one safetensors file."""
    tensors = {
        **under("model", fitted.model.state_dict()),
        **under("scaler", fitted.scaler._asdict()),
    }
    meta = {
        "schema": fitted.schema.to_json(),
        "spec": spec_to_json(fitted.spec),
        "run": {k: v for k, v in fitted.run.items() if k not in ("schema", "spec")},
        "history": fitted.history,
    }
    path = Path(folder) / FILE
    checkpoint.write(path, tensors, meta)
    return path


def load(folder: str | Path, spec: ModelSpec | None = None) -> Fitted:
    """What ``save`` wrote, on the CPU. A spec that is not the library's is handed over.

    Raises ValueError when there is no such file, when it is damaged, when the spec is
    unknown, when it differs from the one handed over, and when the tensors are not
    those of such a model.
    """
    path = Path(folder) / FILE
    tensors, meta = checkpoint.read(path)
    check_kinds(str(path), meta, SAID, needed=True)
    if spec is None:
        spec = spec_from_json(meta["spec"])
    elif spec_to_json(spec) != meta["spec"]:
        raise ValueError(f"{path} must be of {spec}. Found {meta['spec']}.")
    if not isinstance(spec, ModelSpec):
        raise ValueError(f"{path} must be of a ModelSpec. Found {spec!r}.")
    schema = Schema.from_json(meta["schema"])
    with torch.random.fork_rng(devices=[]):
        model = spec.build(schema)
    one = torch.ones(len(schema.numeric))
    wanted = under("scaler", {"mean": one, "std": one})
    check_tensors(path, tensors, wanted | under("model", model.state_dict()))
    model.load_state_dict(inside(tensors, "model"))
    run = {"schema": meta["schema"], "spec": meta["spec"], **meta["run"]}
    scaler = Scaler(**inside(tensors, "scaler"))
    return Fitted(model.eval(), spec, schema, scaler, meta["history"], run)


class Graph(nn.Module):
    """What an ONNX file computes: a tensor a task, from numbers as they come."""

    def __init__(
        self, model: Model, schema: Schema, scaler: Scaler, logits: bool
    ) -> None:
        super().__init__()
        self.model, self.tasks, self.logits = model, schema.tasks, logits
        self.scaler_mean: Tensor
        self.scaler_std: Tensor
        for name, tensor in scaler._asdict().items():
            self.register_buffer(f"scaler_{name}", tensor)

    def forward(self, batch: Batch) -> tuple[Tensor, ...]:
        logits = self.model(Scaler(self.scaler_mean, self.scaler_std)(batch)).logits
        answers = logits if self.logits else probabilities(self.tasks, logits)
        return tuple(answers[task.name] for task in self.tasks)


def to_onnx(
    fitted: Fitted, path: str | Path, *, raw: bool = True, logits: bool = False
) -> Path:
    """Write the model as ONNX: named inputs, an output a task, any number of rows.

    Inputs are named after the fields of ``Batch`` (``batch_numeric``,
    ``batch_categorical``, ``batch_events_daily_values``); those that the model does not
    read are left out. With ``raw`` the scaling is part of the graph, and numbers go in
    as they stand in the table; without it they go in scaled. Outputs are probabilities,
    or ``logits``. The schema, vocabularies included, is in the file's metadata under
    ``ple_study``.

    Raises ValueError when the packages that write ONNX are not installed.
    """
    if find_spec("onnxscript") is None:
        raise ValueError(
            "ONNX export needs `pip install 'ple-study[export]'`. Found no onnxscript."
        )
    scaler, count = fitted.scaler, len(fitted.schema.numeric)
    if not raw:
        scaler = Scaler(torch.zeros(count), torch.ones(count))
    model = copy.deepcopy(fitted.model).cpu().eval()
    graph = Graph(model, fitted.schema, scaler, logits)
    written = program(graph, fitted.schema, fitted.schema.task_names)
    written.model.metadata_props["ple_study"] = json.dumps(fitted.schema.to_json())
    written.save(path)
    return Path(path)


def onnx_inputs(batch: Batch) -> dict[str, Tensor]:
    """Every tensor of a batch by the name that ``to_onnx`` gives its input.

    A session is handed those that its model reads::

        given = onnx_inputs(batch)
        asked = {i.name: given[i.name].numpy() for i in session.get_inputs()}
        session.run(None, asked)
    """
    parts = {"numeric": batch.numeric, "categorical": batch.categorical}
    for kind in ("events", "diagrams"):
        for name, fields in getattr(batch, kind).items():
            parts |= {f"{kind}_{name}_{k}": part for k, part in vars(fields).items()}
    parts |= {f"vectors_{name}": vector for name, vector in batch.vectors.items()}
    more = {"states": batch.states, "clusters": batch.clusters}
    parts |= {name: part for name, part in more.items() if part is not None}
    return {f"batch_{name}": part for name, part in parts.items()}


def program(
    module: nn.Module, schema: Schema, outputs: Sequence[str]
) -> torch.onnx.ONNXProgram:
    """A module that reads a batch, such as an expert, as ONNX; any number of rows.

    Inputs are named as in ``onnx_inputs``, and only those that the module reads.
    Raises ValueError for names that the exporter cannot tell apart.
    """
    batch = example(schema)
    with _quiet(), torch.no_grad():
        vary = _rows_vary(batch)
        shapes = vary.dynamic_shapes(module, (batch,))  # type: ignore[no-untyped-call]
        exported = torch.export.export(module, (batch,), dynamic_shapes=shapes)
        written = torch.onnx.export(
            exported, dynamo=True, verbose=False, output_names=list(outputs)
        )
    assert written is not None
    inputs = written.model.graph.inputs
    inputs[:] = [value for value in inputs if value.uses()]
    # The exporter writes small letters, and "_" for all that is no letter or digit.
    given = {
        name: re.sub("[^a-z0-9]", "_", name.lower()) for name in onnx_inputs(batch)
    }
    written_as = list(given.values())
    names = {s: name for name, s in given.items() if written_as.count(s) == 1}
    for value in inputs:
        if value.name not in names:
            raise ValueError(
                "Inputs of a file must differ in their letters and digits. Found two "
                f"for {value.name!r}."
            )
        value.name = names[value.name]
    return written


def _rows_vary(batch: Batch) -> ShapesCollection:
    """Any number of rows, and of a diagram's points; all else is as in the example."""
    shapes = ShapesCollection()  # type: ignore[no-untyped-call]
    diagrams = [d for shape in batch.diagrams.values() for d in vars(shape).values()]
    of_diagrams = {id(tensor) for tensor in diagrams}

    def vary(tensor: Tensor) -> Tensor:
        dims = (0, 1) if id(tensor) in of_diagrams else (0,)
        shapes[tensor] = dict.fromkeys(dims, Dim.DYNAMIC)
        return tensor

    tree_map(vary, batch)
    return shapes


def example(schema: Schema, rows: int = 3) -> Batch:
    """A batch of zeros with every field that the schema speaks of."""
    true = torch.ones(rows, 1, dtype=torch.bool)
    modes, states = schema.states
    return Batch(
        numeric=torch.zeros(rows, len(schema.numeric)),
        categorical=torch.zeros(rows, len(schema.categorical), dtype=torch.long),
        events={
            s.name: Events(
                torch.zeros(rows, s.steps, len(s.channels)), true.expand(-1, s.steps)
            )
            for s in schema.sequences
        },
        diagrams={
            name: Diagrams(torch.zeros(rows, 2, 3), true.expand(-1, 2))
            for name in schema.diagrams
        },
        states=torch.zeros(rows, modes, states) if modes else None,
        clusters=torch.zeros(rows, schema.clusters) if schema.clusters else None,
        vectors={v.name: torch.zeros(rows, v.dim) for v in schema.vectors},
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters report to those who write them; errors still come through."""
    logs = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
