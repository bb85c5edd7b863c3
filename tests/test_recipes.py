"""A recipe makes its study; a TOML file is a recipe, and its mistakes are named."""

import numpy as np
import pandas as pd
import pytest

from ple_study import recipes
from ple_study.baselines import PLESpec
from ple_study.data.retail import retail
from ple_study.data.synthetic import regression_pair
from ple_study.experts.mlp import MLPSpec
from ple_study.objective.weighting import UncertaintyWeightingSpec
from ple_study.recipes import MODELS, SMALL, from_toml, recipe
from ple_study.schema import TaskSpec
from ple_study.training import TRAINING, WEIGHTING, Training

WHOLE = """
[data]
parquet = "people.parquet"
ignore = ["id"]
weights = { bought = "worth" }
seed = 3

[tasks]
bought = "binary"
[tasks.stage]
kind = "multiclass"
classes = 4
weight = 2.0

[training]
epochs = 7
lr = 1
monitor = "bought/auc"

[weighting]
spec = "UncertaintyWeightingSpec"
start = "loss"

[models.mine]
spec = "PLESpec"
private = [1, 2]
expert = { spec = "MLPSpec", dims = [9], norm = "layer" }
"""


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    size = 40
    frame = pd.DataFrame({
        "age": rng.normal(40, 9, size),
        "city": rng.choice(["Bonn", "Oslo"], size),
        "bought": rng.permutation(size) % 2,
        "stage": rng.permutation(size) % 3,
        "worth": rng.random(size),
        "id": np.arange(size),
    })  # fmt: skip
    frame.to_parquet(tmp_path / "people.parquet")
    return tmp_path


def written(folder, text):
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_table_of_a_file_is_a_spec(folder):
    found = from_toml(written(folder, WHOLE))
    assert found.training == Training(epochs=7, lr=1.0, monitor="bought/auc")
    assert found.weighting == UncertaintyWeightingSpec(start="loss")
    expert = MLPSpec(dims=(9,), norm="layer")
    assert found.models == {"mine": PLESpec(private=(1, 2), expert=expert)}
    study = found.study()
    stage = TaskSpec(name="stage", kind="multiclass", classes=4, weight=2.0)
    assert study.schema.tasks == (TaskSpec(name="bought"), stage)
    assert isinstance(found.training.lr, float)
    assert [f.name for f in study.schema.features] == ["age", "city"]
    assert set(study.rows.weights) == {"bought"}
    assert len(study.split["train"]) == 24
    other = from_toml(written(folder, WHOLE.replace("seed = 3", "seed = 4")))
    assert other.study().split["train"].tolist() != study.split["train"].tolist()


def test_a_table_for_one_task_leaves_the_others_inferred(folder):
    text = """
    [data]
    parquet = "people.parquet"
    [tasks]
    worth = "regression"
    stage = "multiclass"
    [tasks.bought]
    weight = 2.0
    """
    worth, stage, bought = from_toml(written(folder, text)).study().schema.tasks
    assert 0.3 < worth.scale[0] < 0.7
    assert stage.classes == 3
    assert (bought.kind, bought.weight) == ("binary", 2.0)


def test_a_model_is_a_model(folder):
    text = WHOLE.replace('spec = "PLESpec"\nprivate = [1, 2]', 'spec = "MLPSpec"')
    text = text.replace('expert = { spec = "MLPSpec", dims = [9], norm = "layer" }', "")
    with pytest.raises(ValueError, match=r"models.mine must be a ModelSpec. Found MLP"):
        from_toml(written(folder, text))


def test_data_and_tasks_are_enough(folder):
    text = '[data]\nparquet = "people.parquet"\n[tasks]\nstage = "multiclass"'
    found = recipe(str(written(folder, text)))
    assert found.models is MODELS
    assert (found.training, found.weighting) == (TRAINING, WEIGHTING)
    assert found.study().schema.tasks[0].classes == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "[training]",
            "[trainings]",
            r"Tables are .*'training'.*Found \['trainings'\]",
        ),
        (
            'spec = "UncertaintyWeightingSpec"\nstart = "loss"',
            'spec = "PLESpec"',
            r"weighting must be a WeightingSpec",
        ),
        ("epochs", "epoch", r"Training takes \['epochs'.*another argument 'epoch'"),
        ("epochs = 7", "epochs = 7.5", r"epochs of type int. Found 7\.5"),
        ("epochs = 7", "epochs = true", r"epochs of type int. Found True"),
        ("lr = 1", "lr = 'high'", r"lr of type float. Found 'high'"),
        ("PLESpec", "PLE", r"one of \['MLPSpec'.*Found 'PLE'"),
        ("dims", "widths", r"MLPSpec takes.*another argument 'widths'"),
        ("classes = 4", "class = 4", r"TaskSpec takes.*another argument 'class'"),
        ("ignore", "ignored", r"Arguments of data.*Found \['ignored'\]"),
        ("people.parquet", "none.parquet", r"mine.toml must name a Parquet file"),
        ("people.parquet", "mine.toml", r"mine.toml must name a Parquet file"),
        ("parquet =", "csv =", r"must name data.parquet and tasks"),
        ("[data]", "[data", r"mine.toml must be a TOML file"),
        ('bought = "binary"', 'sold = "binary"', "'sold'"),
        ('["id"]', '"id"', r"data needs ignore of type tuple\[str, ...\]. Found 'id'"),
        ("seed = 3", "seed = 0.5", "data needs seed of type int. Found 0.5"),
        ("[training]", "[[training]]", "needs training of type Mapping. Found"),
        ('"people.parquet"', "3", "data needs parquet of type str. Found 3"),
    ],
)
def test_a_mistake_in_a_file_is_named(folder, old, new, message):
    assert old in WHOLE
    path = written(folder, WHOLE.replace(old, new))
    with pytest.raises(ValueError, match=message):
        from_toml(path).study()


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.toml must be a TOML file"):
        recipe(str(tmp_path / "none.toml"))
    with pytest.raises(
        ValueError, match=r"'census', 'bank', 'synthetic', 'retail'\].*'jorn'"
    ):
        recipe("jorn")


def test_the_second_shop_has_the_recipe_of_the_first():
    one, other = recipe("journey"), recipe("retail")
    assert other.study is retail
    assert (other.models, other.training) == (one.models, one.training)
    assert other.weighting == one.weighting


def test_every_recipe_has_the_four_models_and_knows_its_study():
    for name in recipes.RECIPES:
        assert list(recipe(name).models) == list(MODELS) == list(SMALL)
    assert recipe("synthetic").study().schema == regression_pair().schema
