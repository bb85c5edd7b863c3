"""Is a label hidden among the columns? A shallow tree tries to find it."""

import numpy as np
import torch
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from ple_study.data.loader import Study
from ple_study.schema import TaskSpec

MIN_ROWS = 20  # of a class, for its AUC to mean anything


def shallow_tree(
    study: Study, *, depth: int = 4, part: str = "test"
) -> dict[str, float]:
    """How well a tree of this depth, fitted on the training rows, answers each task.

    R2 of a regression, else the AUC: of a task with classes, the best over the classes
    (each against the rest). Near one, the label is a column in disguise and whatever
    reads the column looks brilliant.
    """
    batch = study.rows.batch
    columns = torch.cat([batch.numeric, batch.categorical.float()], dim=1).numpy()
    return {
        task.name: _answer(
            task,
            *_known(study, task, columns, "train"),
            *_known(study, task, columns, part),
            depth,
        )
        for task in study.schema.tasks
    }


def _known(
    study: Study, task: TaskSpec, columns: np.ndarray, part: str
) -> tuple[np.ndarray, np.ndarray]:
    rows = study.split[part].numpy()
    labels = study.rows.labels[task.name].numpy()[rows]
    return columns[rows[~np.isnan(labels)]], labels[~np.isnan(labels)]


def _answer(
    task: TaskSpec,
    x: np.ndarray,
    y: np.ndarray,
    new: np.ndarray,
    truth: np.ndarray,
    depth: int,
) -> float:
    if task.kind == "regression":
        tree = DecisionTreeRegressor(max_depth=depth, random_state=0).fit(x, y)
        return float(r2_score(truth, tree.predict(new)))
    classes = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(x, y)
    chances = classes.predict_proba(new).T
    found = [
        roc_auc_score(truth == label, chance)
        for label, chance in zip(classes.classes_, chances, strict=True)
        if MIN_ROWS <= (truth == label).sum() <= len(truth) - MIN_ROWS
    ]
    return float(max(found, default=np.nan))
