"""Models against each other on one study: the same rows, the same seeds, intervals."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from ple_study.batch import ModelSpec
from ple_study.data.loader import Study
from ple_study.fitted import Fitted
from ple_study.metrics import PRIMARY, Interval, paired_interval
from ple_study.objective.weighting import WeightingSpec
from ple_study.schema import Schema
from ple_study.training import WEIGHTING, Training, fit

KEYS = ["model", "seed", "task"]
SCORE = "mean skill"  # the row of a table that stands for all tasks


@dataclass(frozen=True)
class Comparison:
    """Test results of several models, each trained once a seed.

    ``results`` has a row a model, seed and task, and a column a metric (NaN where the
    task's kind has no such metric).
    """

    schema: Schema
    results: pd.DataFrame

    def values(self, task: str, metric: str = "") -> pd.DataFrame:
        """One metric of a task, the primary one if none is named: seed by model.

        The task ``mean skill`` is the mean over tasks of where each stands between a
        trivial answer (0) and a perfect one (1).
        """
        rows = self.results
        if task == SCORE:
            return rows.groupby(["seed", "model"], sort=False)["skill"].mean().unstack()
        metric = metric or PRIMARY[self.schema.task(task).kind].metric
        rows = rows[rows["task"] == task]
        return rows.pivot(index="seed", columns="model", values=metric)

    def estimates(self, model: str, metric: str = "") -> dict[str, Interval]:
        """The model's mean over seeds and its 95 % interval, by task."""
        return {
            task: _interval(self.values(task, metric)[model])
            for task in [*self.schema.task_names, SCORE]
        }

    def gains(self, model: str, over: str = "single-task") -> dict[str, Interval]:
        """What ``model`` adds to ``over``, seed by seed; above zero, it is better."""
        gains = {}
        for task in [*self.schema.task_names, SCORE]:
            values = self.values(task)
            kind = None if task == SCORE else self.schema.task(task).kind
            sign = PRIMARY[kind].sign if kind else 1
            gains[task] = _interval(sign * (values[model] - values[over]))
        return gains

    def table(self) -> pd.DataFrame:
        """A row a task, a column a model: mean over seeds, half its 95 % interval."""
        models = self.results["model"].unique()
        columns = {name: self.estimates(name) for name in models}
        metrics = [PRIMARY[task.kind].metric for task in self.schema.tasks]
        frame = pd.DataFrame(
            {
                name: [shown(estimate) for estimate in column.values()]
                for name, column in columns.items()
            },
            index=pd.Index([*self.schema.task_names, SCORE], name="task"),
        )
        frame.insert(0, "metric", [*metrics, "skill"])
        return frame


def shown(found: Interval, form: str = ".3f") -> str:
    """Mean and half the interval, or a dash where the test rows define no value."""
    if math.isnan(found.mean):
        return "-"
    return f"{found.mean:{form}} ± {found.high - found.mean:.3f}"


def _interval(values: pd.Series) -> Interval:
    """Over seeds; NaN where the test rows do not define the metric."""
    if values.isna().any():
        return Interval(math.nan, math.nan, math.nan, len(values))
    return paired_interval(values.tolist())


def compare(
    study: Study,
    models: Mapping[str, ModelSpec],
    *,
    seeds: Iterable[int] = range(5),
    training: Training | None = None,
    weighting: WeightingSpec = WEIGHTING,
    device: str = "auto",
    done: Callable[[str, int, Fitted], None] | None = None,
) -> Comparison:
    """Train every model with every seed on the training rows; judge on the test rows.

    A seed fixes a model's start, its dropout and the order of its rows. ``done`` is
    called after each run with the model's name, the seed and the trained model.

    Raises ValueError for fewer than two seeds, which bound nothing, and for no model.
    """
    seeds = list(seeds)
    if len(set(seeds)) < 2 or not models:
        raise ValueError(
            f"A comparison needs at least one model and two different seeds. Found "
            f"{len(models)} models and seeds {seeds}."
        )
    rows, test = [], study.part("test")
    for seed in seeds:
        for name, spec in models.items():
            fitted = fit(
                study,
                spec,
                training=training or Training(),
                weighting=weighting,
                seed=seed,
                device=device,
                progress=False,
            )
            if done:
                done(name, seed, fitted)
            results = fitted.evaluate(test)
            rows += [
                dict(zip(KEYS, (name, seed, task), strict=True)) | metrics
                for task, metrics in results.items()
            ]
    return Comparison(study.schema, pd.DataFrame(rows))
