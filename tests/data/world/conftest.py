"""One small bank of two blocks, made once."""

import pytest

from ple_study.data.loader import Study
from ple_study.data.world import Bank
from ple_study.data.world.blocks import Block

CUSTOMERS = 600


@pytest.fixture(scope="session")
def bank() -> Bank:
    made = Bank(CUSTOMERS, seed=3, size="small")
    _ = made.fitted
    return made


@pytest.fixture(scope="session")
def block(bank: Bank) -> Block:
    return bank.block(0)


@pytest.fixture(scope="session")
def study(bank: Bank) -> Study:
    return bank.study()
