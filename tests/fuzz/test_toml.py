"""TOML: the claims' definitions and the recipe of a table of one's own."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ple_study.claims import Ledger
from ple_study.data.loader import Study
from ple_study.recipes import Recipe, from_toml
from tests.data.people import people
from tests.fuzz.strategies import JSON, WORDS, Refused, cases, damaged, toml, tried
from tests.test_claims import DEFINITIONS

pytestmark = pytest.mark.plain
CLAIMS = tomllib.loads(DEFINITIONS)
RECIPE: dict[str, Any] = {
    "data": {
        "parquet": "people.parquet",
        "ignore": ["id"],
        "weights": {"spend": "weight"},
    },
    "split": {"column": "day", "val": "2024-01-30", "test": "2024-02-09"},
    "tasks": {
        "bought": "binary",
        "stage": {"kind": "multiclass", "classes": 4, "weight": 2.0},
        "spend": {"kind": "regression", "loss": "huber", "scale": [0.0, 2.0]},
    },
    "training": {"epochs": 7, "lr": 1, "monitor": "bought/auc"},
    "weighting": {"spec": "UncertaintyWeightingSpec", "start": "loss"},
    "models": {
        "mine": {
            "spec": "PLESpec",
            "private": [1, 2],
            "expert": {"spec": "MLPSpec", "dims": [9], "norm": "layer"},
        }
    },
}


@contextmanager
def file(name: str, text: str) -> Iterator[Path]:
    """A file of this text in a folder of its own, with a table beside it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        yield path


def tables(whole: dict[str, Any]) -> st.SearchStrategy[str]:
    """TOML of which parts are others, and text that is hardly TOML."""
    text = toml(whole)
    cut = st.integers(0, len(text) - 1).map(lambda end: text[:end])
    wild = st.dictionaries(WORDS, JSON, max_size=3).map(toml)
    return st.one_of(damaged(whole).map(toml), damaged(whole).map(toml), cut, wild)


@cases(15, 1500)
@given(tables(CLAIMS))
def test_definitions_are_read_or_refused(text: str) -> None:
    with file("definitions.toml", text) as path:
        ledger = tried(Ledger, path.parent)
        if isinstance(ledger, Refused):
            return
        said = tomllib.loads(text)["claims"]
        assert list(ledger.claims) == list(said)
        for name, claim in ledger.claims.items():
            assert claim.statement == said[name]["statement"]
            assert claim.bar.seeds == said[name]["bar"]["seeds"]
            assert len(claim.hash) == 16
        table = ledger.table()
        assert list(table.get("claim", [])) == list(said)
        assert ledger._repr_html_().count("<tr>") == len(said) + 1


@cases(15, 1000)
@given(tables(RECIPE))
def test_a_recipe_is_read_or_refused(text: str) -> None:
    with file("mine.toml", text) as path:
        recipe = tried(from_toml, path)
        if isinstance(recipe, Refused):
            return
        assert isinstance(recipe, Recipe)
        said = tomllib.loads(text)
        for name, value in said.get("training", {}).items():
            assert getattr(recipe.training, name) == value
        people().to_parquet(path.parent / "people.parquet")
        study = tried(recipe.study)
        if not isinstance(study, Refused):
            assert isinstance(study, Study)
            assert set(study.schema.task_names) == set(said["tasks"])
            assert sum(map(len, study.split.values())) == len(people())
