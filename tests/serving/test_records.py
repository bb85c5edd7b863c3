"""From raw records to arrays: the same as a batch, and every error by its place."""

import pickle
import re
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ple_study.batch import Batch
from ple_study.data.tables import batch_from_frame
from ple_study.export import onnx_inputs
from ple_study.schema import Feature, Schema, TaskSpec
from ple_study.serving.numbers import RecordError, numbers
from ple_study.serving.publish import records_of
from ple_study.serving.records import Reader, modalities
from tests.serving.published import OWN, raw, several
from tests.serving.wrong import WRONG

READ = Reader(OWN)
TABLE = Schema(
    features=(
        Feature(name="age"),
        Feature(name="share", kind="probability"),
        Feature(name="city", kind="categorical", vocabulary=("a", "b", "c")),
        Feature(name="store", kind="categorical", vocabulary=(7, 8)),
        Feature(name="vip", kind="categorical", vocabulary=(False, True)),
    ),
    tasks=(TaskSpec(name="churn"),),
)


def told(batch: Batch) -> dict[str, np.ndarray]:
    return {name: part.numpy() for name, part in onnx_inputs(batch).items()}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [1, 5, 100])
def test_records_become_the_batch_that_they_tell(size: int, masked: bool) -> None:
    batch = several(size)
    found, wanted = READ(raw(OWN, batch, masked)), told(batch)
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        if name.startswith("batch_diagrams"):
            continue
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array)
    for name in OWN.diagrams:
        ours, theirs = (
            (x[f"batch_diagrams_{name}_points"], x[f"batch_diagrams_{name}_mask"])
            for x in (found, wanted)
        )
        for row in range(size):
            own, points = (p[row][m[row]] for p, m in (ours, theirs))
            np.testing.assert_array_equal(own, points)
        assert ours[0].shape[1] == max(2, theirs[1].sum(1).max())
        assert ours[0].dtype == np.float32
        assert not ours[0][~ours[1]].any()


@pytest.mark.parametrize("size", [1, 5, 100])
def test_known_rows_can_be_told_as_records(size: int) -> None:
    batch = several(size)
    found, wanted = READ(records_of(OWN, batch)), READ(raw(OWN, batch))
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
    columns = Batch(batch.numeric[:, :2], torch.tensor([[2, 0, 1]] * size))
    record = records_of(TABLE, columns)[0]
    assert list(record) == ["age", "share", "city", "store", "vip"]
    assert [record[name] for name in ("city", "store", "vip")] == ["b", None, False]


def test_steps_stand_at_the_end_and_what_is_not_real_is_not_read() -> None:
    record = raw(OWN, several(1))[0]
    bad = {"values": [[1, 2, 3], "anything", [4, 5, 6]], "mask": [True, False, True]}
    record["events"] = {"txn": bad}
    found = READ([record])
    wanted = np.zeros((9, 3))
    wanted[6], wanted[8] = (1, 2, 3), (4, 5, 6)
    np.testing.assert_array_equal(found["batch_events_txn_values"][0], wanted)
    mask = found["batch_events_txn_mask"][0]
    assert mask.tolist() == [False] * 6 + [True, False, True]
    assert not found["batch_events_session_mask"].any()


VALUES = {
    "city": st.sampled_from(["a", "b", "c", "d", "", None]),
    "store": st.sampled_from([7, 8, 7.0, 8.5, 9, None, np.nan, np.int64(8)]),
    "vip": st.sampled_from([True, False, None, np.True_]),
    "age": st.one_of(
        st.integers(-(2**40), 2**40),
        st.floats(-1e38, 1e38),
        st.floats(-1e3, 1e3, width=32).map(np.float32),
    ),
    "share": st.floats(0, 1),
}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=7))
def test_columns_are_coded_as_those_of_a_frame(rows: list[dict[str, Any]]) -> None:
    frame = pd.DataFrame(
        {
            name: pd.Series([row[name] for row in rows], dtype=dtype)
            for name, dtype in (("city", object), ("store", None), ("vip", object))
        }
    )
    for name in ("age", "share"):
        frame[name] = np.array([float(row[name]) for row in rows])
    found, wanted = Reader(TABLE)(rows), told(batch_from_frame(frame, TABLE))
    for name in ("batch_numeric", "batch_categorical"):
        np.testing.assert_array_equal(found[name], wanted[name])
        assert found[name].dtype == wanted[name].dtype


def test_a_category_may_be_left_out_and_a_table_may_have_none() -> None:
    codes = Reader(TABLE)([{"age": 1, "share": 0.5}])["batch_categorical"]
    assert codes.tolist() == [[0, 0, 0]]
    bare = replace(TABLE, features=TABLE.features[:2])
    found = Reader(bare)([{"age": 1, "share": 0.5}] * 3)
    assert found["batch_categorical"].shape == (3, 0)
    assert found["batch_numeric"].tolist() == [[1, 0.5]] * 3
    coded = replace(TABLE, features=TABLE.features[2:])
    assert Reader(coded)([{"city": "b"}])["batch_numeric"].shape == (1, 0)


def test_arrays_are_read_as_lists_are() -> None:
    record = raw(OWN, several(1))[0]
    wanted = READ([record])
    own = deepcopy(record)
    own["events"]["txn"] = {k: np.array(v) for k, v in own["events"]["txn"].items()}
    own["diagrams"] = {k: np.array(v) for k, v in own["diagrams"].items()}
    own["states"] = tuple(np.array(mode, np.float32) for mode in own["states"])
    own["vectors"]["graph"] = np.array(own["vectors"]["graph"], np.float32)
    own["rfm_0"] = np.float32(own["rfm_0"])
    for name, array in READ([own]).items():
        np.testing.assert_array_equal(array, wanted[name])


@pytest.mark.parametrize(("path", "value", "kind", "expected", "found"), WRONG.values(),
                         ids=WRONG)  # fmt: skip
def test_what_is_wrong_is_named(
    path: tuple[Any, ...], value: Any, kind: str, expected: str, found: str
) -> None:
    records = raw(OWN, several(3))
    records[2] = raw(OWN, several(1))[0]
    inner: Any = records[2]
    for step in path[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    with pytest.raises(RecordError) as caught:
        READ(records)
    error = caught.value
    assert (error.path, error.kind, error.row) == (path, kind, 2)
    field = re.sub(r"\.(\d+)", r"[\1]", ".".join(map(str, path)))
    assert error.field == field
    told = str(error)
    assert told.startswith(f"{field!r} of record 2 must be ")
    assert expected in told
    assert found == "not" or found in told.rpartition("Found")[2]
    assert len(told) < 400
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.path, again.row) == (told, path, 2)


def test_a_categorical_value_is_of_its_vocabularys_kind() -> None:
    for name, value, kind in (
        ("city", True, "string_type"),
        ("store", "7", "int_type"),
        ("store", True, "int_type"),
        ("vip", 1, "bool_type"),
        ("vip", "yes", "bool_type"),
        ("city", ["a"], "string_type"),
    ):
        with pytest.raises(RecordError, match=f"{name!r} of record 0") as caught:
            Reader(TABLE)([{"age": 1, "share": 0.5, name: value}])
        assert caught.value.kind == kind


def test_shares_may_miss_one_by_rounding() -> None:
    record = raw(OWN, several(1))[0]
    record["clusters"] = [0.99995, 0, 0, 0, 0]
    assert READ([record])["batch_clusters"][0, 0] == np.float32(0.99995)
    record["clusters"] = [0.9998, 0, 0, 0, 0]
    with pytest.raises(RecordError, match=r"add up to 1 within 0\.0001"):
        READ([record])


def test_what_is_not_told_was_not_observed() -> None:
    record = {f.name: 0.5 for f in OWN.numeric}
    absent = dict.fromkeys(modalities(OWN))
    empty = {"states": [None] * 3, "events": {}}
    for bare in (record, record | absent, record | empty):
        found = READ([bare])
        for name in ("states", "clusters", "vectors_graph", "vectors_hierarchy"):
            assert np.isnan(found[f"batch_{name}"]).all()
        masks = [v for k, v in found.items() if k.endswith("_mask")]
        assert len(masks) == 4
        assert not any(mask.any() for mask in masks)
        assert found["batch_diagrams_long_points"].shape == (1, 2, 3)


def test_fast_and_slow_numbers_are_the_same() -> None:
    values = [0.1, 3, 1e-46, 16777217, -2.5e38]
    wanted = torch.tensor(values, dtype=torch.float64).float().numpy()

    def nowhere(at: int) -> tuple[int]:
        return (at,)

    np.testing.assert_array_equal(numbers(values, nowhere), wanted)
    strange = [np.float64(values[0]), *values[1:]]
    np.testing.assert_array_equal(numbers(strange, nowhere), wanted)
    assert numbers([], nowhere).dtype == np.float32
