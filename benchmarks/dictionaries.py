"""Does a sparse code name what is true? ``python -m benchmarks.dictionaries``.

Of the whole models that ``benchmarks.whole_model --keep`` saved of large banks: two
sparse autoencoders, of two seeds, fitted to what the experts say of training customers.
Kept are how they rebuild and how sparse they are on test customers, how well their
units, the principal components and the plain numbers tell each planted factor, and
whether the second seed finds the units of the first.
"""

import argparse
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.clock import machine
from benchmarks.explained import RIDGE
from benchmarks.whole_model import RESULTS, bank, rounded
from ple_study.data.world.tasks import LENSES
from ple_study.export import load
from ple_study.interpret.dictionary import (
    baselines,
    block_shares,
    either,
    recovered,
    sign_auc,
)
from ple_study.interpret.sae import (
    SAESpec,
    SparseAutoencoder,
    fit_sae,
    max_cosines,
    report,
)

FORMS = {
    "relu": SAESpec(),
    "top_k": SAESpec(activation="top_k"),
    "thread": SAESpec(l1=0.001),  # the thread's penalty, as it is printed
}
SEEDS = {"relu": (0, 1), "top_k": (0, 1), "thread": (0,)}
TENTH = 1.2816  # a tenth of the customers has a larger standard normal factor
PURE = 0.9  # of a direction's squared norm in one expert's block
ALIKE = 0.9  # cosine
Blocks = tuple[Tensor, ...]


class Known(NamedTuple):
    """What the experts say of all customers, and what is planted in them."""

    said: Blocks
    factors: Tensor
    split: Mapping[str, Tensor]
    experts: tuple[str, ...]


@cache
def known(keep: Path, seed: int) -> Known:
    own = bank(seed, "large")
    study, fitted = own.study(), load(keep / f"large_{seed}")
    said = fitted.output(study.rows.batch).experts
    factors = torch.from_numpy(own.truth().customers.factors).double().flatten(1)
    return Known(said, factors, study.split, tuple(fitted.spec.experts))


def told(scores: dict[str, Tensor], factors: Tensor) -> dict[str, Any]:
    """By kind of direction: factors recovered, and the best area of each factor.

    ``sign``: is the factor above zero? ``high`` and ``low``: is the customer one of the
    tenth that has most, or least, of it?
    """
    events = {"sign": factors, "high": factors - TENTH, "low": -factors - TENTH}
    found: dict[str, Any] = {}
    for kind, own in scores.items():
        auc = {event: sign_auc(own, wanted) for event, wanted in events.items()}
        found[kind] = {"recovered": round(recovered(auc["sign"]), 4)}
        found[kind] |= {k: rounded(either(a).amax(0)) for k, a in auc.items()}
    return found


def probes(train: Tensor, test: Tensor, factors: Tensor) -> Tensor:
    """Scores of test customers by the ridge regression of each factor."""
    z = (train - train.mean(0)).double()
    gram = z.T @ z + RIDGE * torch.eye(z.shape[1], dtype=z.dtype)
    weight = torch.linalg.solve(gram, z.T @ factors)
    return (test - train.mean(0)).double() @ weight


def units(sae: SparseAutoencoder, blocks: Blocks) -> dict[str, Any]:
    """How often units are on, and how many keep to one expert."""
    density = (sae(blocks).codes > 0).double().mean(0)
    shares = block_shares(sae)[density > 0]
    at = torch.tensor([0.1, 0.5, 0.9, 0.99, 1.0], dtype=torch.double)
    return {
        "density": rounded(density.quantile(at)),
        "one_expert": round(float((shares.amax(1) > PURE).double().mean()), 4),
        "by_expert": rounded(shares.mean(0)),
    }


@torch.no_grad()
def alive(sae: SparseAutoencoder, blocks: Blocks) -> Tensor:
    """The directions of the units that some customer turns on."""
    parts = zip(*(torch.split(block, 4096) for block in blocks), strict=True)
    on = torch.stack([(sae(part).codes > 0).any(0) for part in parts]).any(0)
    return sae.directions[on]


def matched(saes: list[SparseAutoencoder], blocks: Blocks) -> dict[str, Any]:
    """Largest cosines of each one's active directions with the other's."""
    one, other = (alive(sae, blocks) for sae in saes)
    there, back = max_cosines(one, other), max_cosines(other, one)
    some = torch.nn.functional.normalize(torch.randn(other.shape), dim=1)
    at = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])
    return {
        "mean": round(float(there.mean()), 4),
        "back": round(float(back.mean()), 4),
        "alike": round(float((there > ALIKE).double().mean()), 4),
        "quantiles": rounded(there.quantile(at)),
        "chance": round(float(max_cosines(one, some).mean()), 4),
        "active": [len(one), len(other)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--forms", nargs="+", default=list(FORMS))
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULTS / "sae_large.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    runs = json.loads(asked.out.read_text())["runs"] if asked.out.exists() else []
    for form, seed in ((f, s) for f in asked.forms for s in asked.seeds):
        if any(run["seed"] == seed and run["form"] == form for run in runs):
            continue
        torch.manual_seed(seed)
        said, factors, split, experts = known(asked.keep, seed)
        train, test = (tuple(b[split[k]] for b in said) for k in ("train", "test"))
        held = factors[split["test"]]
        fits = [fit_sae(train, FORMS[form], seed=s) for s in SEEDS[form]]
        saes = [fit.sae for fit in fits]
        first = saes[0]
        with torch.no_grad():
            scores = {"sae": first(test).codes, **baselines(first, train, test)}
            x, z = first.standardise(train), first.standardise(test)
        scores["probe"] = probes(x, z, factors[split["train"]])
        run = {
            "seed": seed,
            "form": form,
            "reports": [vars(report(sae, test)) for sae in saes],
            "fits": [fit.history[-1] for fit in fits],
            "told": told(scores, held),
            "units": units(first, test),
        }
        if len(saes) == 2:
            run["match"] = matched(saes, said)
        runs.append(run)
        found = run["told"]["sae"]["recovered"]
        print(form, seed, run["reports"][0], found, flush=True)
        about = {
            "factors": [f"{lens} {axis}" for lens in LENSES for axis in (1, 2)],
            "experts": list(experts),
            "latents": first.latents,
            "machine": machine("cpu"),
            "runs": runs,
        }
        asked.out.write_text(json.dumps(about) + "\n")


if __name__ == "__main__":
    main()
