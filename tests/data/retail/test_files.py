"""The lines from their file, or from a workbook of two sheets that overlap."""

import hashlib
from pathlib import Path

import pandas as pd
import pooch
import pytest

from ple_study.data.fetch import SOURCES, Source
from ple_study.data.retail import files
from ple_study.data.retail.files import COLUMNS, FILE, WORKBOOK, converted, table
from tests.data.retail.made import SECOND

THEIRS = {"InvoiceNo": "Invoice", "UnitPrice": "Price", "CustomerID": "Customer ID"}


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder of one's own, an empty cache, and nobody who answers."""
    monkeypatch.setenv("PLE_STUDY_DATA", str(tmp_path / "own"))
    (tmp_path / "own" / "online-retail-ii").mkdir(parents=True)
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path / "cache")
    gone = SOURCES[WORKBOOK]._replace(url="http://127.0.0.1:9/none.zip")
    monkeypatch.setitem(SOURCES, WORKBOOK, gone)


@pytest.fixture
def workbook(tmp_path: Path, raw: pd.DataFrame) -> Path:
    """UCI's form: its names, whole numbers as numbers, nine days in both sheets."""
    pytest.importorskip("openpyxl")
    frame = raw.rename(columns=THEIRS)
    for name in ("Invoice", "StockCode"):
        digits = frame[name].str.fullmatch(r"\d+").fillna(False).astype(bool)
        frame[name] = [
            int(x) if d else x for x, d in zip(frame[name], digits, strict=True)
        ]
    stamp = frame["InvoiceDate"]
    path = tmp_path / "own" / WORKBOOK
    with pd.ExcelWriter(path) as writer:
        first = frame[stamp < SECOND + pd.Timedelta(days=9)]
        first.to_excel(writer, sheet_name="Year 2009-2010", index=False)
        second = frame[stamp >= SECOND]
        second.to_excel(writer, sheet_name="Year 2010-2011", index=False)
    return path


def put(path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(SOURCES, name, SOURCES[name]._replace(sha256=digest))


def test_the_workbook_gives_the_lines_once(workbook: Path, raw: pd.DataFrame) -> None:
    found = converted(workbook)
    assert tuple(found.columns) == COLUMNS
    assert found["InvoiceDate"].is_monotonic_increasing
    for name in COLUMNS:
        ours, wanted = (f[name].astype(object) for f in (found, raw))
        same = (ours == wanted) | (ours.isna() & wanted.isna())
        assert same.all(), name
    assert found["CustomerID"].dtype == "Int32"


def test_the_workbook_is_converted_once(
    workbook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(workbook, WORKBOOK, monkeypatch)
    first = table()
    monkeypatch.setattr(files, "converted", lambda _: 1 / 0)
    pd.testing.assert_frame_equal(table(), first)
    assert [p.name for p in workbook.parent.iterdir()] == [workbook.name]


def test_a_workbook_of_other_columns_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    path = tmp_path / "other.xlsx"
    with pd.ExcelWriter(path) as writer:
        for name in files.SHEETS:
            frame = pd.DataFrame({"Invoice": ["1"], "InvoiceDate": [SECOND]})
            frame.to_excel(writer, sheet_name=name, index=False)
    with pytest.raises(ValueError, match=r"needs the columns \['StockCode'"):
        converted(path)


def test_the_file_is_read_first_and_checked(
    tmp_path: Path, raw: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own" / FILE
    raw.to_parquet(path)
    with pytest.raises(ValueError, match=r"content of sha256 2e5d7d3.*Replace the"):
        table()
    put(path, FILE, monkeypatch)
    assert len(table()) == len(raw)


def test_without_either_the_place_that_does_not_answer_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"online_retail_II.xlsx is not on"):
        table()


def test_the_workbook_comes_from_uci() -> None:
    assert isinstance(SOURCES[FILE], Source)
    assert not SOURCES[FILE].url
    assert len(SOURCES[WORKBOOK].sha256) == 64
