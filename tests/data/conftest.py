"""The real households, read once for all tests."""

import time
from collections.abc import Mapping

import pandas as pd
import pytest

from ple_study.data.fetch import fetch
from ple_study.data.journey import journey
from ple_study.data.journey.tables import TABLES, Purchases, read
from ple_study.data.loader import Study


@pytest.fixture(scope="session")
def raw() -> Mapping[str, pd.DataFrame]:
    """The files as they are; skips where they are not installed."""
    try:
        paths = {name: fetch(f"completejourney/{name}.parquet") for name in TABLES}
    except FileNotFoundError as absent:
        pytest.skip(str(absent))
    return {name: pd.read_parquet(path) for name, path in paths.items()}


@pytest.fixture(scope="session")
def made(raw: Mapping[str, pd.DataFrame]) -> tuple[Purchases, Study, float]:
    """The study from the files on, and the processor seconds that it took."""
    assert raw
    start = time.process_time()
    purchases = read()
    study = journey(purchases=purchases)
    return purchases, study, time.process_time() - start


@pytest.fixture(scope="session")
def purchases(made: tuple[Purchases, Study, float]) -> Purchases:
    return made[0]


@pytest.fixture(scope="session")
def study(made: tuple[Purchases, Study, float]) -> Study:
    return made[1]


@pytest.fixture(scope="session")
def seconds(made: tuple[Purchases, Study, float]) -> float:
    return made[2]


@pytest.fixture(scope="session")
def few(raw: Mapping[str, pd.DataFrame]) -> Mapping[str, pd.DataFrame]:
    """The files of every twentieth household: all of the code, little of the time."""
    lines = raw["transactions"]
    chosen = sorted(set(lines["household_id"]))[::20]
    return {**raw, "transactions": lines[lines["household_id"].isin(chosen)]}


@pytest.fixture(scope="session")
def lines(raw: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Raw lines with their products and the shop's local time, by the zone's own rules.

    ``day`` counts from 0 on 2017-01-01.
    """
    stamp = raw["transactions"]["transaction_timestamp"]
    local = stamp.dt.tz_localize("UTC").dt.tz_convert("America/New_York")
    local = local.dt.tz_localize(None)
    day = (local - pd.Timestamp("2017-01-01")).dt.days
    frame = raw["transactions"].assign(time=local, day=day)
    products = raw["products"].astype({"manufacturer_id": "Int64"})
    return frame.merge(products, on="product_id", how="left")
