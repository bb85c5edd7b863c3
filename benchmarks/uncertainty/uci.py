"""Seven small sets of values: deep evidential regression beside its rivals."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn import functional as F

from benchmarks.uncertainty.nets import (
    DROP,
    MEMBERS,
    PASSES,
    SEEDS,
    Lanes,
    evidential_loss,
    gaussian,
    train,
)
from benchmarks.whole_model import rounded
from ple_study.objective.evidence import nig_nll
from ple_study.schema import TaskSpec
from ple_study.tasks.evidential import EvidentialSpec

DATA = Path(os.environ.get("PLE_STUDY_DATA", "data"))
SETS = {
    "boston": "boston_housing.txt",
    "concrete": "Concrete_Data.xls",
    "energy": "ENB2012_data.xlsx",
    "kin8nm": "dataset_2175_kin8nm.csv.gz",
    "power": "Folds5x2_pp.xlsx",
    "wine": "winequality-red.csv",
    "yacht": "yacht_hydrodynamics.data",
}
PUBLISHED = {  # RMSE, NLL
    "boston": (3.06, 2.35),
    "concrete": (5.85, 3.01),
    "energy": (2.06, 1.39),
    "kin8nm": (0.09, -1.24),
    "power": (4.23, 2.81),
    "wine": (0.61, 0.89),
    "yacht": (1.57, 1.03),
}
ROUNDS, LONG = 40, 280  # epochs, as in the paper, and far more


def table(name: str) -> np.ndarray:
    """Inputs and, last, the value to be told; of energy, the cooling load."""
    path = DATA / "evidential_uci" / SETS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix in (".xls", ".xlsx"):
            return pd.read_excel(path).to_numpy(float)[:, _columns(name)]
        if path.suffix in (".txt", ".data"):
            return np.loadtxt(path)
        return pd.read_csv(path, sep=";" if name == "wine" else ",").to_numpy(float)


def _columns(name: str) -> Any:
    return [*range(8), 9] if name == "energy" else slice(None)


def uci(name: str, rounds: int = ROUNDS, batch: int = 0) -> dict[str, Any]:
    """By kind and seed: RMSE and NLL in the set's own units, coverage, ranks."""
    values = table(name)
    parts = [train_test_split(values, test_size=0.1, random_state=s) for s in range(5)]
    fits = [torch.tensor(a, dtype=torch.float32) for a, _ in parts]
    middle = torch.stack([a.mean(0) for a in fits])[:, None]
    spread = torch.stack([a.std(0).clamp(min=1e-6) for a in fits])[:, None]
    scaled = [
        (torch.tensor(np.stack(p), dtype=torch.float32) - middle) / spread
        for p in zip(*parts, strict=True)
    ]
    (x, y), (x_test, y_test) = ((p[..., :-1], p[..., -1]) for p in scaled)
    sd = spread[:, 0, -1].double()
    dims = (x.shape[2], 50)
    batch = batch or (8 if len(values) < 2_000 else 64)
    steps = rounds * y.shape[1] // batch
    tasks = [TaskSpec(name=f"seed {s}", kind="regression") for s in range(SEEDS)]
    found: dict[str, Any] = {"rows": len(values), "sd": sd.tolist()}
    for kind in ("evidential", "ensemble", "dropout"):
        torch.manual_seed(0)
        lanes = SEEDS * (MEMBERS if kind == "ensemble" else 1)
        net = Lanes(
            dims,
            tasks if kind == "evidential" else (lanes, 2),
            DROP if kind == "dropout" else 0.0,
        )
        loss = evidential_loss(tasks, EvidentialSpec())
        seen: list[tuple[Tensor, Tensor]] = []

        def watch(net: Lanes, kind: str = kind, seen: Any = seen) -> None:
            told = judged(net.eval(), kind, x_test, y_test, sd)
            seen.append((told["rmse"], told["nll"]))
            net.train()

        many = lanes // SEEDS
        train(
            net,
            x.repeat(many, 1, 1),
            y.repeat(many, 1),
            loss if kind == "evidential" else gaussian,
            steps,
            batch,
            watch,
        )
        told = judged(net, kind, x_test, y_test, sd)
        best = [torch.stack(own).min(0).values for own in zip(*seen, strict=True)]
        found[kind] = {k: rounded(v) for k, v in told.items()} | {
            "best_rmse": rounded(best[0]),
            "best_nll": rounded(best[1]),
        }
        if kind == "ensemble":
            alone = judged(net, "alone", x_test, y_test, sd)
            found["alone"] = {k: rounded(v) for k, v in alone.items()}
    return found


@torch.no_grad()
def judged(net: Lanes, kind: str, x: Tensor, y: Tensor, sd: Tensor) -> dict[str, Any]:
    """Everything of test rows, one number a seed."""
    y = y.double()
    if kind == "evidential":
        mu, nu, alpha, beta = torch.stack(list(net(x).values())).double().unbind(-1)
        nll = nig_nll(y, mu, nu, alpha, beta)
        scale = (beta * (1 + nu) / (nu * alpha)).sqrt()
        reach = torch.from_numpy(stats.t.ppf(0.95, 2 * alpha.numpy())) * scale
        noise = beta / (alpha - 1)
        scores = {"aleatoric": noise, "epistemic": noise / nu, "nu": nu}
    else:
        many = {"ensemble": MEMBERS, "alone": MEMBERS, "dropout": 1}[kind]
        if kind == "dropout":
            net.train()
        runs = [net(x.repeat(many, 1, 1)) for _ in range(PASSES if many == 1 else 1)]
        net.eval()
        said = torch.cat(runs).double().unflatten(0, (-1, SEEDS))
        said = said[:1] if kind == "alone" else said
        means, variances = said[..., 0], F.softplus(said[..., 1]) + 1e-6
        mu, noise = means.mean(0), variances.mean(0)
        unknown = means.var(0, correction=0)
        total = noise + unknown
        nll = F.gaussian_nll_loss(mu, y, total, full=True, reduction="none")
        reach = stats.norm.ppf(0.95) * total.sqrt()
        scores = {"aleatoric": noise, "epistemic": unknown}
    error = (y - mu).abs()
    ranks = {
        f"rank_{k}": torch.tensor([rank_of(*p) for p in zip(error, v, strict=True)])
        for k, v in scores.items()
        if k != "nu" and kind != "alone"
    }
    return {
        "rmse": error.square().mean(1).sqrt() * sd,
        "nll": nll.mean(1) + sd.log(),
        "covered": (error < reach).double().mean(1),
        **ranks,
    }


def rank_of(a: Tensor, b: Tensor) -> float:
    return float(stats.spearmanr(a.numpy(), b.numpy()).statistic)
