"""What the outputs of a service's files say, as plain numbers, lists and names.

Every function answers one mapping a record. Nothing here needs torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ple_study.schema import Schema, TaskSpec
from ple_study.serving.parts import Arrays

UNSURE = ("vacuity", "aleatoric", "epistemic")

Rows = list[Any]


def predictions(schema: Schema, outputs: Arrays) -> Rows:
    """By task what it answers."""
    return _by_task({t.name: said(t, outputs[t.name]) for t in schema.tasks})


def uncertainty(schema: Schema, names: Sequence[str], outputs: Arrays) -> Rows:
    """By task with an evidential head what that answers, and how sure it is."""
    found = {}
    for place, name in enumerate(names):
        task = schema.task(name)
        answers = said(task, outputs[f"uncertainty/answer/{name}"])
        for part in UNSURE[1:] if task.kind == "regression" else UNSURE:
            column = outputs[f"uncertainty/{part}"][:, place].tolist()
            for answer, value in zip(answers, column, strict=True):
                answer[part] = value
        found[name] = answers
    return _by_task(found)


def left_out(schema: Schema, about: Mapping[str, Any], outputs: Arrays) -> Rows:
    """By task the margin, and how much each expert moves it; who had nothing to read.

    ``class`` is the one whose log-odds the margin is, of a task with classes.
    """
    experts = about["experts"]
    parts = [outputs[f"explanation/{k}"] for k in ("loo", "margin", "class")]
    found = {}
    for place, task in enumerate(schema.tasks):
        rows = zip(*(part[:, place].tolist() for part in parts), strict=True)
        found[task.name] = [
            {
                **({"class": chosen} if task.outputs > 1 else {}),
                "margin": margin,
                "experts": dict(zip(experts, raw, strict=True)),
            }
            for raw, margin, chosen in rows
        ]
    present = outputs["explanation/present"].tolist()
    absent = [
        [n for n, p in zip(experts, row, strict=True) if not p] for row in present
    ]
    return [
        {"readout": "loo", "absent": silent, "tasks": tasks}
        for silent, tasks in zip(absent, _by_task(found), strict=True)
    ]


def gates(schema: Schema, about: Mapping[str, Any], outputs: Arrays) -> Rows:
    """By task the weights of its gate, a mapping a level."""
    found = {}
    for place, task in enumerate(schema.tasks):
        levels = []
        for number, names in enumerate(about["slots"], 1):
            weights = outputs[f"explanation/gate/{number}"][:, place].tolist()
            # a task that hears fewer experts than another has zeros at its end
            own = [dict(zip(names[place], row, strict=False)) for row in weights]
            levels.append(own)
        found[task.name] = [{"levels": list(row)} for row in zip(*levels, strict=True)]
    return [{"readout": "gate", "tasks": tasks} for tasks in _by_task(found)]


def said(task: TaskSpec, answers: NDArray[Any]) -> list[dict[str, Any]]:
    """What a task's numbers mean, row by row; of a binary task the first is label 1."""
    if task.outputs == 1:
        name = "value" if task.kind == "regression" else "probability"
        return [{name: value} for value in answers[:, 0].tolist()]
    best = answers.argmax(1)
    top = np.take_along_axis(answers, best[:, None], 1)[:, 0]
    parts = zip(best.tolist(), top.tolist(), answers.tolist(), strict=True)
    return [{"class": c, "probability": p, "probabilities": q} for c, p, q in parts]


def _by_task(found: Mapping[str, Rows]) -> Rows:
    rows = zip(*found.values(), strict=True)
    return [dict(zip(found, row, strict=True)) for row in rows]
