"""Raw records: arrays of what they say, or an error that names the place."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ple_study.serving.numbers import RecordError
from ple_study.serving.records import Reader
from tests.fuzz.strategies import JSON, Refused, cases, damaged, tried
from tests.serving.published import OWN, raw, several

pytestmark = pytest.mark.plain
READ = Reader(OWN)
RECORDS = raw(OWN, several(3))


def held(records: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        records = records[step]
    return records


@cases(20, 1500)
@given(damaged(RECORDS, most=3) | st.lists(JSON, min_size=1, max_size=3))
def test_records_are_read_as_they_say_or_the_place_is_named(records: Any) -> None:
    if not isinstance(records, list) or not records:
        return
    found = tried(READ, records)
    if isinstance(found, Refused):
        error = found.error
        assert isinstance(error, RecordError)
        assert error.row is not None
        assert len(str(error)) < 2000
        if error.kind != "missing":
            held(records[error.row], error.path)  # is there
        return
    for row, record in enumerate(records):
        for place, feature in enumerate(OWN.numeric):
            said = np.float32(record[feature.name])
            assert found["batch_numeric"][row, place] == said
        for place, feature in enumerate(OWN.categorical):
            code = found["batch_categorical"][row, place]
            known = dict(enumerate(feature.vocabulary, 1)).get(code)
            value = record.get(feature.name)
            assert known == (value if value in feature.vocabulary else None)
        for name, points in (record.get("diagrams") or {}).items():
            own = found[f"batch_diagrams_{name}_points"][row]
            mask = found[f"batch_diagrams_{name}_mask"][row]
            said = np.array(points or [], np.float32).reshape(-1, 3)
            np.testing.assert_array_equal(own[mask], said)
        clusters = record.get("clusters")
        wanted = np.full(OWN.clusters, np.nan) if clusters is None else clusters
        np.testing.assert_array_equal(
            found["batch_clusters"][row], np.array(wanted, np.float32)
        )
    assert found["batch_states"].shape == (len(records), *OWN.states)
    for name, array in found.items():
        parts = "states" in name or "clusters" in name or "vectors" in name
        assert parts or np.isfinite(array).all()
