"""What each command of the command line does."""

import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from ple_study import recipes, training
from ple_study.compare import SCORE, Comparison, compare, shown
from ple_study.data.tables import batch_from_frame
from ple_study.export import FILE as MODEL
from ple_study.export import load, save, to_onnx
from ple_study.fitted import Fitted
from ple_study.metrics import score
from ple_study.names import nearest
from ple_study.progress import FILE
from ple_study.recipes import Recipe

BASELINE, RESULTS = "single-task", "results.csv"


def fit(given: Namespace) -> None:
    """Train, keep one model, print how well each task is answered."""
    recipe = recipes.recipe(given.study)
    if given.model not in recipe.models:
        raise ValueError(
            f"A model of {given.study} is one of {list(recipe.models)}. "
            f"Found {given.model!r}.{nearest(given.model, recipe.models)}"
        )
    options = ("epochs", "batch_size", "lr")
    asked = {name: vars(given)[name] for name in options if name in given}
    recipe = replace(recipe, training=replace(recipe.training, **asked))
    name = f"{Path(given.study).stem}-{given.model}"
    folder = Path(given.out) if "out" in given else Path("runs") / name
    found = [name for name in (FILE, MODEL) if (folder / name).exists()]
    going_on = given.alone and FILE in found
    if found and not (given.overwrite or going_on):
        raise ValueError(
            f"{folder} must hold no model yet: name another folder with --out, or say "
            f"--overwrite. Found {found[-1]}."
        )
    if given.alone:
        _fit_alone(given, recipe, folder)
    else:
        _fit_all(given, recipe, folder)
    print(f"The model is in {folder}.")


def _fit_alone(given: Namespace, recipe: Recipe, folder: Path) -> None:
    study = recipe.study()
    if given.overwrite:
        (folder / FILE).unlink(missing_ok=True)
    fitted = training.fit(
        study,
        recipe.models[given.model],
        training=recipe.training,
        weighting=recipe.weighting,
        seed=given.seed,
        device=given.device,
        folder=folder,
        resume=(folder / FILE).exists(),
    )
    _keep(fitted, given.study, folder)
    (folder / RESULTS).unlink(missing_ok=True)  # of another comparison
    _say(fitted, given.model, given.seed)
    print(_table(fitted.evaluate(study.part("test"))))


def _fit_all(given: Namespace, recipe: Recipe, folder: Path) -> None:
    def done(name: str, seed: int, fitted: Fitted) -> None:
        _say(fitted, name, seed)
        if (name, seed) == (given.model, 0):
            _keep(fitted, given.study, folder)
            (folder / FILE).unlink(missing_ok=True)  # of another model

    found = compare(
        recipe.study(),
        recipe.models,
        seeds=range(given.seeds),
        training=recipe.training,
        weighting=recipe.weighting,
        device=given.device,
        done=done,
    )
    found.results.to_csv(folder / RESULTS, index=False)
    table = _beside(found, given.model)
    print(table.to_string())
    print(f"\nMean over {given.seeds} seeds and half its 95 % interval.")
    if given.seeds < 5:
        print("So few seeds leave wide intervals: take 5 or more to compare.")
    if table.columns[-1] not in recipe.models:
        print(f"Last column: above zero, {given.model} is better.")


def _beside(found: Comparison, model: str) -> pd.DataFrame:
    """The table of all models and, at its end, the gain of one over single tasks."""
    table = found.table()
    if model != BASELINE and BASELINE in table.columns:
        gains = found.gains(model, BASELINE).values()
        table[f"{model} over {BASELINE}"] = [shown(gain, "+.3f") for gain in gains]
    return table


def evaluate(given: Namespace) -> None:
    """Print every metric of every task."""
    fitted = load(given.folder)
    name = given.study if "study" in given else fitted.run.get("study")
    if not name:
        raise ValueError("The model does not say its study. Name it with --study.")
    study = recipes.recipe(name).study()
    if study.schema != fitted.schema:
        raise ValueError(
            f"The model in {given.folder} must be of the study {name}. "
            "Found another schema."
        )
    print(_table(fitted.evaluate(study.part(given.part))))


def export(given: Namespace) -> None:
    """Write the ONNX file."""
    path = Path(given.to) if "to" in given else Path(given.folder) / "model.onnx"
    to_onnx(load(given.folder), path, raw=not given.scaled, logits=given.logits)
    print(f"Written to {path}.")


def predict(given: Namespace) -> None:
    """Write a column an answer for the rows of a Parquet file."""
    fitted, path = load(given.folder), Path(given.to)
    try:
        frame = pd.read_parquet(given.rows)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{given.rows} must be a Parquet file: {error}.") from error
    answers = fitted.predict(batch_from_frame(frame, fitted.schema))
    found: dict[str, Any] = {}
    for task, values in answers.items():
        names = [f"{task}_{i}" for i in range(values.shape[1])]
        columns = values.numpy().T
        found |= zip(names if len(names) > 1 else [task], columns, strict=True)
    pd.DataFrame(found, index=frame.index).to_parquet(path)
    print(f"Written to {path}.")


def _keep(fitted: Fitted, study: str, folder: Path) -> None:
    if study.endswith(".toml"):
        study = str(Path(study).resolve())
    save(replace(fitted, run=fitted.run | {"study": study}), folder)


def _say(fitted: Fitted, model: str, seed: int) -> None:
    if sys.stderr.isatty():
        at = fitted.epochs.items()
        found = score({task: fitted.history[n - 1]["val"][task] for task, n in at})
        epochs = f"best epoch {fitted.best_epoch} of {len(fitted.history)}"
        print(f"{model}, seed {seed}: {epochs}, {SCORE} {found:.3f}", file=sys.stderr)


def _table(found: dict[str, dict[str, float]]) -> str:
    frame = pd.DataFrame(found).T.rename_axis("task")
    return str(frame.to_string(float_format="{:.4f}".format, na_rep=""))
