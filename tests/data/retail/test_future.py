"""No field of a row sees its future, and no label looks before its cut-off."""

import numpy as np
import pandas as pd
import pytest
import torch

from ple_study.data.journey.shop import study_of
from ple_study.data.journey.snapshots import label_values
from ple_study.data.loader import Study
from ple_study.data.retail import LENSES, SHOP, retail
from ple_study.data.retail.snapshots import END, snapshots
from ple_study.data.retail.tables import Orders, read
from ple_study.data.retail.tasks import LABELS
from tests.data.fields import fields
from tests.data.retail.futures import FUTURES
from tests.data.retail.made import DAY, ORIGIN


def customers(study: Study, orders: Orders) -> list[int]:
    assert study.rows.batch.customer is not None
    return list(orders.names["household"][study.rows.batch.customer.numpy()])


@pytest.mark.parametrize(
    ("future", "cutoff"), [("shuffled", 624), ("deleted", 680), ("multiplied", 652)]
)
def test_no_field_moves_with_what_comes_after_its_cut_off(
    future: str, cutoff: int, raw: pd.DataFrame, orders: Orders, whole: Study
) -> None:
    """From the first validation day on nothing that is learnt looks ahead either."""
    tampered = read(FUTURES[future](raw, cutoff))
    other = retail(purchases=tampered, lenses=LENSES)
    rows = sum(len(shot) for shot in snapshots(orders) if shot.cutoff <= cutoff)
    assert customers(whole, orders)[:rows] == customers(other, tampered)[:rows]
    assert other.schema.features == whole.schema.features
    here, there = dict(fields(whole.rows.batch)), dict(fields(other.rows.batch))
    assert list(here) == list(there)
    for name, values in here.items():
        assert torch.equal(values[:rows], there[name][:rows]), name


@pytest.mark.parametrize("future", FUTURES)
def test_every_field_moves_with_its_past(
    future: str, raw: pd.DataFrame, orders: Orders, whole: Study
) -> None:
    """The same test can fail: the same lines, three weeks before the cut-off."""
    cutoff = 624
    other = retail(purchases=read(FUTURES[future](raw, cutoff - 21)), lenses=LENSES)
    first = sum(len(shot) for shot in snapshots(orders) if shot.cutoff < cutoff)
    rows = slice(first, first + 20)
    pairs = zip(fields(whole.rows.batch), fields(other.rows.batch), strict=True)
    still = {name for (name, a), (_, b) in pairs if torch.equal(a[rows], b[rows])}
    allowed = {"daily mask"}
    if future == "multiplied":  # more pieces at the same times; a cluster may stay
        allowed |= {"baskets mask", "short mask", "long mask", "clusters"}
    assert still <= allowed


@pytest.mark.parametrize("future", FUTURES)
@pytest.mark.parametrize("cutoff", [260, 400])
def test_no_reading_of_a_training_row_moves_with_its_future(
    future: str, cutoff: int, raw: pd.DataFrame, orders: Orders
) -> None:
    """Between training cut-offs columns are of what sold in training: same names."""
    changed = read(FUTURES[future](raw, cutoff))
    ours, theirs = snapshots(orders), snapshots(changed)
    one, other = (
        next(shot for shot in shots if shot.cutoff == cutoff)
        for shots in (ours, theirs)
    )
    first, second = (s.past.purchases.names["household"] for s in (one, other))
    assert list(first[one.households]) == list(second[other.households])
    mine, yours = (
        {
            name: column[shot.households]
            for group in SHOP.numeric(shot.past, shot.vocabulary).values()
            for name, column in group.items()
        }
        for shot in (one, other)
    )
    shared = [name for name in mine if name in yours and not name.startswith("share:o")]
    assert len(shared) > 120
    for name in shared:
        # pandas sums a group in an order of its own: the last bit may differ.
        np.testing.assert_allclose(mine[name], yours[name], 1e-12, 1e-12, err_msg=name)
    texts = [SHOP.categories(s.past).iloc[s.households] for s in (one, other)]
    pd.testing.assert_frame_equal(*(t.reset_index(drop=True) for t in texts))
    seen = [SHOP.series([shot]) for shot in (one, other)]
    for name, events in seen[0].items():
        size = {"daily": 8, "baskets": 8}[name]  # the channels that carry no name
        there = seen[1][name]
        assert torch.equal(events.values[..., :size], there.values[..., :size])
        assert torch.equal(events.mask, there.mask)


def test_training_knows_nothing_of_the_days_after_it(
    raw: pd.DataFrame, orders: Orders
) -> None:
    """Neither labels nor their scale, nor vocabularies: all end on day 624."""
    ours = study_of(SHOP, snapshots(orders))
    theirs = study_of(SHOP, snapshots(read(FUTURES["multiplied"](raw, END["train"]))))
    assert ours.schema == theirs.schema
    one, other = ours.part("train"), theirs.part("train")
    assert torch.equal(one.batch.numeric, other.batch.numeric)
    assert torch.equal(one.batch.categorical, other.batch.categorical)
    for name, label in one.labels.items():
        torch.testing.assert_close(
            label, other.labels[name], rtol=0, atol=0, equal_nan=True
        )
    later = [s.part("val").labels["ltv"].nan_to_num() for s in (ours, theirs)]
    assert not torch.equal(*later)


@pytest.mark.parametrize("label", LABELS, ids=lambda label: label.spec.name)
def test_a_label_never_looks_before_its_cut_off(
    label: "LABELS[0].__class__",  # type: ignore[valid-type]
    raw: pd.DataFrame,
    orders: Orders,
) -> None:
    """Other pieces and prices before a cut-off leave its labels, in their unit."""
    plain = label._replace(buckets=0)  # tenths are of the training rows
    shots = snapshots(orders)
    cutoff = 680
    early = raw["InvoiceDate"] < ORIGIN + cutoff * DAY
    dearer = raw.assign(
        UnitPrice=raw["UnitPrice"] * np.where(early, 2.0, 1.0),
        Quantity=raw["Quantity"] * np.where(early, 3, 1),
    )
    rows = np.repeat([shot.cutoff for shot in shots], [len(shot) for shot in shots])
    rows = np.flatnonzero(rows == cutoff)
    # The vocabulary ranks by money: six times as much of each keeps its order.
    values = label_values(plain, shots, 0, END).raw[rows]
    others = label_values(plain, snapshots(read(dearer)), 0, END).raw[rows]
    np.testing.assert_array_equal(values, others)
    assert not np.isnan(values).all()
    fewer = raw[early | (raw["CustomerID"].fillna(0) % 2 == 0)]
    moved = label_values(plain, snapshots(read(fewer)), 0, END).raw[rows]
    assert not np.array_equal(values, moved, equal_nan=True)
