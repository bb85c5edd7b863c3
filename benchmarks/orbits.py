"""PersLay on the tables of its paper: ORBIT5K, and graphs by tenfold cross-validation.

``python -m benchmarks.orbits orbit5k`` makes the 5,000 orbits, trains once a seed and
adds the test accuracy, beside the paper's 87.7 (1.0), to ``results/orbits.json``.
``python -m benchmarks.orbits MUTAG PROTEINS IMDB-BINARY`` does so with the graphs in
``$PLE_STUDY_DATA/perslay_graphs``. Our expert, a linear layer on top, nothing tuned on
test rows; the number of epochs is fixed beforehand. The paper reads eigenvalues and
deciles of the signature beside a graph's diagrams; with ``--beside`` so do we, scaled
by the training rows and handed to the linear layer.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.graph_diagrams import NAMES as GRAPHS
from benchmarks.graph_diagrams import graphs
from ple_study.batch import Batch, Diagrams
from ple_study.data.diagrams import Clouds, Persistence
from ple_study.experts.perslay.blocks import Block
from ple_study.experts.perslay.expert import PersLay

RESULTS = Path(__file__).parent / "results" / "orbits.json"
PAPER = {"orbit5k": 87.7, "MUTAG": 89.8, "PROTEINS": 74.8, "IMDB-BINARY": 71.2}
RATES = (2.5, 3.5, 4.0, 4.1, 4.3)
ORBITS, STEPS, KEPT = 1000, 1000, 500


class Table(NamedTuple):
    batch: Batch
    labels: Tensor


class Plan(NamedTuple):
    """How one table is trained: fixed before any test row is seen."""

    epochs: int
    rows: int
    rate: float
    centres: int


PLANS = {"orbit5k": Plan(30, 64, 5e-3, 64)}
GRAPH_PLAN = Plan(100, 32, 2e-3, 32)


def orbits(rate: float, num: int, draw: np.random.Generator) -> np.ndarray:
    """``[num, step, 2]`` of x += r y (1 - y), y += r x (1 - x), modulo one.

    The new x is used for the new y; starts are uniform on the square.
    """
    x, y = draw.random((2, num))
    found = []
    for _ in range(STEPS):
        x = (x + rate * y * (1 - y)) % 1
        y = (y + rate * x * (1 - x)) % 1
        found.append(np.stack([x, y], 1))
    return np.stack(found, 1)


def orbit5k(seed: int) -> Table:
    """H0 and H1 of the alpha complex, the longest-lived 500 of each, a diagram each."""
    draw = np.random.default_rng(seed)
    clouds = np.concatenate([orbits(rate, ORBITS, draw) for rate in RATES])
    borders = np.arange(len(clouds) + 1) * STEPS
    made = Persistence(size=2 * STEPS, complex="alpha").diagrams(
        Clouds(clouds.reshape(-1, 2), borders)
    )
    labels = torch.arange(len(RATES)).repeat_interleave(ORBITS)
    named = {f"H{k}": longest(made, k, KEPT) for k in (0, 1)}
    return Table(_batch(named, torch.zeros(len(labels), 0)), labels)


def longest(made: Diagrams, kind: int, kept: int) -> Diagrams:
    """The first ``kept`` points of one homology: they stand in order of life."""
    there = made.mask & (made.points[..., 2] == kind)
    place = (~there).to(torch.uint8).argsort(dim=1, stable=True)[:, :kept]
    mask = there.gather(1, place)
    points = made.points.gather(1, place[..., None].expand(-1, -1, 3))
    return Diagrams(points * mask[..., None], mask)


def closed_up(batch: Batch) -> Batch:
    """Without the places at the ends of diagrams that no row of the batch uses."""
    used = {n: int(d.mask.sum(1).max()) for n, d in batch.diagrams.items()}
    kept = {
        name: Diagrams(made.points[:, : used[name]], made.mask[:, : used[name]])
        for name, made in batch.diagrams.items()
    }
    return replace(batch, diagrams=kept)


def _batch(diagrams: dict[str, Diagrams], beside: Tensor) -> Batch:
    """Of all diagrams but those that have no point in any row."""
    codes = torch.zeros(len(beside), 0, dtype=torch.int64)
    told = {name: made for name, made in diagrams.items() if made.mask.any()}
    return Batch(beside, codes, diagrams=told)


class Classifier(nn.Module):
    """A linear layer on the expert's block and on what is read beside it."""

    def __init__(self, expert: PersLay, beside: Tensor, classes: int) -> None:
        super().__init__()
        self.expert = expert
        self.register_buffer("usual", beside.mean(0))
        self.register_buffer("strays", beside.std(0).clamp(min=1e-3))
        self.head = nn.Linear(expert.dim + beside.shape[1], classes)

    def forward(self, batch: Batch) -> Tensor:
        usual, strays = self.get_buffer("usual"), self.get_buffer("strays")
        beside = (batch.numeric - usual) / strays
        return self.head(torch.cat([self.expert(batch), beside], 1))


def accuracy(table: Table, train: Tensor, test: Tensor, plan: Plan, seed: int) -> float:
    """Of an expert trained on the rows ``train``, in percent of ``test``."""
    torch.manual_seed(seed)
    kinds = {name: kind(d) for name, d in table.batch.diagrams.items()}
    expert = PersLay([Block(*p, plan.centres, weight="learned") for p in kinds.items()])
    rows = table.batch.rows(train)
    expert.calibrate(rows.diagrams, seed)
    model = Classifier(expert, rows.numeric, int(table.labels.max()) + 1)
    steps = plan.epochs * -(-len(train) // plan.rows)
    adam = torch.optim.Adam(model.parameters(), plan.rate)
    fall = torch.optim.lr_scheduler.OneCycleLR(adam, plan.rate, steps)
    for _ in range(plan.epochs):
        for part in torch.randperm(len(train)).split(plan.rows):
            scores = model(closed_up(rows.rows(part)))
            loss = F.cross_entropy(scores, table.labels[train[part]])
            adam.zero_grad()
            loss.backward()
            adam.step()
            fall.step()
    model.eval()
    with torch.no_grad():
        parts = test.split(256)
        found = torch.cat([model(table.batch.rows(p)) for p in parts])
    return 100 * float((found.argmax(1) == table.labels[test]).float().mean())


def kind(diagrams: Diagrams) -> int:
    """The one homology of a diagram."""
    return int(diagrams.points[..., 2][diagrams.mask].max())


def holdout(table: Table, plan: Plan, seed: int) -> list[float]:
    """70 % of the rows train, at random."""
    order = torch.randperm(len(table.labels), generator=_draw(seed))
    cut = len(order) * 7 // 10
    return [accuracy(table, order[:cut], order[cut:], plan, seed)]


def tenfold(table: Table, plan: Plan, seed: int) -> list[float]:
    """The accuracy of each of ten parts, trained on the other nine."""
    parts = torch.randperm(len(table.labels), generator=_draw(seed)).tensor_split(10)
    rest = [torch.cat([*parts[:i], *parts[i + 1 :]]) for i in range(10)]
    return [
        accuracy(table, train, test, plan, seed)
        for train, test in zip(rest, parts, strict=True)
    ]


def _draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def measure(name: str, seed: int, beside: bool) -> list[float]:
    """The accuracies of one seed in percent: one, or those of ten parts."""
    if name == "orbit5k":
        return holdout(orbit5k(seed), PLANS[name], seed)
    made, spectra, labels = graphs(name)
    batch = _batch(made, spectra if beside else spectra[:, :0])
    return tenfold(Table(batch, labels), GRAPH_PLAN, seed)


def record(name: str, key: str, seed: int, answer: float) -> None:
    """Adds one seed to those that are known of a table, and sums them up."""
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    by_seed = known.get(key, {}).get("by seed", {}) | {str(seed): round(answer, 2)}
    found = list(by_seed.values())
    known[key] = {
        "accuracy": round(float(np.mean(found)), 2),
        "deviation over seeds": (
            round(float(np.std(found, ddof=1)), 2) if len(found) > 1 else None
        ),
        "by seed": by_seed,
        "paper": PAPER[name],
        "plan": PLANS.get(name, GRAPH_PLAN)._asdict(),
    }
    RESULTS.write_text(json.dumps(known, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="+", choices=["orbit5k", *GRAPHS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--beside", action="store_true", help="read spectra too")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in asked.tables:
        beside = asked.beside and name in GRAPHS
        key = f"{name}, with spectra" if beside else name
        for seed in asked.seeds:
            start, scores = time.process_time(), measure(name, seed, beside)
            record(name, key, seed, float(np.mean(scores)))
            taken = (time.process_time() - start) / 60
            print(key, seed, [round(x, 2) for x in scores], f"{taken:.1f} min")


if __name__ == "__main__":
    main()
