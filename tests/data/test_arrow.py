"""From Arrow to tensors: the plain way and that of pandas are one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ple_study.data import arrow
from ple_study.data.arrow import Columns
from ple_study.data.columns import rows_of
from ple_study.data.parquet import ParquetRows
from ple_study.data.row_groups import ROW
from ple_study.schema import Feature, Schema, TaskSpec
from tests.data.people import OPTIONS, SCHEMA, SIZE, people, write

MANY = st.sampled_from(
    ["int8", "uint16", "int64", "uint64", "float32", "float64", "bool"]
)
CODES = st.sampled_from(["str", "object", "category", "large"])


@settings(max_examples=60, deadline=None)
@given(data=st.data(), number=MANY, code=CODES, holes=st.booleans())
def test_the_plain_way_and_pandas_agree(
    data: st.DataObject, number: str, code: str, holes: bool
) -> None:
    size = data.draw(st.integers(1, 12))
    values = st.lists(st.integers(0, 1), min_size=size, max_size=size)
    texts = st.lists(
        st.sampled_from(["a", "b", "c", "d", None]), min_size=size, max_size=size
    )
    label = pa.array(data.draw(values)).cast(number)
    if holes:
        label = pa.array([None, *label.to_pylist()[1:]], type=label.type)
    named = pd.Series(data.draw(texts), dtype="object")
    text = pa.array(named, type=pa.large_string() if code == "large" else pa.string())
    text = text.dictionary_encode() if code == "category" else text
    columns = {
        "x": pa.array(data.draw(values)).cast(number),
        "c": text,
        "k": pa.array(data.draw(values)).cast("int16"),
        "y": label,
        ROW: pa.array(range(size)),
    }
    piece = pa.RecordBatch.from_pydict(columns)
    schema = Schema(
        features=(
            Feature(name="x"),
            Feature(name="c", kind="categorical", vocabulary=("a", "c")),
            Feature(name="k", kind="categorical", vocabulary=(1, 300)),
        ),
        tasks=(TaskSpec(name="y"),),
    )
    held = Columns(schema, {}, "")
    if number == "bool" and holes:
        with pytest.raises(ValueError, match="'y' must hold numbers"):
            held.rows(piece)
        return
    found, wanted = held.rows(piece), rows_of(piece.to_pandas(), schema, {}, "")
    assert torch.equal(found.batch.numeric, wanted.batch.numeric)
    assert torch.equal(found.batch.categorical, wanted.batch.categorical)
    torch.testing.assert_close(found.labels["y"], wanted.labels["y"], equal_nan=True)


def test_a_large_dictionary_is_looked_up_by_value() -> None:
    texts = pa.array([f"v{i}" for i in range(50)]).dictionary_encode().slice(40, 5)
    found = arrow.encode(texts, pa.array(["v43", "v40"]))
    assert found is not None
    assert found.tolist() == [2, 0, 0, 1, 0]
    few = pa.DictionaryArray.from_arrays([1, None, 0], ["x", "v40"])
    assert arrow.encode(few, pa.array(["v43", "v40"])).tolist() == [2, 0, 0]  # type: ignore[union-attr]


def test_what_is_plain_asks_no_pandas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = people()
    frame.loc[3, "stage"] = np.nan
    write(tmp_path, frame)
    table = ParquetRows(tmp_path, SCHEMA, **OPTIONS)
    monkeypatch.setattr(arrow, "rows_of", None)
    assert sum(map(len, table)) == SIZE
