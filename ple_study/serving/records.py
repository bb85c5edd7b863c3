"""From raw records, as a service is handed them, to what its files read.

::

    {
        "age": 41, "city": "Oslo",                        # columns as in the table
        "events": {"daily": {"values": [[1.0, 0.3]]}},    # steps, the latest last
        "diagrams": {"long": [[0.0, 1.5, 0]]},            # birth, death, homology
        "states": [[0.2, 0.8], None],                     # a row a mode
        "clusters": [0.9, 0.1],
        "vectors": {"graph": [0.1, 0.2, 0.3]},
    }

Whatever of a series, diagram, mode, cluster or vector is left out, or None, was not
observed. A categorical value that is left out, None, NaN or not in the vocabulary has
code 0; a number must be there. Nothing here needs torch.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from ple_study.schema import Schema
from ple_study.serving.numbers import Floats, RecordError, known, numbers, refuse
from ple_study.serving.parts import (
    Arrays,
    clusters,
    code,
    or_nan,
    padded,
    points,
    series,
    states,
)

Record = Mapping[str, Any]


def modalities(schema: Schema) -> tuple[str, ...]:
    """The names, beside those of columns, that a record of this schema may have."""
    parts = {
        "events": schema.sequences,
        "diagrams": schema.diagrams,
        "states": schema.states[0],
        "clusters": schema.clusters,
        "vectors": schema.vectors,
    }
    return tuple(name for name, part in parts.items() if part)


class Reader:
    """Reads records of one schema into arrays, named as ``export.onnx_inputs`` does."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        columns = [f.name for f in schema.features]
        self.names = dict.fromkeys([*columns, *modalities(schema)])
        self.numeric = [f.name for f in schema.numeric]
        self.codes = [
            (f, {value: place for place, value in enumerate(f.vocabulary, 1)})
            for f in schema.categorical
        ]

    def __call__(self, records: Sequence[Record], first: int = 0) -> Arrays:
        """The arrays of these records, of which the first is number ``first``.

        Raises RecordError for what does not fit.
        """
        found = []
        for row, record in enumerate(records, first):
            try:
                found.append(self._one(record))
            except RecordError as error:
                raise error.of(row) from None
        arrays: Arrays = {}
        for name in found[0]:
            column = list(map(itemgetter(name), found))
            if name.startswith("diagrams_"):
                arrays |= padded(f"batch_{name}", column)
            else:
                arrays[f"batch_{name}"] = np.stack(column)
        return arrays

    def _one(self, record: object) -> Arrays:
        if not isinstance(record, Mapping):
            refuse((), "dict_type", "a mapping of fields", record)
        given, schema = known(record, self.names, ()), self.schema
        found: Arrays = {
            "numeric": self._numeric(given),
            "categorical": np.array(
                [code(given.get(f.name), f, codes) for f, codes in self.codes],
                np.int64,
            ),
        }
        names = [s.name for s in schema.sequences]
        events = known(given.get("events"), names, ("events",))
        for steps in schema.sequences:
            for part, array in series(events.get(steps.name), steps).items():
                found[f"events_{steps.name}_{part}"] = array
        clouds = known(given.get("diagrams"), schema.diagrams, ("diagrams",))
        for name in schema.diagrams:
            found[f"diagrams_{name}"] = points(clouds.get(name), ("diagrams", name))
        names = [v.name for v in schema.vectors]
        vectors = known(given.get("vectors"), names, ("vectors",))
        for spec in schema.vectors:
            own, path = vectors.get(spec.name), ("vectors", spec.name)
            found[f"vectors_{spec.name}"] = or_nan(own, spec.dim, path)
        if schema.states[0]:
            found["states"] = states(given.get("states"), *schema.states)
        if schema.clusters:
            found["clusters"] = clusters(given.get("clusters"), schema.clusters)
        return found

    def _numeric(self, given: Record) -> Floats:
        for name in self.numeric:
            if name not in given:
                raise RecordError("a finite number", "nothing.", (name,), "missing")
        return numbers(
            [given[name] for name in self.numeric], lambda at: (self.numeric[at],)
        )
