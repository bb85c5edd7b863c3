"""Comparisons pair the seeds and turn every metric so that more is better."""

import math

import pandas as pd
import pytest
from scipy import stats

from ple_study.baselines import MMoESpec, SharedBottomSpec, SingleTaskSpec
from ple_study.compare import SCORE, Comparison, compare, shown
from ple_study.data.synthetic import regression_pair
from ple_study.experts.mlp import MLPSpec
from ple_study.schema import Schema, TaskSpec
from ple_study.training import Training

SCHEMA = Schema(
    features=(),
    tasks=(TaskSpec(name="click"), TaskSpec(name="spend", kind="regression")),
)
CLICK = {"single-task": [0.70, 0.72, 0.71], "ple": [0.73, 0.74, 0.75]}
SPEND = {"single-task": [0.50, 0.40, 0.60], "ple": [0.45, 0.38, 0.50]}


@pytest.fixture
def comparison():
    rows = []
    for model in CLICK:
        for seed in range(3):
            key = {"model": model, "seed": seed}
            auc, mae = CLICK[model][seed], SPEND[model][seed]
            rows.append(key | {"task": "click", "auc": auc, "skill": 2 * auc - 1})
            rows.append(key | {"task": "spend", "mae": mae, "skill": 1 - mae})
    return Comparison(SCHEMA, pd.DataFrame(rows))


def test_gains_are_paired_by_seed_and_positive_where_better(comparison):
    gains = comparison.gains("ple")
    for task, sign, values in (("click", 1, CLICK), ("spend", -1, SPEND)):
        pairs = zip(values["ple"], values["single-task"], strict=True)
        expected = [sign * (joint - alone) for joint, alone in pairs]
        known = stats.ttest_1samp(expected, 0).confidence_interval(0.95)
        assert gains[task].mean > 0
        assert gains[task].low == pytest.approx(known.low)
        assert gains[task].high == pytest.approx(known.high)


def test_the_last_row_is_the_mean_skill(comparison):
    table = comparison.table()
    assert list(table.index) == ["click", "spend", SCORE]
    skills = [
        (2 * c - 1 + 1 - s) / 2 for c, s in zip(CLICK["ple"], SPEND["ple"], strict=True)
    ]
    assert comparison.values(SCORE)["ple"].tolist() == pytest.approx(skills)
    assert table.loc["click", "ple"].startswith("0.740 ± ")
    assert table["metric"].tolist() == ["auc", "mae", "skill"]


def test_models_train_on_one_study_with_the_same_seeds():
    study = regression_pair(num_rows=200, dim=6, correlation=0.5, seed=0)
    small = MLPSpec(dims=(7,))
    models = {
        "single-task": SingleTaskSpec(trunk=small, tower=small),
        "shared-bottom": SharedBottomSpec(trunk=small, tower=small),
        "mmoe": MMoESpec(experts=4, expert=small, tower=small),
    }
    seen = []
    training = Training(epochs=1, batch_size=64)
    found = compare(
        study,
        models,
        seeds=(3, 5),
        training=training,
        done=lambda name, seed, _: seen.append((name, seed)),
    )
    assert seen == [(name, seed) for seed in (3, 5) for name in models]
    assert set(found.gains("mmoe")) == {*study.schema.task_names, SCORE}
    assert not found.results["mae"].isna().any()


@pytest.mark.parametrize(
    ("models", "seeds"), [({}, (0, 1)), ({"alone": SharedBottomSpec()}, (1, 1))]
)
def test_nothing_to_compare_is_refused(models, seeds):
    study = regression_pair(num_rows=20, dim=6, seed=0)
    with pytest.raises(ValueError, match="at least one model and two different seeds"):
        compare(study, models, seeds=seeds)


def test_a_task_that_the_test_rows_do_not_define_is_a_dash(comparison):
    results = comparison.results.copy()
    results.loc[results["task"] == "click", ["auc", "skill"]] = float("nan")
    found = Comparison(SCHEMA, results)
    table = found.table()
    assert (table.loc["click", ["single-task", "ple"]] == "-").all()
    assert "±" in table.loc["spend", "ple"]
    gains = found.gains("ple")
    assert math.isnan(gains["click"].mean)
    assert shown(gains["click"]) == "-"
