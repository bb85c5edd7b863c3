"""The signal is readable through its own lens, and only there."""

import numpy as np
import pandas as pd
import pytest

from ple_study.data.world import Bank
from ple_study.data.world.readings import IN_COLUMNS, probes, spillover

OWN, ELSEWHERE = 0.80, 0.55  # set by the issue before anything was planted
SIMPLE = 0.60  # 800 customers tested: a coin, and what 32 of them may reach


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return probes(Bank(3000, seed=0, size="small"))


def test_every_lens_reads_its_own_signal(table: pd.DataFrame) -> None:
    assert (table["own"] >= OWN).all(), table


def test_no_lens_reads_the_signal_of_another(table: pd.DataFrame) -> None:
    assert (table["other"] <= ELSEWHERE).all(), table


def test_columns_do_not_tell_what_is_planted_in_events(table: pd.DataFrame) -> None:
    events = table[~table["lens"].isin(IN_COLUMNS)]
    assert len(events) == 8
    assert (events[["linear", "boosted"]] <= ELSEWHERE).all(axis=None), table


OWN_INPUT = {("unified_hgcn", "hierarchy"), ("lightgcn", "graph")}
DIAGRAMS = {"short": 0, "long": 1}  # which factor of perslay each of them tells


def test_no_other_input_tells_what_is_planted_in_events() -> None:
    """Asked with boosted trees on all that is simple in it, and on a good deal more."""
    table = spillover(Bank(2000, seed=0, size="small")).set_index(["lens", "factor"])
    for lens, name in OWN_INPUT:
        assert table.loc[lens, name].min() > 0.9
        table.loc[lens, name] = np.nan
    for name, factor in DIAGRAMS.items():
        assert table.loc[("perslay", factor), name] > OWN
        table.loc[("perslay", factor), name] = np.nan
    assert table.shape == (8, 8)
    assert (table.max() < SIMPLE).all(), table


def test_crosses_are_not_linear(table: pd.DataFrame) -> None:
    crosses = table[table["lens"] == "deepfm"]
    assert (crosses["linear"] <= ELSEWHERE).all(), table
