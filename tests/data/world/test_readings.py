"""The signal is readable through its own lens, and only there."""

import pandas as pd
import pytest

from ple_study.data.world import Bank
from ple_study.data.world.readings import IN_COLUMNS, probes, spillover

OWN, ELSEWHERE = 0.80, 0.55  # set by the issue before anything was planted


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


def test_what_else_tells_of_the_signal_is_measured() -> None:
    """Inputs overlap where events do, and clusters tell nothing."""
    table = spillover(Bank(2000, seed=0, size="small")).set_index(["lens", "factor"])
    assert table.loc[("perslay", 1), "series"] > 0.8  # bursts are days with many
    assert table.loc["unified_hgcn", "graph"].min() > 0.9  # brands have categories
    assert table.loc["lightgcn", "series"].max() < 0.6
    assert table["clusters"].max() < 0.58


def test_crosses_are_not_linear(table: pd.DataFrame) -> None:
    crosses = table[table["lens"] == "deepfm"]
    assert (crosses["linear"] <= ELSEWHERE).all(), table
