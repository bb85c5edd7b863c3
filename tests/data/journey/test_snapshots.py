"""Labels over all rows: observed in time, scaled by training, a survey shown once."""

import numpy as np
import pytest

from ple_study.data.checks import SPLITS
from ple_study.data.journey.snapshots import END, Snapshot, label_values, snapshots
from ple_study.data.journey.tables import Purchases
from ple_study.data.journey.tasks import LABELS
from ple_study.data.loader import Study


@pytest.fixture(scope="module")
def shots(purchases: Purchases) -> list[Snapshot]:
    return snapshots(purchases)


def test_a_regression_label_is_scaled_by_the_training_rows(
    shots: list[Snapshot],
) -> None:
    part = np.repeat([shot.part for shot in shots], [len(shot) for shot in shots])
    for label in LABELS:
        values = label_values(label, shots, seed=0)
        train = values.scaled[part == "train"]
        if label.spec.kind == "regression":
            assert np.isclose(np.nanmean(train), 0, atol=1e-9)
            assert np.isclose(np.nanstd(train), 1)
            unscaled = values.scaled * values.std + values.mean
            np.testing.assert_allclose(unscaled, values.raw)
        else:
            np.testing.assert_array_equal(values.scaled, values.raw)


def test_spending_buckets_are_tenths_of_the_training_rows(
    shots: list[Snapshot],
) -> None:
    label = next(label for label in LABELS if label.buckets)
    part = np.repeat([shot.part for shot in shots], [len(shot) for shot in shots])
    tenth = label_values(label, shots, seed=0).raw
    dollars = label_values(label._replace(buckets=0), shots, seed=0).raw
    known = (part == "train") & ~np.isnan(tenth)
    counts = np.bincount(tenth[known].astype(int))
    assert len(counts) == 10
    assert counts.max() - counts.min() <= 3
    order = np.argsort(dollars[known])
    assert (np.diff(tenth[known][order]) >= 0).all()


def test_a_survey_is_shown_in_one_part_only(shots: list[Snapshot]) -> None:
    label = next(label for label in LABELS if label.spec.name == "life_stage")
    household = np.concatenate([shot.households for shot in shots])
    part = np.repeat([shot.part for shot in shots], [len(shot) for shot in shots])
    shown = [~np.isnan(label_values(label, shots, seed=s).raw) for s in (0, 1)]
    sets = [set(household[shown[0] & (part == p)]) for p in ("train", "val", "test")]
    assert [len(a & b) for a, b in zip(sets, sets[1:] + sets[:1], strict=True)] == [
        0
    ] * 3
    assert 0.55 < len(sets[0]) / sum(map(len, sets)) < 0.65
    assert (shown[0] != shown[1]).any()


def test_a_label_is_observed_only_when_it_was_known_in_time(
    shots: list[Snapshot],
) -> None:
    cutoff = np.repeat([shot.cutoff for shot in shots], [len(shot) for shot in shots])
    slow = [label for label in LABELS if label.horizon == 56]
    assert {label.spec.name for label in slow} == {
        "retention",
        "ltv",
        "consumption_cycle",
    }
    for label in slow:
        known = ~np.isnan(label_values(label, shots, seed=0).raw)
        assert set(cutoff[known]) == {197, 253, 309}


def test_snapshots_and_their_counts(study: Study, purchases: Purchases) -> None:
    shots = snapshots(purchases)
    assert [(s.part, s.cutoff) for s in shots] == [
        ("train", 197), ("train", 225), ("val", 253), ("val", 281), ("test", 309),
        ("test", 337),
    ]  # fmt: skip
    assert len({s.cutoff % 7 for s in shots}) == 1
    assert [len(study.split[name]) for name in SPLITS] == [4797, 4829, 4831]
    assert len(snapshots(purchases, every=7)) == 4 + 5
    with pytest.raises(ValueError, match=r"every must be 7, 14 or 28 days.*Found 30"):
        snapshots(purchases, every=30)


def test_no_window_of_a_label_reaches_into_the_next_part(purchases: Purchases) -> None:
    first = {s.part: s.cutoff for s in reversed(snapshots(purchases))}
    ends = {"train": first["val"], "val": first["test"], "test": 365}
    assert ends == END


def test_every_class_of_a_task_occurs(shots: list[Snapshot]) -> None:
    for label in LABELS:
        if label.spec.kind in ("binary", "multiclass"):
            raw = label_values(label, shots, seed=0).raw
            classes = np.unique(raw[~np.isnan(raw)])
            assert classes.tolist() == list(range(max(label.spec.classes, 2)))
