"""Census-Income: labels, columns and split against counts on the raw file."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from ple_study.data import census as module
from ple_study.data.census import COLUMNS, FILE, census, people
from ple_study.data.fetch import available
from ple_study.data.loader import Study


@pytest.fixture(scope="module", autouse=True)
def frame() -> pd.DataFrame:
    """The raw persons; skips where the file is absent (nothing is downloaded here)."""
    if not available(FILE):
        pytest.skip(
            f"{FILE} is absent. Set PLE_STUDY_DATA to a folder that has it, or run: "
            f"python -c \"from ple_study.data.fetch import fetch; fetch('{FILE}')\""
        )
    return people()


@pytest.fixture(scope="module", autouse=True)
def _read_once(frame: pd.DataFrame) -> None:
    """Reading takes longer than all else."""
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "people", frame.copy)


@pytest.fixture(scope="module")
def income() -> Study:
    return census()


def test_file_is_the_one_described(frame: pd.DataFrame) -> None:
    assert frame.shape == (99_762, 42)
    assert frame.duplicated().sum() == 883
    assert not frame.isna().any().any()
    assert (frame["hisp_origin"] == "NA").sum() == 405


def test_labels_are_what_the_columns_say(frame: pd.DataFrame, income: Study) -> None:
    labels = income.rows.labels
    earns = frame["income_50k"].map({"50000+.": 1, "- 50000.": 0})
    np.testing.assert_array_equal(labels["income"], earns)
    single = frame["marital_stat"] == "Never married"
    np.testing.assert_array_equal(labels["never_married"], single)
    assert labels["income"].mean() == pytest.approx(0.062, abs=5e-4)
    assert labels["never_married"].mean() == pytest.approx(0.432, abs=5e-4)


def test_education_counts_a_bachelor_and_more(frame: pd.DataFrame) -> None:
    study = census(tasks="education")
    assert study.schema.task_names == ("education", "never_married")
    degrees = {
        "Bachelors degree(BA AB BS)": 9885,
        "Masters degree(MA MS MEng MEd MSW MBA)": 3306,
        "Prof school degree (MD DDS DVM LLB JD)": 876,
        "Doctorate degree(PhD EdD)": 620,
    }
    assert study.rows.labels["education"].sum() == sum(degrees.values())
    np.testing.assert_array_equal(
        study.rows.labels["education"], frame["education"].isin(degrees)
    )
    names = {feature.name for feature in study.schema.features}
    assert names == set(COLUMNS) - {"education", "marital_stat", "instance_weight"}


def test_columns_of_the_labels_are_no_features(income: Study) -> None:
    names = {feature.name for feature in income.schema.features}
    assert names == set(COLUMNS) - {"income_50k", "marital_stat", "instance_weight"}
    assert (len(income.schema.numeric), len(income.schema.categorical)) == (7, 32)


def test_columns_are_the_raw_ones(frame: pd.DataFrame, income: Study) -> None:
    for column, feature in enumerate(income.schema.numeric):
        raw = frame[feature.name].to_numpy(np.float64)
        wanted = np.log1p(raw) if feature.group == "money" else raw
        np.testing.assert_allclose(
            income.rows.batch.numeric[:, column], wanted, rtol=1e-6
        )
    train = set(income.split["train"].tolist())
    assert len(train) == 59_857
    for column, feature in enumerate(income.schema.categorical):
        raw = frame[feature.name]
        codes = income.rows.batch.categorical[:, column].numpy()
        known = np.array(["", *feature.vocabulary], dtype=object)
        seen = set(raw.iloc[income.split["train"].numpy()])
        assert set(feature.vocabulary) == seen
        np.testing.assert_array_equal(
            known[codes], raw.astype(object).where(raw.isin(seen), "")
        )


def test_split_follows_the_seed_and_covers_all(income: Study) -> None:
    sizes = [len(index) for index in income.split.values()]
    assert sizes == [59_857, 19_952, 19_953]
    assert torch.equal(
        torch.cat(list(income.split.values())).sort()[0], torch.arange(99_762)
    )
    again = census(seed=0)
    other = census(seed=1)
    assert torch.equal(again.split["test"], income.split["test"])
    assert torch.equal(again.rows.batch.categorical, income.rows.batch.categorical)
    assert not torch.equal(other.split["test"], income.split["test"])


def test_weights_are_off_unless_asked_for(frame: pd.DataFrame, income: Study) -> None:
    assert not income.rows.weights
    study = census(weighted=True)
    for task in study.schema.task_names:
        weight = study.rows.weights[task]
        assert weight[study.split["train"]].mean() == pytest.approx(1, abs=1e-4)
        ratio = weight / torch.tensor(frame["instance_weight"].to_numpy())
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-4, atol=0)


def test_drop_takes_columns_out_and_knows_their_names() -> None:
    study = census(drop=("tax_filer_stat", "age"))
    names = {feature.name for feature in study.schema.features}
    assert not names & {"tax_filer_stat", "age"}
    with pytest.raises(ValueError, match=r"needs the columns \['shoe_size'\]"):
        census(drop=("shoe_size",))


@pytest.mark.plain
def test_an_unknown_pair_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tasks must be one of .*Found 'wealth'"):
        census(tasks="wealth")  # type: ignore[arg-type]


def test_how_much_a_tree_of_depth_four_knows() -> None:
    """The numbers of the docstring: which columns come close to a label."""
    family = ("det_hh_fam_stat", "det_hh_summ", "tax_filer_stat")
    found = {}
    for drop in ((), family):
        study = census(drop=drop)
        parts = [study.part(name) for name in ("train", "test")]
        x, x_test = (
            torch.cat([p.batch.numeric, p.batch.categorical.float()], 1) for p in parts
        )
        for task in study.schema.task_names:
            tree = DecisionTreeClassifier(max_depth=4, random_state=0)
            tree.fit(x.numpy(), parts[0].labels[task].numpy())
            chance = tree.predict_proba(x_test.numpy())[:, 1]
            truth = parts[1].labels[task].numpy()
            found[task, bool(drop)] = roc_auc_score(truth, chance)
    assert found["income", False] == pytest.approx(0.886, abs=0.01)
    assert found["never_married", False] == pytest.approx(0.981, abs=0.005)
    assert found["never_married", True] == pytest.approx(0.944, abs=0.01)
