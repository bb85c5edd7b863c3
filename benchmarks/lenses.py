"""Which expert reads which planted signal: ``python -m benchmarks.lenses``.

Each of the seven experts is trained alone, with one linear map behind it, to tell the
signs of all fourteen planted factors of a small bank. A cell of the matrix is the mean
area under the ROC curve of a lens's two factors on test customers, at the epoch that
was best for that lens on validation customers. One bank and one training a seed.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import alone
from benchmarks.alone import SPECS
from benchmarks.clock import machine
from ple_study.data.loader import Study
from ple_study.data.world import Bank
from ple_study.data.world.tasks import LENSES
from ple_study.experts.base import Expert, ExpertSpec

RESULTS = Path(__file__).parent / "results" / "lenses.json"
CUSTOMERS = {  # products of columns ask for more customers than all else
    6_000: ("unified_hgcn", "perslay", "temporal", "lightgcn"),
    20_000: ("deepfm", "causal", "optimal_transport"),
}


def signs(bank: Bank) -> Tensor:
    """Whether each planted factor is above zero: ``[customer, 14]``, lens by lens."""
    factors = bank.truth().customers.factors
    return torch.from_numpy(factors.reshape(len(factors), -1) > 0).float()


def areas(scores: Tensor, wanted: Tensor) -> np.ndarray:
    """By lens, the mean area under the curve of its two factors."""
    found = [roc_auc_score(w, s) for w, s in zip(wanted.T, scores.T, strict=True)]
    return np.reshape(found, (-1, 2)).mean(1)


def train(
    spec: ExpertSpec, study: Study, wanted: Tensor, *, epochs: int, seed: int
) -> dict[str, float]:
    """One row of the matrix: an expert alone, by lens."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expert = spec.build(study.schema)
        head = nn.Linear(expert.dim, wanted.shape[1])

        def loss_of(rows: Tensor) -> Tensor:
            batch = study.rows.batch.rows(rows)
            logits = head(expert(batch))
            miss = F.binary_cross_entropy_with_logits(logits, wanted[rows])
            return miss + expert.penalty_of(batch)

        best: dict[str, tuple[float, float]] = {}
        for _ in alone.epochs(expert, head, loss_of, study.split["train"], epochs):
            val, test = (
                _scored(expert, head, study, wanted, k) for k in ("val", "test")
            )
            for place, lens in enumerate(LENSES):
                if val[place] > best.get(lens, (0.0, 0.0))[0]:
                    best[lens] = (val[place], test[place])
    return {lens: round(float(test), 4) for lens, (_, test) in best.items()}


@torch.no_grad()
def _scored(
    expert: Expert, head: nn.Linear, study: Study, wanted: Tensor, part: str
) -> np.ndarray:
    rows = study.split[part]
    scores = [head(expert(study.rows.batch.rows(some))) for some in rows.split(500)]
    return areas(torch.cat(scores), wanted[rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--experts", nargs="+", choices=SPECS, default=list(SPECS))
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    for seed in asked.seeds:
        for customers, every in CUSTOMERS.items():
            names = [name for name in every if name in asked.experts]
            if not names:
                continue
            bank = Bank(customers, seed=seed, size="small")
            study, wanted = bank.study().scaled(), signs(bank)
            for name in names:
                row = train(SPECS[name], study, wanted, epochs=asked.epochs, seed=seed)
                about = {"seed": seed, "expert": name, "customers": customers}
                found.append(about | {"areas": row})
                print(found[-1], flush=True)
        result = {"epochs": asked.epochs, "machine": machine("cpu"), "rows": found}
        asked.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
