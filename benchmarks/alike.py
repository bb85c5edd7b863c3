"""How alike the experts are on real households: ``python -m benchmarks.alike``.

Each of the seven experts is trained alone, with one linear map a task behind it, on the
sixteen tasks of the households. Compared are its answers for the test rows of which
every expert has something to read: by linear CKA, and by the mean of the ten largest
canonical correlations. Two more say how to read these: each expert with itself, trained
from another seed; and the pairs once more with the customers of each expert in an order
of its own, which is what chance makes of so many numbers.
"""

import argparse
import json
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import alone
from benchmarks.alone import SPECS
from benchmarks.clock import machine
from ple_study.collapse import canonical_correlations, cka
from ple_study.data.journey import journey
from ple_study.data.loader import Study
from ple_study.experts.base import Expert, ExpertSpec
from ple_study.objective.losses import task_losses

RESULTS = Path(__file__).parent / "results" / "alike.json"
FIRST = 10  # canonical correlations that count


def train(spec: ExpertSpec, study: Study, *, epochs: int, seed: int) -> Expert:
    """An expert that has learned the households' tasks by itself."""
    tasks, known = study.schema.tasks, study.rows
    widths = [task.outputs for task in tasks]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expert = spec.build(study.schema)
        head = nn.Linear(expert.dim, sum(widths))

        def loss_of(rows: Tensor) -> Tensor:
            some = known.rows(rows)
            parts = head(expert(some.batch)).split(widths, 1)
            logits = {t.name: z for t, z in zip(tasks, parts, strict=True)}
            miss = task_losses(tasks, logits, some.labels).values.mean()
            return miss + expert.penalty_of(some.batch)

        for epoch in alone.epochs(expert, head, loss_of, study.split["train"], epochs):
            print(type(expert).__name__, "seed", seed, "epoch", epoch, flush=True)
    return expert


@torch.no_grad()
def answers(expert: Expert, study: Study) -> tuple[Tensor, Tensor]:
    """Answers for the test rows, and for which of them there was something to read."""
    parts = [study.rows.batch.rows(some) for some in study.split["test"].split(500)]
    said = torch.cat([expert(part) for part in parts])
    return said, torch.cat([expert.present(part) for part in parts])


def pairs(experts: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """By pair of names, both measures."""
    names, alike = list(experts), cka(list(experts.values()))
    found = {}
    for (i, a), (j, b) in combinations(enumerate(names), 2):
        top = canonical_correlations(experts[a], experts[b])[:FIRST]
        found[f"{a} {b}"] = {
            "cka": round(float(alike[i, j]), 4),
            "cca": round(float(top.mean()), 4),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    study = journey(lenses=("diagrams", "vectors")).scaled()
    said: dict[str, list[Tensor]] = {name: [] for name in SPECS}
    seen = torch.ones(len(study.split["test"]), dtype=torch.bool)
    for seed in asked.seeds:
        for name, spec in SPECS.items():
            expert = train(spec, study, epochs=asked.epochs, seed=seed)
            answer, present = answers(expert, study)
            said[name].append(answer)
            seen &= present
    between = [
        pairs({name: kept[k][seen] for name, kept in said.items()})
        for k in range(len(asked.seeds))
    ]
    draw = torch.Generator().manual_seed(0)
    count = int(seen.sum())
    chance = pairs(
        {
            name: kept[0][seen][torch.randperm(count, generator=draw)]
            for name, kept in said.items()
        }
    )
    within = {
        name: list(pairs({str(k): x[seen] for k, x in enumerate(kept)}).values())
        for name, kept in said.items()
    }
    result = {
        "epochs": asked.epochs,
        "seeds": asked.seeds,
        "rows": count,
        "machine": machine("cpu"),
        "between experts, by seed": between,
        "in orders of their own": chance,
        "within an expert, by pair of seeds": within,
    }
    asked.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
