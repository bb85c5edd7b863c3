"""Made-up orders for all tests of the shop, and the real ones where they are."""

import pandas as pd
import pytest

from ple_study.data.fetch import available, fetch
from ple_study.data.loader import Study
from ple_study.data.retail import LENSES, retail
from ple_study.data.retail.files import FILE
from ple_study.data.retail.tables import Orders, read
from tests.data.retail import made


@pytest.fixture(scope="session")
def raw() -> pd.DataFrame:
    return made.lines()


@pytest.fixture(scope="session")
def orders(raw: pd.DataFrame) -> Orders:
    return read(raw)


@pytest.fixture(scope="session")
def whole(orders: Orders) -> Study:
    """The study of the made-up orders through all lenses."""
    return retail(purchases=orders, lenses=LENSES)


@pytest.fixture(scope="session")
def real() -> pd.DataFrame:
    """The real lines as they are in their file."""
    if not available(FILE):
        pytest.skip(f"{FILE} is absent. PLE_STUDY_DATA=<folder that holds it> pytest")
    return pd.read_parquet(fetch(FILE))


@pytest.fixture(scope="session")
def real_orders(real: pd.DataFrame) -> Orders:
    return read(real)


@pytest.fixture(scope="session")
def real_study(real_orders: Orders) -> Study:
    return retail(purchases=real_orders)
