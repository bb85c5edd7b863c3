"""A study as a function: its data, the models that are compared on it, their training.

    recipe = journey()
    fitted = fit(recipe.study(), recipe.models["ple"], training=recipe.training)

A recipe can also be a TOML file, whose tables are the arguments of the specs.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ple_study.baselines import MMoESpec, PLESpec, SharedBottomSpec, SingleTaskSpec
from ple_study.batch import ModelSpec
from ple_study.checkpoint import spec_from_json
from ple_study.data import census as census_data
from ple_study.data import journey as journey_data
from ple_study.data import retail as retail_data
from ple_study.data.loader import Study
from ple_study.data.synthetic import regression_pair
from ple_study.data.world import Bank
from ple_study.experts.mlp import MLPSpec
from ple_study.names import check_kinds, filled, nearest, toml_of
from ple_study.objective.weighting import WeightingSpec
from ple_study.own_table import DATA, SPLIT, own_table
from ple_study.training import TRAINING, WEIGHTING, Training

TABLES = ("data", "tasks", "split", "models", "training", "weighting")


def baselines(trunk: MLPSpec, expert: MLPSpec, tower: MLPSpec) -> dict[str, ModelSpec]:
    """The four models that every study is compared on."""
    return {
        "single-task": SingleTaskSpec(trunk=trunk, tower=tower),
        "shared-bottom": SharedBottomSpec(trunk=trunk, tower=tower),
        "mmoe": MMoESpec(experts=7, expert=expert, tower=tower),
        "ple": PLESpec(levels=2, shared=2, private=1, expert=expert, tower=tower),
    }


BLOCK = MLPSpec(dims=(128, 64), activation="silu", norm="layer", dropout=0.1)
MODELS: Mapping[str, ModelSpec] = baselines(
    BLOCK, replace(BLOCK, dims=(64, 64)), replace(BLOCK, dims=(32,))
)
SMALL: Mapping[str, ModelSpec] = baselines(
    MLPSpec(dims=(64, 32)), MLPSpec(dims=(32, 16)), MLPSpec(dims=(16,))
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a run needs: who makes the study, which models, and how they are trained."""

    study: Callable[[], Study]
    models: Mapping[str, ModelSpec] = field(default_factory=lambda: MODELS)
    training: Training = TRAINING
    weighting: WeightingSpec = WEIGHTING


def journey() -> Recipe:
    """Sixteen tasks on 2,469 real households (The Complete Journey)."""
    return Recipe(
        study=journey_data.journey,
        models=MODELS,
        training=Training(epochs=6, batch_size=256, lr=2e-3, schedule="cosine"),
    )


def retail() -> Recipe:
    """Thirteen tasks on 5,942 customers of a web shop (Online Retail II).

    Models and training are those of ``journey``; nothing was tuned on this shop.
    """
    return replace(journey(), study=retail_data.retail)


def census() -> Recipe:
    """Income and marital status of 99,762 persons (Census-Income, KDD)."""
    return Recipe(
        study=census_data.census,
        models=SMALL,
        training=Training(epochs=4, batch_size=1024, lr=5e-3),
    )


def bank() -> Recipe:
    """Sixteen tasks on 4,000 customers of a bank whose truth is planted.

    The models read its columns alone, and most signal is not there.
    """
    return Recipe(
        study=Bank(4000).study,
        models=MODELS,
        training=Training(epochs=12, batch_size=256, lr=2e-3, schedule="cosine"),
    )


def synthetic() -> Recipe:
    """Two planted regressions, half alike (Ma et al. 2018, section 3)."""
    return Recipe(
        study=regression_pair,
        models=SMALL,
        training=Training(epochs=15, batch_size=256, schedule="cosine"),
    )


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "journey": journey,
    "census": census,
    "bank": bank,
    "synthetic": synthetic,
    "retail": retail,
}


def recipe(name: str) -> Recipe:
    """A recipe by its name, or from a TOML file. Raises ValueError for neither."""
    if name in RECIPES:
        return RECIPES[name]()
    if not name.endswith(".toml"):
        raise ValueError(
            f"A study is one of {list(RECIPES)} or a .toml file. Found {name!r}."
            f"{nearest(name, RECIPES)}"
        )
    return from_toml(name)


def from_toml(path: str | Path) -> Recipe:
    """A recipe for a Parquet file of one's own.

    ::

        [data]
        parquet = "customers.parquet"   # beside this file
        ignore = ["id"]                 # neither feature nor label
        weights = { bought = "weight" } # sample weights of a task
        seed = 0                        # of the split, 60 / 20 / 20 %

        [split]                         # by time instead of at random
        column = "date"                 # dates or numbers
        val = 2024-05-01                # validation begins
        test = 2024-06-01               # test begins

        [tasks]                         # label columns and their kinds,
        bought = "binary"
        [tasks.stage]                   # or the arguments of TaskSpec
        kind = "multiclass"
        classes = 4

        [training]                      # the arguments of Training
        epochs = 20

        [weighting]                     # a spec and its arguments
        spec = "UncertaintyWeightingSpec"

        [models.ple]
        spec = "PLESpec"
        levels = 1
        expert = { spec = "MLPSpec", dims = [64] }

    Only ``data`` and ``tasks`` must be there; without ``models`` the four baselines are
    compared. Raises ValueError when there is no such file, when it is no TOML, and when
    it names a table or an argument that does not exist.
    """
    path = Path(path)
    tables = toml_of(path)
    _names("Tables", tables, TABLES)
    check_kinds(str(path), tables, dict.fromkeys(TABLES, Mapping))
    if "parquet" not in tables.get("data", {}) or not tables.get("tasks"):
        raise ValueError(
            f"{path} must name data.parquet and tasks. Found {list(tables)}."
        )
    _names("Arguments of data", tables["data"], tuple(DATA))
    check_kinds("data", tables["data"], DATA)
    split = tables.get("split", {})
    _names("Arguments of split", split, tuple(SPLIT))
    check_kinds("split", split, SPLIT)
    if split and (set(split) != set(SPLIT) or "seed" in tables["data"]):
        raise ValueError(
            f"A split by time needs {[*SPLIT]} and no seed. Found {list(split)} and "
            f"data with {list(tables['data'])}."
        )
    own: dict[str, Any] = {}
    if "models" in tables:
        own["models"] = {
            name: _spec(f"models.{name}", part, model=True)
            for name, part in tables["models"].items()
        }
    if "training" in tables:
        own["training"] = filled(Training, tables["training"])
    if "weighting" in tables:
        own["weighting"] = _spec("weighting", tables["weighting"], model=False)
    study = partial(own_table, path, tables["data"], tables["tasks"], split)
    return Recipe(study=study, **own)


def _spec(name: str, given: Any, *, model: bool) -> Any:
    spec = spec_from_json(given)
    known = isinstance(spec, WeightingSpec)  # has a ``build``, as models do
    if not known or isinstance(spec, ModelSpec) != model:
        kind = "ModelSpec" if model else "WeightingSpec"
        raise ValueError(f"{name} must be a {kind}. Found {spec!r}.")
    return spec


def _names(what: str, found: Iterable[str], allowed: tuple[str, ...]) -> None:
    other = [name for name in found if name not in allowed]
    if other:
        raise ValueError(
            f"{what} are {allowed}. Found {other}.{nearest(other[0], allowed)}"
        )
