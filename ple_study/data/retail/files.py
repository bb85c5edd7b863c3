"""Online Retail II as one table of invoice lines, from its file or UCI's workbook.

Real orders of a British web shop for gifts (Chen 2012, UCI dataset 502, DOI
10.24432/C5CG6D, CC BY 4.0). A file ``online-retail-ii/transactions.parquet`` below
``PLE_STUDY_DATA`` is read as it is. Without one UCI's workbook is fetched and converted
once, which takes minutes and needs the package openpyxl: pip install openpyxl
"""

from pathlib import Path

import pandas as pd
import pooch

from ple_study.data.columns import check_names
from ple_study.data.fetch import SOURCES, Source, available, fetch

FOLDER = "online-retail-ii/"
FILE, WORKBOOK = FOLDER + "transactions.parquet", FOLDER + "online_retail_II.xlsx"
SHEETS = ("Year 2009-2010", "Year 2010-2011")
SECOND = pd.Timestamp("2010-12-01")  # the first day of the second sheet
COLUMNS = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)
RENAMED = {"Invoice": "InvoiceNo", "Price": "UnitPrice", "Customer ID": "CustomerID"}

SOURCES[FILE] = Source(
    "2e5d7d329eb185ed7d4a4e174d6528b9c3b964c6ae14c3d54a2835956f7a4ef6"
)
SOURCES[WORKBOOK] = Source(
    "bcbe73b35f5b7babf197fb0cb983a11f5d9ff929078d4aa53d171b1f2df2e980",
    url="https://archive.ics.uci.edu/static/public/502/online+retail+ii.zip",
)


def table() -> pd.DataFrame:
    """The lines in order of time, columns as UCI names them (``COLUMNS``).

    Raises ValueError for a file of other content, and FileNotFoundError where neither
    file is there and UCI does not answer.
    """
    if available(FILE):
        return pd.read_parquet(fetch(FILE))
    digest = SOURCES[WORKBOOK].sha256[:16]
    made = Path(pooch.os_cache("ple_study")) / FOLDER / f"lines-{digest}.parquet"
    if not made.exists():
        frame = converted(fetch(WORKBOOK))
        made.parent.mkdir(parents=True, exist_ok=True)
        partial = made.with_suffix(".partial")
        frame.to_parquet(partial)
        partial.replace(made)
    return pd.read_parquet(made)


def converted(workbook: Path) -> pd.DataFrame:
    """Both sheets of the workbook as one table, in order of time.

    Nine days of December 2010 are in both; they are taken from the second. Raises
    ValueError for another sheet's name, and for a column that is not there.
    """
    sheets = pd.read_excel(
        workbook,
        sheet_name=list(SHEETS),
        dtype={"Invoice": str, "StockCode": str, "Description": str, "Country": str},
        keep_default_na=False,
        na_values=[""],
    )
    first, second = (sheets[name].rename(columns=RENAMED) for name in SHEETS)
    for sheet in (first, second):
        check_names(sheet.columns, COLUMNS)
    frame = pd.concat([first[first["InvoiceDate"] < SECOND], second])[list(COLUMNS)]
    frame = frame.astype({"CustomerID": "Int32", "Quantity": "int32"})
    return frame.sort_values("InvoiceDate", kind="stable", ignore_index=True)
