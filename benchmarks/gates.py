"""What the settings of the two gates do: ``python -m benchmarks.gates``.

The whole model, its seven experts, both gates and the hidden states, trained on small
banks of 6,000 customers (``bank``) or on the real households (``journey``), once a seed
and setting. Every run keeps its scores by epoch, its tasks' skills on test customers,
and what the gates of test customers were, also at the start of every epoch.
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
from ple_study.batch import Batch
from ple_study.collapse import routing_information, sample_entropy
from ple_study.data.journey import LENSES, journey
from ple_study.data.loader import Study
from ple_study.data.world import Bank
from ple_study.experts.mlp import MLPSpec
from ple_study.experts.temporal import TemporalSpec
from ple_study.gates.attention import CGCAttentionSpec
from ple_study.gates.routing import GateSpec
from ple_study.gates.stages import StagesSpec
from ple_study.learner import Training
from ple_study.model import HeterogeneousPLE, HeterogeneousPLESpec, seven
from ple_study.schema import Schema
from ple_study.training import fit

RESULTS = Path(__file__).parent / "results"
CUSTOMERS = 6_000
LOOKED_AT = 1_200  # test customers whose gates are read when an epoch begins
TRAINING = Training(epochs=8, batch_size=256, lr=3e-3, schedule="cosine")
USUAL = StagesSpec(  # the thread's scores, which nothing divides
    expert=MLPSpec(dims=(32, 64)),
    gate=GateSpec(),
    attention=CGCAttentionSpec(prior=0.0, scaled=False),
)


def attention(**options: Any) -> StagesSpec:
    """The usual stages with other options of stage 2."""
    return replace(USUAL, attention=replace(USUAL.attention, **options))


SCALED = replace(attention(scaled=True), gate=GateSpec(scaled=True))
SETTINGS: Mapping[str, StagesSpec] = {
    "usual": USUAL,
    "thread's prior": attention(prior=1.0),
    "wrong prior": attention(prior=-1.0),
    "neither": replace(USUAL, which="neither"),
    "stage 1": replace(USUAL, which="stage1_only"),
    "stage 2": replace(USUAL, which="stage2_only"),
    "entropy 0": attention(entropy=0.0),
    "entropy 0.005": attention(entropy=0.005),
    "entropy 0.02": attention(entropy=0.02),
    "entropy 0.1": attention(entropy=0.1),
    "entropy 1": attention(entropy=1.0),
    "frozen": replace(USUAL, freeze_epoch=4),
    "no dim_normalize": attention(dim_normalize=False),
    "no rescale": attention(rescale=False),
    "scaled": SCALED,
    "stage 1, scaled": replace(SCALED, which="stage1_only"),
    "stage 2, scaled": replace(SCALED, which="stage2_only"),
}
STAGES = ("scaled", "stage 1, scaled", "stage 2, scaled", "neither")


@dataclass(frozen=True, kw_only=True)
class Watched(HeterogeneousPLESpec):
    """A model whose gates are looked at whenever an epoch begins."""

    def build(self, schema: Schema) -> "WatchedPLE":
        return WatchedPLE(schema, self)


class WatchedPLE(HeterogeneousPLE):
    def __init__(self, schema: Schema, spec: HeterogeneousPLESpec) -> None:
        super().__init__(schema, spec)
        self.seen: list[Any] = []  # mean weights of the last stage

    def begin_epoch(self, epoch: int) -> None:
        super().begin_epoch(epoch)
        training = self.training
        with torch.no_grad():
            weights = self.eval()(SAMPLE[0]).weights
        self.train(training)
        self.seen.append(rounded(weights[-1].mean(0)) if weights else [])


SAMPLE: list[Batch] = []  # scaled test customers, whose gates are looked at


def rounded(values: Tensor) -> Any:
    return (values.double() * 1e4).round().div(1e4).tolist()


def run(study: Study, stages: StagesSpec, seed: int, training: Training) -> Any:
    """One training, and all that is kept of it."""
    spec = Watched(
        experts=seven() | {"temporal": TemporalSpec(widths=(32, 32))},
        gates=stages,
        basket=None,
        transfer=None,
        tower=MLPSpec(dims=(32,), activation="silu", norm="layer", dropout=0.1),
    )
    fitted = fit(study, spec, training=training, seed=seed, progress=False)
    test = study.part("test")
    weights = fitted.output(test.batch).weights
    model = fitted.model
    assert isinstance(model, WatchedPLE)
    return {
        "scores": [round(entry["score"], 4) for entry in fitted.history],
        "best": fitted.best_epoch,
        "skill": {
            task: round(found["skill"], 4)
            for task, found in fitted.evaluate(test).items()
        },
        "gates": [rounded(w.mean(0)) for w in weights],
        "entropy": [rounded(sample_entropy(w)) for w in weights],
        "information": [rounded(routing_information(w)) for w in weights],
        "seen": model.seen,
    }


def bank(seed: int) -> Study:
    return Bank(CUSTOMERS, seed=seed, size="small").study()


@cache
def _households() -> Study:
    return journey(lenses=LENSES)


def households(_: int) -> Study:
    """The same for every seed, which is that of the training alone."""
    return _households()


WORLDS: Mapping[str, Callable[[int], Study]] = {"bank": bank, "journey": households}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", choices=WORLDS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=[])
    parser.add_argument("--epochs", type=int, default=TRAINING.epochs)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    out = asked.out or RESULTS / f"gates_{asked.world}.json"
    whole = list(SETTINGS) if asked.world == "bank" else list(STAGES)
    training = replace(TRAINING, epochs=asked.epochs)
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    for seed in asked.seeds:
        study = WORLDS[asked.world](seed)
        SAMPLE[:] = [study.scaled().part("test").batch.rows(torch.arange(LOOKED_AT))]
        for name in asked.settings or whole:
            about = {"seed": seed, "setting": name}
            found.append(about | run(study, SETTINGS[name], seed, training))
            print(about, found[-1]["scores"], flush=True)
            result = {
                "epochs": asked.epochs,
                "customers": len(study.rows.batch),
                "tasks": study.schema.task_names,
                "experts": list(seven()),
                "machine": machine("cpu"),
                "runs": found,
            }
            out.write_text(json.dumps(result, indent=None) + "\n")


if __name__ == "__main__":
    main()
