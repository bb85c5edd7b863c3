"""What the options of the task side do: ``python -m benchmarks.task_options``.

A model of three experts (DeepFM, LightGCN, Unified HGCN), stage 2 of the gate, hidden
states and the whole task side, trained once a seed and setting on small banks whose
tasks lie in these three lenses, or on the real households.

``bank``: 10,000 customers, the thread's chains planted. ``unchained``: the same
customers, no task deciding another. ``journey``: the households. Every run keeps, of
test customers, each task's skill and mean loss, the skills on those between clusters,
all metrics of binary tasks, and what a weighting had learnt whenever an epoch began.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import cycle, permutations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.clock import machine
from ple_study.data.journey import journey
from ple_study.data.loader import Study
from ple_study.data.world import Bank
from ple_study.data.world.tasks import tasks as table
from ple_study.experts.mlp import MLPSpec
from ple_study.fitted import Fitted
from ple_study.gates.attention import CGCAttentionSpec
from ple_study.gates.stages import StagesSpec
from ple_study.learner import Training
from ple_study.model import HeterogeneousPLESpec, seven
from ple_study.objective.adatt import AdaTTSpec
from ple_study.objective.gradnorm import GradNormSpec
from ple_study.objective.losses import task_losses
from ple_study.objective.weighting import (
    DynamicWeightAverageSpec,
    UncertaintyWeightingSpec,
    Weighting,
    WeightingSpec,
)
from ple_study.schema import TaskSpec, Transfer
from ple_study.task import FOCAL as USUAL
from ple_study.tasks.basket import BasketSpec
from ple_study.tasks.transfer import TransferSpec
from ple_study.training import WEIGHTING, fit
from ple_study.two_phase import TwoPhase

RESULTS = Path(__file__).parent / "results"
CUSTOMERS = 10_000
EXPERTS = ("deepfm", "lightgcn", "unified_hgcn")
BETWEEN = 0.9  # a customer whose likeliest cluster is less likely is between clusters
TRAINING = Training(epochs=8, batch_size=256, lr=3e-3, schedule="cosine")
SPEC = HeterogeneousPLESpec(
    experts={name: seven()[name] for name in EXPERTS},
    gates=StagesSpec(which="stage2_only", attention=CGCAttentionSpec(prior=0.0)),
    tower=MLPSpec(dims=(32,), activation="silu", norm="layer", dropout=0.1),
)
FOCAL: Mapping[str, float] = {"ctr": 0.25, "cvr": 0.2, "churn": 0.6, "retention": 0.2}
UNRELATED = (  # as many edges as the thread's, between tasks that share no chain
    ("channel", "cvr"),
    ("timing", "retention"),
    ("engagement", "ltv"),
    ("consumption_cycle", "spending_category"),
    ("life_stage", "brand_prediction"),
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A model, what weighs its tasks, and what is changed of the study."""

    spec: HeterogeneousPLESpec = SPEC
    weighting: WeightingSpec = WEIGHTING
    change: Callable[[Study], Study] = lambda study: study
    epochs: tuple[int, ...] = ()  # of each phase, where they are not the usual


def basket(**options: Any) -> Setting:
    return Setting(spec=replace(SPEC, basket=replace(BasketSpec(), **options)))


def transfer(**options: Any) -> Setting:
    return Setting(spec=replace(SPEC, transfer=replace(TransferSpec(), **options)))


def tasks_changed(change: Callable[[TaskSpec], TaskSpec]) -> Callable[[Study], Study]:
    def changed(study: Study) -> Study:
        own = tuple(map(change, study.schema.tasks))
        return replace(study, schema=replace(study.schema, tasks=own))

    return changed


def edges_changed(
    change: Callable[[Sequence[Transfer]], Sequence[Transfer]],
) -> Callable[[Study], Study]:
    def changed(study: Study) -> Study:
        edges = tuple(change(study.schema.transfers))
        return replace(study, schema=replace(study.schema, transfers=edges))

    return changed


def without_clusters(study: Study) -> Study:
    batch = replace(study.rows.batch, clusters=None)
    schema = replace(study.schema, clusters=0)
    return replace(study, schema=schema, rows=replace(study.rows, batch=batch))


def focal(reverse: bool, even: bool = False) -> Callable[[TaskSpec], TaskSpec]:
    """The thread's alphas, one minus them, or a half for all."""

    def change(task: TaskSpec) -> TaskSpec:
        if task.name not in FOCAL:
            return task
        alpha = FOCAL[task.name]
        alpha = 0.5 if even else 1 - alpha if reverse else alpha
        return replace(task, loss="focal", focal=(alpha, 2.0))

    return change


def kinds(kind: Any) -> Callable[[Study], Study]:
    return edges_changed(lambda edges: [replace(e, kind=kind) for e in edges])


SETTINGS: dict[str, Setting] = {
    "usual": Setting(),
    "no basket": Setting(spec=replace(SPEC, basket=None)),
    "no clusters": Setting(change=without_clusters),
    "hard": basket(routing="hard"),
    "form B": basket(form="B"),
    "per cluster": basket(form="per_cluster"),
    "no transfer": Setting(spec=replace(SPEC, transfer=None)),
    "source's start": transfer(init="source"),
    "detached": transfer(detach=True),
    "answers read": transfer(method="output_concat"),
    "hidden read": transfer(method="hidden_concat"),
    "all sequential": Setting(change=kinds("sequential")),
    "silent edges": Setting(
        change=edges_changed(lambda es: [replace(e, strength=0.0) for e in es])
    ),
    "unrelated edges": Setting(
        change=edges_changed(
            lambda _: [Transfer(source=a, target=b) for a, b in UNRELATED]
        )
    ),
    "even weights": Setting(change=tasks_changed(lambda t: replace(t, weight=1.0))),
    "uncertainty": Setting(weighting=UncertaintyWeightingSpec(start="loss")),
    "uncertainty, slow": Setting(weighting=UncertaintyWeightingSpec(lr_factor=1.0)),
    "dynamic averages": Setting(weighting=DynamicWeightAverageSpec()),
    "GradNorm": Setting(weighting=GradNormSpec(every=10)),
    "adaTT, source": Setting(weighting=AdaTTSpec(mode="source", warmup=2, freeze=6)),
    "adaTT": Setting(weighting=AdaTTSpec(warmup=2, freeze=6)),
    "focal": Setting(change=tasks_changed(focal(reverse=False))),
    "focal, reversed": Setting(change=tasks_changed(focal(reverse=True))),
    "focal, even": Setting(change=tasks_changed(focal(reverse=False, even=True))),
    "12 epochs": Setting(epochs=(12,)),
    "8 epochs, then 4": Setting(epochs=(8, 4)),
}
CHAINS = ["usual", "no transfer", "silent edges", "source's start"]
WHOLE = {"bank": list(SETTINGS), "unchained": CHAINS, "journey": list(SETTINGS)}


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A weighting whose buffers and parameters are looked at as epochs begin."""

    inner: WeightingSpec

    def build(self, tasks: Sequence[TaskSpec]) -> Weighting:
        weighting = self.inner.build(tasks)
        begin = weighting.begin_epoch

        def look(epoch: int) -> None:
            LEARNT.append(state(weighting))
            begin(epoch)

        weighting.begin_epoch = look  # type: ignore[method-assign]
        BUILT[:] = [weighting]
        return weighting


BUILT: list[Weighting] = []  # of the run at hand
LEARNT: list[Any] = []  # of the run at hand, an entry an epoch and one of the end


def state(weighting: Weighting) -> dict[str, Any]:
    found = weighting.state_dict().items()
    return {name: rounded(value.float()) for name, value in found}


def rounded(values: Tensor) -> Any:
    return (values.double() * 1e4).round().div(1e4).tolist()


def run(
    study: Study, setting: Setting, seed: int, training: Training
) -> dict[str, Any]:
    """One training, and all that is kept of it."""
    LEARNT.clear()
    study = setting.change(study)
    lengths = setting.epochs or (training.epochs,)
    first, *later = [replace(training, epochs=epochs) for epochs in lengths]
    weighting = Watched(inner=setting.weighting)
    train = partial(fit, study, setting.spec, weighting=weighting, seed=seed)
    fitted = train(training=first, progress=False)
    for phase in later:
        frozen = TwoPhase().frozen
        fitted = train(training=phase, start=fitted, frozen=frozen, progress=False)
    learnt = [*LEARNT, *map(state, BUILT)]
    return seen(study, fitted) | {"learnt": [e for e in learnt if e]}


def seen(study: Study, fitted: Fitted) -> dict[str, Any]:
    """What is kept of a trained model."""
    test = study.part("test")
    found = fitted.evaluate(test)
    clusters = test.batch.clusters
    between: dict[str, Any] = {}
    if clusters is not None:
        some = (clusters.amax(1) < BETWEEN).nonzero()[:, 0]
        between = fitted.evaluate(test.rows(some)) if len(some) else {}
    plain = [replace(t, loss="default", focal=USUAL) for t in study.schema.tasks]
    logits = fitted.output(test.batch).logits
    losses = task_losses(plain, logits, test.labels).values
    binary = [t.name for t in study.schema.tasks if t.kind == "binary"]
    return {
        "scores": [round(entry["score"], 4) for entry in fitted.history],
        "train": [
            {k: round(v, 4) for k, v in entry["train"].items()}
            for entry in fitted.history
        ],
        "val": [
            {k: round(v["loss"], 4) for k, v in entry["val"].items()}
            for entry in fitted.history
        ],
        "best": fitted.best_epoch,
        "parameters": sum(p.numel() for p in fitted.model.parameters()),
        "skill": {k: round(v["skill"], 4) for k, v in found.items()},
        "between": {k: round(v["skill"], 4) for k, v in between.items()},
        "loss": dict(zip(found, rounded(losses), strict=True)),
        "binary": {k: {m: round(v, 4) for m, v in found[k].items()} for k in binary},
    }


def lenses() -> dict[str, tuple[str, str, str]]:
    """The six orders of the three lenses, task by task in turn."""
    orders = cycle(permutations(EXPERTS))
    pairs = zip(table(2), orders, strict=False)
    return {task.spec.name: (a, b, c) for task, (a, b, c) in pairs}


def bank(seed: int, chained: bool = True) -> Study:
    world = Bank(CUSTOMERS, seed=seed, size="small", lenses=lenses(), chained=chained)
    return world.study()


@cache
def households() -> Study:
    return journey(lenses=("states", "clusters", "vectors"))


WORLDS: Mapping[str, Callable[[int], Study]] = {
    "bank": bank,
    "unchained": lambda seed: bank(seed, chained=False),
    "journey": lambda _: households(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", choices=WORLDS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=[])
    parser.add_argument("--epochs", type=int, default=TRAINING.epochs)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    out = asked.out or RESULTS / f"task_options_{asked.world}.json"
    training = replace(TRAINING, epochs=asked.epochs)
    torch.set_num_threads(1)
    known = json.loads(out.read_text()) if out.exists() else {"runs": []}
    found = [r for r in known["runs"] if r["epochs"] == asked.epochs]
    done = {(r["seed"], r["setting"]) for r in found}
    for seed in asked.seeds:
        wanted = asked.settings or WHOLE[asked.world]
        missing = [name for name in wanted if (seed, name) not in done]
        study = WORLDS[asked.world](seed) if missing else None
        for name in missing:
            assert study is not None
            about = {"seed": seed, "setting": name, "epochs": asked.epochs}
            found.append(about | run(study, SETTINGS[name], seed, training))
            skill = found[-1]["skill"].values()
            print(about, round(sum(skill) / len(skill), 4), flush=True)
            result = {
                "customers": len(study.rows.batch),
                "tasks": study.schema.task_names,
                "between": float(share_between(study)),
                "machine": machine("cpu"),
                "runs": found,
            }
            out.write_text(json.dumps(result, indent=None) + "\n")


def share_between(study: Study) -> float:
    """Share of test customers between clusters."""
    clusters = study.part("test").batch.clusters
    assert clusters is not None
    return round((clusters.amax(1) < BETWEEN).double().mean().item(), 4)


if __name__ == "__main__":
    main()
