"""The study of real households: its shape, its split and what it may know."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
import torch

from ple_study.data.journey import journey, labels_table
from ple_study.data.journey.snapshots import END
from ple_study.data.journey.tables import Purchases, read
from ple_study.data.journey.tasks import LABELS
from ple_study.data.leakage import shallow_tree
from ple_study.data.loader import Study
from ple_study.schema import Schema

Tables = Mapping[str, pd.DataFrame]


@pytest.fixture(scope="module")
def table(purchases: Purchases) -> pd.DataFrame:
    return labels_table(purchases=purchases).set_index("task")


def test_study_has_the_widths_that_it_promises(study: Study) -> None:
    schema, batch = study.schema, study.rows.batch
    assert len(schema.numeric) >= 200
    assert len(schema.categorical) >= 6
    assert len(schema.tasks) == 16
    assert len(schema.transfers) == 5
    assert batch.events["daily"].values.shape == (len(study.rows), 180, 16)
    assert batch.events["baskets"].values.shape == (len(study.rows), 90, 8)
    for sequence in schema.sequences:
        shape = batch.events[sequence.name].values.shape
        assert shape[1:] == (sequence.steps, len(sequence.channels))
    assert Schema.from_json(schema.to_json()) == schema


def test_all_inputs_are_finite_and_of_a_scale(study: Study) -> None:
    assert study.rows.batch.numeric.isfinite().all()
    assert all(e.values.isfinite().all() for e in study.rows.batch.events.values())
    scaled = study.scaled().part("test").batch.numeric
    assert scaled.abs().max() < 25
    train = study.part("train").batch.numeric
    constant = train.std(0) == 0
    assert not constant.any(), [
        f.name for f, c in zip(study.schema.numeric, constant, strict=True) if c
    ]


def test_probability_blocks_sum_to_one(study: Study) -> None:
    for group in ("department_share", "time"):
        columns = [i for i, f in enumerate(study.schema.numeric) if f.group == group]
        block = study.rows.batch.numeric[:, columns]
        assert {study.schema.numeric[i].kind for i in columns} == {"probability"}
        torch.testing.assert_close(block.sum(1), torch.ones(len(block)))


def test_categories_are_known_from_training_and_leave_age_out(study: Study) -> None:
    train, test = (study.part(p).batch.categorical for p in ("train", "test"))
    for column, feature in enumerate(study.schema.categorical):
        assert train[:, column].max() == len(feature.vocabulary)
        assert set(train[:, column].tolist()) >= set(range(1, feature.size))
    names = [feature.name for feature in study.schema.categorical]
    assert "age" not in names
    unknown = (test[:, names.index("income")] == 0).float().mean()
    assert 0.6 < unknown < 0.75  # a survey for 801 of 2,469 households


def _changed_after(raw: Tables, day: int) -> dict[str, pd.DataFrame]:
    """The same tables with another future: half of it gone, the rest tampered with."""
    start = pd.Timestamp("2017-01-01") + pd.Timedelta(days=day)
    rng = np.random.default_rng(0)
    lines = raw["transactions"]
    future = (
        lines["transaction_timestamp"] >= start + pd.Timedelta(hours=5)
    ).to_numpy()
    gone = future & (rng.random(len(lines)) < 0.5)
    lines = lines.assign(
        sales_value=lines["sales_value"] * np.where(future, 3.0, 1.0),
        retail_disc=lines["retail_disc"] + future,
        coupon_disc=lines["coupon_disc"] + future,
        product_id=np.where(future, lines["product_id"].iloc[0], lines["product_id"]),
    )
    redeemed = raw["coupon_redemptions"]
    starts = raw["campaign_descriptions"]
    return {
        **raw,
        "transactions": lines[~gone],
        "coupon_redemptions": redeemed[redeemed["redemption_date"] < start],
        "campaign_descriptions": starts[starts["start_date"] < start],
    }


def test_training_rows_know_nothing_of_the_days_after_training(
    raw: Tables, study: Study
) -> None:
    """Tampering from the first validation day on moves no training input or label."""
    other = journey(purchases=read(_changed_after(raw, END["train"])))
    assert other.schema == study.schema
    ours, theirs = study.part("train"), other.part("train")
    assert torch.equal(ours.batch.numeric, theirs.batch.numeric)
    assert torch.equal(ours.batch.categorical, theirs.batch.categorical)
    for name, events in ours.batch.events.items():
        assert torch.equal(events.values, theirs.batch.events[name].values)
        assert torch.equal(events.mask, theirs.batch.events[name].mask)
    for name, label in ours.labels.items():
        torch.testing.assert_close(
            label, theirs.labels[name], rtol=0, atol=0, equal_nan=True
        )
    changed = other.part("val").labels["ltv"].nan_to_num()
    assert len(changed) != len(study.split["val"]) or not torch.equal(
        changed, study.part("val").labels["ltv"].nan_to_num()
    )


@pytest.fixture(scope="module")
def scores(study: Study) -> dict[str, float]:
    return shallow_tree(study)


@pytest.mark.parametrize("task", [label.spec.name for label in LABELS])
def test_no_label_is_a_simple_function_of_the_features(
    task: str, scores: dict[str, float]
) -> None:
    """A tree of depth 4: R2, or the AUC of the class that it knows best."""
    print(f"{task}: {scores[task]:.3f}")
    assert scores[task] < 0.98


def test_base_rates_are_those_counted_before(study: Study, table: pd.DataFrame) -> None:
    """Against independent counts on the same purchases by calendar month.

    There, of those active in a month, 7.6 to 10.5 % bought nothing in the next, and
    24.3 % used a coupon in it.
    """
    names = [feature.name for feature in study.schema.numeric]
    column = study.rows.batch.numeric[:, names.index("baskets_28d")]
    active = column > 0
    churn = float(study.rows.labels["churn"][active].mean())
    ctr = float(study.rows.labels["ctr"][active].mean())
    assert 0.07 < churn < 0.11
    assert 0.21 < ctr < 0.26
    assert table.loc["churn", "base"] == pytest.approx(0.170, abs=0.002)
    assert table.loc["cvr", "base"] == pytest.approx(0.052, abs=0.002)
    assert table.loc["life_stage", "observed"] == pytest.approx(0.11, abs=0.01)


def test_table_of_labels_says_all_of_every_task(
    study: Study, table: pd.DataFrame
) -> None:
    assert tuple(table.index) == study.schema.task_names
    assert not table.isna().any().any()
    assert table["base"].between(0, 5).all()
    assert table["observed"].between(0.1, 1).all()
    for task in study.schema.tasks:
        row = table.loc[task.name]
        assert (row["group"], row["kind"], row["classes"]) == (
            task.group, task.kind, task.classes,
        )  # fmt: skip
        known = ~study.rows.labels[task.name].isnan()
        assert row["observed"] == pytest.approx(float(known.float().mean()))


def test_half_a_minute_of_one_core_is_enough(seconds: float) -> None:
    print(f"{seconds:.1f} s of one core, from the files to the tensors")
    assert seconds < 30
