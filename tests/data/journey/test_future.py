"""No lens sees the future: events from the cut-off on are shifted, deleted, multiplied.

From the first validation day on, nothing that is learnt looks ahead either, so the
whole study is made again. Between the training cut-offs, columns and fits of training
are what later training rows make them: there each row's own reading is made again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from ple_study.data.graphs.csr import matrix
from ple_study.data.journey import LENSES, clouds, journey, modes
from ple_study.data.journey.events import series
from ple_study.data.journey.graphs import Graphs, graphs
from ple_study.data.journey.habits import categories, numeric
from ple_study.data.journey.snapshots import Snapshot, snapshots
from ple_study.data.journey.tables import Purchases, read
from ple_study.data.journey.windows import Window
from ple_study.data.loader import Study
from tests.data.fields import fields
from tests.data.journey.futures import FUTURES

Tables = Mapping[str, pd.DataFrame]


def households(study: Study, purchases: Purchases) -> list[str]:
    assert study.rows.batch.customer is not None
    return list(purchases.names["household"][study.rows.batch.customer.numpy()])


@pytest.mark.parametrize(
    ("future", "cutoff"), [("shifted", 253), ("deleted", 281), ("multiplied", 309)]
)
def test_no_field_of_a_snapshot_moves_with_its_future(
    future: str, cutoff: int, few: Tables, small: Purchases, whole: Study
) -> None:
    tampered = read(FUTURES[future](few, cutoff))
    other = journey(purchases=tampered, lenses=LENSES)
    rows = sum(len(shot) for shot in snapshots(small) if shot.cutoff <= cutoff)
    ours, theirs = (
        households(study, purchases)
        for study, purchases in ((whole, small), (other, tampered))
    )
    assert ours[:rows] == theirs[:rows]
    assert other.schema.features == whole.schema.features
    here, there = dict(fields(whole.rows.batch)), dict(fields(other.rows.batch))
    assert list(here) == list(there)
    for name, values in here.items():
        assert torch.equal(values[:rows], there[name][:rows]), name


@pytest.mark.parametrize("future", FUTURES)
def test_every_field_moves_with_its_past(
    future: str, few: Tables, small: Purchases, whole: Study
) -> None:
    """The same test can fail: the same events, two weeks before the cut-off."""
    cutoff = 253
    other = journey(purchases=read(FUTURES[future](few, cutoff - 14)), lenses=LENSES)
    first = sum(len(shot) for shot in snapshots(small) if shot.cutoff < cutoff)
    size = min(len(whole.rows), len(other.rows)) - first
    rows = slice(first, first + min(size, 60))
    moved = {
        name: not torch.equal(values[rows], theirs[rows])
        for (name, values), (_, theirs) in zip(
            fields(whole.rows.batch), fields(other.rows.batch), strict=True
        )
    }
    print(moved)
    still = {name for name, change in moved.items() if not change}
    # More money at the same times leaves the times, and maybe the shapes' numbers.
    allowed = {  # the graph counts lines, not money
        "multiplied": {
            "daily mask",
            "baskets mask",
            "short mask",
            "long mask",
            "graph",
        },
        "shifted": {"daily mask", "baskets mask"},
    }
    assert still <= allowed.get(future, set()) | {"daily mask"}


def _other(shot: Snapshot, future: str) -> Snapshot:
    """The snapshot among purchases that differ from its cut-off on."""
    purchases, day = shot.past.purchases, shot.cutoff
    tables = {}
    for name, frame in {
        "lines": purchases.lines,
        "baskets": purchases.baskets,
        "redemptions": purchases.redemptions,
        "mailings": purchases.mailings,
    }.items():
        late = frame["day"].to_numpy() >= day
        if future == "deleted":
            frame = frame[~late]
        elif future == "shifted":
            moved = day + (frame["day"] - day + 9) % (365 - day)
            frame = frame.assign(day=frame["day"].where(~late, moved))
        elif "sales" in frame:
            money = ["sales", "discount", "coupon"]
            frame = frame.assign(**{c: frame[c] * np.where(late, 3, 1) for c in money})
        else:
            frame = pd.concat([frame, frame[late]])
        tables[name] = frame.sort_values("day", kind="stable")
    past = Window(replace(purchases, **tables), shot.past.start, shot.past.stop)
    return replace(shot, past=past)


def _readings(shot: Snapshot) -> Iterator[tuple[str, np.ndarray]]:
    """All that the lenses read of one snapshot, before anything is learnt."""
    for group, columns in numeric(shot.past, shot.vocabulary).items():
        yield from ((f"{group}: {name}", column) for name, column in columns.items())
    texts = categories(shot.past)
    yield from (
        (str(name), texts[name].astype(object).fillna("").to_numpy()) for name in texts
    )
    for name, events in (series([shot]) | modes.series([shot])).items():
        yield from (
            (name, events.values.numpy()),
            (f"{name} mask", events.mask.numpy()),
        )
    category = clouds.main_category(shot.past.purchases)
    for name, (days, _) in clouds.KINDS.items():
        columns = clouds.visits([shot], category, days)
        yield from ((f"{name} {key}", column) for key, column in vars(columns).items())


@pytest.mark.parametrize("future", FUTURES)
def test_no_reading_of_a_training_row_moves_with_its_future(
    future: str, small: Purchases
) -> None:
    for shot in snapshots(small)[:2]:
        pairs = zip(_readings(shot), _readings(_other(shot, future)), strict=True)
        for (name, ours), (_, theirs) in pairs:
            np.testing.assert_array_equal(ours, theirs, name)
        earlier = _other(replace(shot, cutoff=shot.cutoff - 9), future)
        again = dict(_readings(replace(earlier, cutoff=shot.cutoff)))
        moved = {
            name.split(" ")[0]
            for name, ours in _readings(shot)
            if not np.array_equal(ours, again[name])
        }
        wanted = {"daily", "baskets", "journey", "lifecycle", "behavior", "short"}
        assert wanted | {"long", "rfm:", "trend:"} <= moved


def _edges(found: Graphs, purchases: Purchases) -> dict[tuple[str, str], float]:
    weights = matrix(found.bipartite).tocoo()
    names, paths = purchases.names["household"], found.tree.paths
    return {
        (names[row], paths[column]): value
        for row, column, value in zip(*weights.coords, weights.data, strict=True)
    }


@pytest.mark.parametrize("future", FUTURES)
def test_no_edge_comes_from_the_future(
    future: str, few: Tables, small: Purchases
) -> None:
    wanted = graphs(small, 197)
    tampered = read(FUTURES[future](few, 197))
    found = graphs(tampered, 197)
    assert found.tree == wanted.tree
    assert torch.equal(found.covisits.to_dense(), wanted.covisits.to_dense())
    assert torch.equal(found.fused.to_dense(), wanted.fused.to_dense())
    assert _edges(found, tampered) == _edges(wanted, small)
    if future != "multiplied":  # an edge counts lines, not money
        earlier = read(FUTURES[future](few, 183))
        assert _edges(graphs(earlier, 197), earlier) != _edges(wanted, small)
