"""Each published once for all tests that ask it."""

from pathlib import Path

import pytest

from ple_study.fitted import Fitted
from ple_study.serving.service import Service
from tests.serving.published import CHEAP, fitted, served, several
from tests.test_export import SPECS, untrained

Pair = tuple[Fitted, Service]


@pytest.fixture(scope="session")
def ple(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Columns alone, every kind of task, two levels of gates."""
    own = untrained(SPECS["ple"])
    return own, served(own, tmp_path_factory.mktemp("ple"))


@pytest.fixture(scope="session")
def cheap(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Four experts that are cheap to export, evidential heads, and explained."""
    own, folder = fitted(CHEAP), tmp_path_factory.mktemp("cheap")
    return own, served(own, folder, several(17, seed=3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "service"
