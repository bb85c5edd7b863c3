"""The whole model, its parts and its rivals: ``python -m benchmarks.whole_model``.

``bank``: small banks of 6,000 customers, one a seed; ``large``: of 20,000, the whole
model alone. ``journey``: the real households. ``retail``: the second shop, with the
households' settings and no tuning. Once a seed and setting a model is trained; kept are
all metrics of test customers and, by epoch, scores and losses of validation customers.
``--keep`` saves the whole model of each seed, for ``benchmarks.explained``.

Evidential heads are beside the whole model's towers; they do not move it.

The baselines read numbers alone: columns, and, where a setting says "all numbers", the
hidden states, clusters and vectors that the experts get besides.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.clock import machine
from ple_study.batch import ModelSpec
from ple_study.data.journey import LENSES, journey
from ple_study.data.loader import Study
from ple_study.data.retail import retail
from ple_study.data.world import Bank
from ple_study.export import save
from ple_study.fitted import Fitted
from ple_study.gates.attention import CGCAttentionSpec
from ple_study.gates.routing import GateSpec
from ple_study.learner import Training
from ple_study.model import HeterogeneousPLESpec
from ple_study.presets import SMALL
from ple_study.recipes import MODELS
from ple_study.schema import Feature, TaskSpec
from ple_study.tasks.evidential import EvidentialSpec
from ple_study.training import fit

RESULTS = Path(__file__).parent / "results"
CUSTOMERS = {"bank": 6_000, "large": 20_000}
GATES = replace(SMALL.gates, attention=CGCAttentionSpec(prior=0.0))
WHOLE = replace(SMALL, gates=GATES)
BANK = Training(epochs=8, batch_size=256, lr=3e-3, schedule="cosine")
SHOP = Training(epochs=6, batch_size=256, lr=2e-3, schedule="cosine")
TRAINING = {
    "bank": replace(BANK, batch_size=64),
    "large": BANK,
    "journey": SHOP,
    "retail": SHOP,
}
LONG = Training(epochs=20, batch_size=256, lr=2e-3, patience=20)
FUNCTIONS = 3  # tasks that are plain functions of a column


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A model, what is changed of the study, and how long it is trained."""

    spec: ModelSpec = WHOLE
    change: Callable[[Study], Study] = lambda study: study
    training: Training | None = None


def without(expert: str) -> Setting:
    others = {name: spec for name, spec in WHOLE.experts.items() if name != expert}
    return Setting(spec=replace(WHOLE, experts=others))


def gates(**options: Any) -> Setting:
    return Setting(spec=replace(WHOLE, gates=replace(GATES, **options)))


def all_numbers(study: Study) -> Study:
    """States, clusters and vectors as columns, zeros where a customer has none."""
    batch = study.rows.batch
    parts: dict[str, Tensor] = dict(batch.vectors)
    if batch.states is not None:
        parts["states"] = batch.states.flatten(1)
    if batch.clusters is not None:
        parts["clusters"] = batch.clusters
    wide = torch.cat([batch.numeric, *(x.nan_to_num(0.0) for x in parts.values())], 1)
    names = [f"{k} {place}" for k, x in parts.items() for place in range(x.shape[1])]
    added = tuple(Feature(name=name, group="lens") for name in names)
    numeric = study.schema.numeric
    schema = replace(
        study.schema, features=(*numeric, *added, *study.schema.categorical)
    )
    rows = replace(study.rows, batch=replace(batch, numeric=wide))
    return Study(schema, rows, study.split)


def half_the_diagrams(study: Study) -> Study:
    """Every second customer has no diagram."""
    keep = (torch.arange(len(study.rows.batch)) % 2 == 0)[:, None]
    batch = study.rows.batch
    diagrams = {k: replace(d, mask=d.mask & keep) for k, d in batch.diagrams.items()}
    rows = replace(study.rows, batch=replace(batch, diagrams=diagrams))
    return replace(study, rows=rows)


def one_graph_vector(study: Study) -> Study:
    """Everybody has the first customer's place in the graph."""
    batch = study.rows.batch
    same = batch.vectors["graph"].nan_to_num(0.0)[:1].expand_as(batch.vectors["graph"])
    vectors = {**batch.vectors, "graph": same.clone()}
    return replace(
        study, rows=replace(study.rows, batch=replace(batch, vectors=vectors))
    )


def with_functions(study: Study) -> Study:
    """Tasks more, each whether a column of its own is above its median."""
    rows, columns = study.rows, study.rows.batch.numeric
    spread = [place for place in range(columns.shape[1]) if _even(columns[:, place])]
    labels, specs = dict(rows.labels), list(study.schema.tasks)
    for number, place in enumerate(spread[:FUNCTIONS]):
        column = columns[:, place]
        labels[f"function {number}"] = (column > column.median()).float()
        specs.append(TaskSpec(name=f"function {number}"))
    schema = replace(study.schema, tasks=tuple(specs))
    return replace(study, schema=schema, rows=replace(rows, labels=labels))


def _even(column: Tensor) -> bool:
    share = (column > column.median()).double().mean()
    return bool(0.4 < share < 0.6)


HALF = replace(GATES, attention=replace(GATES.attention, missing="default"))
SURE = {"whole": Setting(spec=replace(WHOLE, evidential=EvidentialSpec()))}
PARTS = {f"no {name}": without(name) for name in WHOLE.experts}
STAGES = {
    "stage 1": gates(which="stage1_only"),
    "stage 1, sigmoid": gates(
        which="stage1_only", gate=GateSpec(kind="sigmoid", scaled=True)
    ),
}
OTHER_PARTS = {
    "stage 2": gates(which="stage2_only"),
    "no gate": gates(which="neither"),
    "no hidden states": Setting(spec=replace(WHOLE, modes=None)),
    "no basket": Setting(spec=replace(WHOLE, basket=None)),
    "no transfer": Setting(spec=replace(WHOLE, transfer=None)),
}
RIVALS = {
    **{name: Setting(spec=spec) for name, spec in MODELS.items()},
    **{
        f"{name}, all numbers": Setting(spec=spec, change=all_numbers)
        for name, spec in MODELS.items()
    },
}
WATCHED = {"mmoe, long": Setting(spec=MODELS["mmoe"], training=LONG)}
THRICE = replace(SHOP, epochs=3 * SHOP.epochs)
LONGER = {"whole, three times as long": Setting(training=THRICE)}
SETTINGS: Mapping[str, Mapping[str, Setting]] = {
    "bank": SURE
    | PARTS
    | STAGES
    | {
        "half the diagrams": Setting(
            spec=replace(WHOLE, gates=HALF), change=half_the_diagrams
        ),
        "one graph vector": Setting(change=one_graph_vector),
    }
    | RIVALS
    | WATCHED,
    "large": SURE,
    "journey": SURE
    | PARTS
    | STAGES
    | OTHER_PARTS
    | RIVALS
    | WATCHED
    | LONGER
    | {
        "shared-bottom, functions": Setting(
            spec=MODELS["shared-bottom"], change=with_functions
        )
    },
    "retail": SURE | RIVALS,
}


def bank(seed: int, world: str = "bank") -> Bank:
    return Bank(CUSTOMERS[world], seed=seed, size="small")


@cache
def households() -> Study:
    return journey(lenses=LENSES)


@cache
def second_shop() -> Study:
    return retail(lenses=LENSES)


WORLDS: Mapping[str, Callable[[int], Study]] = {
    "bank": lambda seed: bank(seed).study(),
    "large": lambda seed: bank(seed, "large").study(),
    "journey": lambda _: households(),
    "retail": lambda _: second_shop(),
}


def seen(study: Study, fitted: Fitted) -> dict[str, Any]:
    """What is kept of a trained model."""
    test = study.part("test")
    found = {
        "best": fitted.best_epoch,
        "scores": [round(entry["score"], 4) for entry in fitted.history],
        "losses": [_weighted(study, entry["val"]) for entry in fitted.history],
        "parameters": sum(p.numel() for p in fitted.model.parameters()),
        "metrics": {
            task: {name: round(value, 4) for name, value in values.items()}
            for task, values in fitted.evaluate(test).items()
        },
    }
    if isinstance(fitted.spec, HeterogeneousPLESpec):
        weights = fitted.output(test.batch).weights
        found["gates"] = [rounded(w.mean(0)) for w in weights]
    return found


def _weighted(study: Study, val: Mapping[str, Mapping[str, float]]) -> float:
    """The validation loss as a run without this library would watch it."""
    total = sum(task.weight * val[task.name]["loss"] for task in study.schema.tasks)
    return round(total, 4)


def by_diagram(study: Study, fitted: Fitted) -> dict[str, float]:
    """Stage 2's mean weight for PersLay, with a diagram and without."""
    test = study.part("test").batch
    place = list(WHOLE.experts).index("perslay")
    weight = fitted.output(test).weights[-1][:, :, place].mean(1)
    some = torch.stack([d.mask.any(1) for d in test.diagrams.values()]).any(0)
    return {
        "with": round(weight[some].mean().item(), 5),
        "without": round(weight[~some].mean().item(), 5),
    }


def rounded(values: Tensor) -> Any:
    return (values.double() * 1e4).round().div(1e4).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", choices=WORLDS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--settings", nargs="+", default=[])
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    out = asked.out or RESULTS / f"whole_model_{asked.world}.json"
    torch.set_num_threads(1)
    runs = json.loads(out.read_text())["runs"] if out.exists() else []
    settings = SETTINGS[asked.world]
    for seed in asked.seeds:
        done = {run["setting"] for run in runs if run["seed"] == seed}
        missing = [n for n in asked.settings or settings if n not in done]
        study = WORLDS[asked.world](seed) if missing else None
        for name in missing:
            assert study is not None
            setting = settings[name]
            own = setting.change(study)
            training = setting.training or TRAINING[asked.world]
            fitted = fit(
                own, setting.spec, training=training, seed=seed, progress=False
            )
            if asked.keep and name == "whole":
                save(fitted, asked.keep / f"{asked.world}_{seed}")
            runs.append({"seed": seed, "setting": name, **seen(own, fitted)})
            if name == "half the diagrams":
                runs[-1]["perslay"] = by_diagram(own, fitted)
            print(asked.world, seed, name, runs[-1]["scores"][-1], flush=True)
            result = {
                "rows": {part: len(rows) for part, rows in study.split.items()},
                "tasks": {t.name: t.kind for t in study.schema.tasks},
                "experts": list(WHOLE.experts),
                "machine": machine("cpu"),
                "runs": runs,
            }
            out.write_text(json.dumps(result, indent=None) + "\n")


if __name__ == "__main__":
    main()
