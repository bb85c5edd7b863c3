"""Every twentieth household and all its lenses, prepared once for all tests."""

from collections.abc import Mapping

import pandas as pd
import pytest

from ple_study.data.journey import LENSES, journey
from ple_study.data.journey.tables import Purchases, read
from ple_study.data.loader import Study


@pytest.fixture(scope="session")
def small(few: Mapping[str, pd.DataFrame]) -> Purchases:
    return read(few)


@pytest.fixture(scope="session")
def whole(small: Purchases) -> Study:
    return journey(purchases=small, lenses=LENSES)
