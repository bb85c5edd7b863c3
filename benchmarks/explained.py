"""Who carries an answer, by three readouts: ``python -m benchmarks.explained large``.

Of the whole models that ``benchmarks.whole_model --keep`` saved, one a seed: the gate's
weights, each expert's removal, and exact Shapley values, of 256 test customers and
every task. On banks also what is planted, how well the hidden factors are read, and the
ceiling: the answers of whoever knew all of them, or what the inputs tell of them.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.clock import machine
from benchmarks.whole_model import RESULTS, WORLDS, bank, rounded
from ple_study import metrics
from ple_study.data.loader import Study
from ple_study.data.world import Bank
from ple_study.data.world.blocks import join
from ple_study.data.world.ceiling import best_logits
from ple_study.data.world.readings import readings
from ple_study.data.world.tasks import LENSES
from ple_study.export import load
from ple_study.fitted import Fitted
from ple_study.interpret.contributions import contributions
from ple_study.interpret.faithful import agreement, deletion

ROWS = 256
READOUTS = ("gate", "loo", "shapley")
RIDGE = 10.0


def explained(study: Study, fitted: Fitted) -> dict[str, Any]:
    """Mean shares by task and expert, agreement of readouts, and deletion curves."""
    test = study.part("test").rows(torch.arange(ROWS))
    background = study.part("train").batch
    found = {
        readout: contributions(fitted, test.batch, background, readout=readout)
        for readout in READOUTS
    }
    pairs = [("gate", "shapley"), ("loo", "shapley"), ("gate", "loo")]
    curves = {name: deletion(fitted, test, own) for name, own in found.items()}
    return {
        "share": {name: rounded(own.share.mean(0)) for name, own in found.items()},
        "moves": rounded(found["shapley"].raw.mean(0)),
        "agreement": {
            f"{a}, {b}": rounded(agreement(found[a], found[b]).nanmean(0))
            for a, b in pairs
        },
        "deletion": {
            name: {k: rounded(v) for k, v in own._asdict().items() if k != "tasks"}
            for name, own in curves.items()
        },
    }


def read(bank: Bank, study: Study, fitted: Fitted) -> dict[str, Any]:
    """The share of each factor's variance that a linear map tells on test customers.

    ``inputs``: of the lens's own reading, made by whoever knows the bank's plan;
    ``experts``: of each expert's block; ``all``: of all blocks together.
    """
    factors = torch.from_numpy(bank.truth().customers.factors).double()
    train, test = study.split["train"], study.split["test"]
    blocks = fitted.output(study.rows.batch).experts
    some = join([bank.block(number) for number in range(len(bank))])
    own = readings(bank, some)
    told: dict[str, Any] = {"inputs": {}, "experts": {}, "all": {}}
    together = torch.cat(blocks, 1)
    for place, lens in enumerate(LENSES):
        wanted = factors[:, place]
        seen = torch.from_numpy(np.asarray(own[lens])).double()
        told["inputs"][lens] = r2(seen, wanted, train, test)
        told["all"][lens] = r2(together, wanted, train, test)
        named = zip(fitted.spec.experts, blocks, strict=True)
        told["experts"][lens] = {k: r2(b, wanted, train, test) for k, b in named}
    return told


def r2(x: Tensor, y: Tensor, train: Tensor, test: Tensor) -> float:
    """Of a ridge regression, on test rows, mean over the columns of ``y``."""
    mean, spread = x[train].double().mean(0), x[train].double().std(0).clamp(min=1e-9)
    z = (x.double() - mean) / spread
    gram = z[train].T @ z[train] + RIDGE * torch.eye(z.shape[1], dtype=z.dtype)
    middle = y[train].mean(0)
    weight = torch.linalg.solve(gram, z[train].T @ (y[train] - middle))
    left = (y[test] - middle - z[test] @ weight).square().sum(0)
    whole = (y[test] - y[test].mean(0)).square().sum(0)
    return round(float((1 - left / whole).mean()), 4)


def ceilings(bank: Bank, study: Study, told: Mapping[str, float]) -> dict[str, Any]:
    """All metrics on test customers of whoever knows the factors, or the readings."""
    part = study.split["test"]
    labels = {name: values[part] for name, values in study.rows.labels.items()}
    share = np.clip([told[lens] for lens in LENSES], 0.0, 1.0)
    found = {}
    for name, known in (("factors", None), ("inputs", share)):
        best = {k: z[part] for k, z in best_logits(bank, known).items()}
        found[name] = {
            task: {k: round(v, 4) for k, v in values.items()}
            for task, values in metrics.evaluate(bank.schema, best, labels).items()
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", choices=WORLDS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    out = asked.out or RESULTS / f"explained_{asked.world}.json"
    torch.set_num_threads(1)
    runs = []
    for seed in asked.seeds:
        study = WORLDS[asked.world](seed)
        fitted = load(asked.keep / f"{asked.world}_{seed}")
        runs.append({"seed": seed, **explained(study, fitted)})
        if asked.world in ("bank", "large"):
            own = bank(seed, asked.world)
            told = read(own, study, fitted)
            runs[-1] |= {"told": told, "ceiling": ceilings(own, study, told["inputs"])}
            active = [task for task in own.signal.tasks if task.active]
            runs[-1]["planted"] = [task.lenses for task in active]
        print(asked.world, seed, runs[-1]["agreement"]["gate, shapley"], flush=True)
        about = {
            "tasks": study.schema.task_names,
            "experts": list(fitted.spec.experts),
            "customers": ROWS,
            "machine": machine("cpu"),
            "runs": runs,
        }
        out.write_text(json.dumps(about) + "\n")


if __name__ == "__main__":
    main()
