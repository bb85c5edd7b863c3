"""A synthetic bank whose truth is planted: customers, their events and their labels."""

from ple_study.data.world.bank import Bank, Truth
from ple_study.data.world.shards import read, write

__all__ = ["Bank", "Truth", "read", "write"]
