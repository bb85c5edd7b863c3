"""Answers raw records with what ``publish`` wrote: numpy and ONNX Runtime, no torch.

::

    service = Service.load("service")
    service.answer({"age": 41, "city": "Oslo"})[0]["predictions"]
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ple_study.names import check_kinds, object_of
from ple_study.schema import Schema
from ple_study.serving.answers import gates, left_out, predictions, uncertainty
from ple_study.serving.numbers import RecordError, refuse
from ple_study.serving.parts import Arrays
from ple_study.serving.records import Reader, Record

MODEL, EXPLAIN, ABOUT = "model.onnx", "explain.onnx", "schema.json"
FORMAT = 1  # of the folder; a service reads no other
ROWS = 1024  # records at once

SAID = {
    "schema": Mapping,
    "model": str,
    "uncertainty": tuple[str, ...],
    "explanation": Mapping | None,
}
Answer = dict[str, Any]


class Service:
    """A published model. Threads may share one.

    ``about`` is what ``schema.json`` says, ``schema`` what it says of columns and
    tasks. ``threads`` of ONNX Runtime a call; 0 is one a core.
    """

    def __init__(self, folder: Path, about: dict[str, Any], threads: int = 0) -> None:
        self.folder, self.about, self.threads = folder, about, threads
        self.schema = Schema.from_json(about["schema"])
        self.reader = Reader(self.schema)

    @classmethod
    def load(cls, folder: str | Path, *, threads: int = 0) -> "Service":
        """Raises ValueError for a folder that is not whole, or of another format."""
        path = Path(folder) / ABOUT
        if not path.is_file():
            raise ValueError(
                f"A service is a folder that publish wrote. Found no {path}."
            )
        about = object_of(str(path), path.read_bytes())
        if about.get("format") != FORMAT:
            raise ValueError(
                f"{path} must be of format {FORMAT}. Found {about.get('format')!r}."
            )
        check_kinds(str(path), about, SAID, needed=True)
        service = cls(path.parent, about, threads)
        _ = service.session
        return service

    @cached_property
    def session(self) -> Any:
        """The ONNX Runtime session that answers."""
        return self._session(MODEL)

    @cached_property
    def explainer(self) -> Any:
        """The session that also explains, read when it is first asked for."""
        if self.about["explanation"] is None:
            raise ValueError(
                "What explains is a gate, or publish(..., background=...). Found a "
                f"{self.about['model']} with neither."
            )
        own = self.about["explanation"]["file"]
        return self.session if own == MODEL else self._session(own)

    def _session(self, file: str) -> Any:
        if find_spec("onnxruntime") is None:
            raise ValueError(
                "A service needs `pip install onnxruntime`. Found no onnxruntime."
            )
        import onnxruntime

        path, options = self.folder / file, onnxruntime.SessionOptions()
        if not path.is_file():
            raise ValueError(f"{ABOUT} names {file}. Found no {path}.")
        options.intra_op_num_threads = self.threads
        session = onnxruntime.InferenceSession(path, options)
        kept = session.get_modelmeta().custom_metadata_map.get("ple_study", "{}")
        if json.loads(kept) != self.about["schema"]:
            raise ValueError(f"{path} must be of the schema in {ABOUT}. Found another.")
        return session

    def inputs(self, records: Sequence[Record]) -> Arrays:
        """What a session reads of these records. Raises RecordError."""
        return self.reader(records)

    def run(self, arrays: Arrays, *, explain: bool = False) -> Arrays:
        """The outputs for these inputs, by name; ``graphs`` says what they are."""
        session = self.explainer if explain else self.session
        asked = {i.name: arrays[i.name] for i in session.get_inputs()}
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, asked), strict=True))

    def answer(
        self, records: Record | Sequence[Record], *, explain: bool = False
    ) -> list[Answer]:
        """An answer a record, in order; plain numbers, lists and names.

        ``predictions`` has by task the ``probability`` of a binary one, ``class``, its
        ``probability`` and all ``probabilities`` of one with classes, the ``value`` of
        a regression. ``uncertainty``, of a model with evidential heads: the same as
        these heads see it, ``vacuity`` (not of a regression), ``aleatoric`` and
        ``epistemic`` (``objective.evidence.Opinion``). ``explanation``, on demand: its
        ``readout`` and, by task, what it says of each expert.

        Raises RecordError, a ValueError, for what does not fit, and ValueError when no
        explanation was published.
        """
        if explain:
            _ = self.explainer
        given = [records] if isinstance(records, Mapping) else records
        if not isinstance(given, (list, tuple)):
            refuse((), "list_type", "a mapping, or a list of them", given)
        if not given:
            raise RecordError("one or more", "an empty list.", (), "too_short")
        found: list[Answer] = []
        for start in range(0, len(given), ROWS):
            arrays = self.reader(given[start : start + ROWS], start)
            found += self._told(self.run(arrays, explain=explain), explain)
        return found

    def _told(self, outputs: Arrays, explain: bool) -> list[Answer]:
        schema, about = self.schema, self.about
        parts = {"predictions": predictions(schema, outputs)}
        if about["uncertainty"]:
            parts["uncertainty"] = uncertainty(schema, about["uncertainty"], outputs)
        if explain:
            own = about["explanation"]
            told = {"loo": left_out, "gate": gates}[own["readout"]]
            parts["explanation"] = told(schema, own, outputs)
        rows = zip(*parts.values(), strict=True)
        return [dict(zip(parts, row, strict=True)) for row in rows]
