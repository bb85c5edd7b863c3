"""Small pictures of digits, and strangers among them."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from scipy import ndimage
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
)

from benchmarks.uncertainty.nets import (
    BATCH,
    DROP,
    MEMBERS,
    PASSES,
    SEEDS,
    Lanes,
    evidential_loss,
    train,
)
from benchmarks.whole_model import rounded
from ple_study.objective.evidence import opinion
from ple_study.schema import TaskSpec
from ple_study.tasks.evidential import EvidentialSpec

ANGLES = tuple(range(0, 91, 15))
KNOWN, EPOCHS = 7, 60


def digits() -> dict[str, Any]:
    """By kind: how right and how calibrated, and who is thought a stranger."""
    images, labels = load_digits(return_X_y=True)
    parts = [
        train_test_split(
            np.arange(len(labels)), test_size=0.2, random_state=s, stratify=labels
        )
        for s in range(SEEDS)
    ]
    x_all = torch.tensor(images / 16, dtype=torch.float32)
    y_all = torch.tensor(labels)
    fit, test = (
        torch.tensor(np.stack(p), dtype=torch.long) for p in zip(*parts, strict=True)
    )
    turned = {a: turn(images, a) for a in ANGLES}
    found: dict[str, Any] = {"angles": ANGLES, "kinds": {}}
    for kind in ("sensoy", "full", "source", "softmax", "ensemble", "dropout"):
        ten = learner(kind, x_all[fit], y_all[fit], 10)
        p, scores = ten(x_all[test])
        y = y_all[test]
        own: dict[str, Any] = {
            "accuracy": rounded((p.argmax(-1) == y).double().mean(1)),
            "log_loss": rounded(_log_loss(p, y)),
            "ece": [round(ece(*pair), 4) for pair in zip(p, y, strict=True)],
            "bins": _bins(p, y),
            "auc": {},
        }
        quarter = turned[90][test]
        far = ten(quarter)[1]
        own["auc"]["turned"] = {k: _aucs(v, far[k]) for k, v in scores.items()}
        own["errors"], own["scores"] = [], {k: [] for k in scores}
        for a in ANGLES:
            p, more = ten(turned[a][test])
            own["errors"].append(rounded((p.argmax(-1) != y).double().mean(1)))
            for k, v in more.items():
                own["scores"][k].append(rounded(v.mean(1)))
        some = [rows[y_all[rows] < KNOWN] for rows in fit]
        few = torch.stack([rows[: min(map(len, some))] for rows in some])
        seven = learner(kind, x_all[few], y_all[few], KNOWN)
        each = [
            [rows[own_rows] for rows, own_rows in zip(test, wanted, strict=True)]
            for wanted in (y < KNOWN, y >= KNOWN)
        ]
        known, strange = (
            torch.stack([rows[: min(map(len, group))] for rows in group])
            for group in each
        )
        near, far = seven(x_all[known])[1], seven(x_all[strange])[1]
        own["auc"]["classes"] = {k: _aucs(v, far[k]) for k, v in near.items()}
        found["kinds"][kind] = own
        print("digits", kind, own["auc"], own["accuracy"], own["ece"], flush=True)
    return found


def turn(images: np.ndarray, angle: int) -> Tensor:
    square = images.reshape(-1, 8, 8) / 16
    if angle:
        square = ndimage.rotate(square, angle, axes=(1, 2), reshape=False, order=1)
    return torch.tensor(square.reshape(-1, 64).clip(0, 1), dtype=torch.float32)


def learner(kind: str, x: Tensor, y: Tensor, classes: int) -> Callable[[Tensor], Any]:
    """Trains; answers probabilities and scores of doubt, ``[seed, row]`` each."""
    torch.manual_seed(0)
    many = MEMBERS if kind == "ensemble" else 1
    steps = EPOCHS * (y.shape[1] // BATCH)
    dims = (64, 64, 64)
    if kind in ("sensoy", "full", "source"):
        spec = EvidentialSpec(tilde=cast(Any, kind))
        tasks = [
            TaskSpec(name=f"seed {s}", kind="multiclass", classes=classes)
            for s in range(SEEDS)
        ]
        loss = evidential_loss(tasks, spec)
        net = train(Lanes(dims, tasks), x, y.float(), loss, steps)

        @torch.no_grad()
        def evidential(x: Tensor) -> Any:
            said = net(x)
            told = [opinion(task, said[task.name]) for task in tasks]
            p, u, _, mi = (torch.stack(v) for v in zip(*told, strict=True))
            return p.double(), _doubts(p) | {"u": u, "mi": mi}

        return evidential

    def entropy(said: Tensor, y: Tensor, _: int) -> Tensor:
        return F.cross_entropy(said.mT, y, reduction="none").mean(1).sum()

    heads = (SEEDS * many, classes)
    plain = Lanes(dims, heads, DROP if kind == "dropout" else 0.0)
    net = train(plain, x.repeat(many, 1, 1), y.repeat(many, 1), entropy, steps)

    @torch.no_grad()
    def several(x: Tensor) -> Any:
        net.train(kind == "dropout")
        passes = PASSES if kind == "dropout" else 1
        runs = [net(x.repeat(many, 1, 1)).double().softmax(-1) for _ in range(passes)]
        ps = torch.cat(runs).unflatten(0, (-1, SEEDS))
        p = ps.mean(0)
        doubts = _doubts(p)
        if len(ps) > 1:
            within = torch.special.entr(ps).sum(-1).mean(0)
            doubts["mi"] = torch.special.entr(p).sum(-1) - within
        return p, doubts

    return several


def _doubts(p: Tensor) -> dict[str, Tensor]:
    return {"max": 1 - p.max(-1).values, "entropy": torch.special.entr(p).sum(-1)}


def _aucs(near: Tensor, far: Tensor) -> list[float]:
    pairs = zip(near, far, strict=True)
    return [
        round(float(roc_auc_score([0] * len(a) + [1] * len(b), torch.cat([a, b]))), 4)
        for a, b in pairs
    ]


def _log_loss(p: Tensor, y: Tensor) -> Tensor:
    return -p.gather(-1, y[..., None])[..., 0].clamp(min=1e-12).log().mean(-1)


def ece(p: Tensor, y: Tensor) -> float:
    return float(multiclass_calibration_error(p, y, p.shape[-1], n_bins=15))


def _bins(p: Tensor, y: Tensor, bins: int = 15) -> list[list[float]]:
    """Of all seeds together: rows, mean confidence and accuracy by bin."""
    sure, hit = p.max(-1).values.flatten(), (p.argmax(-1) == y).flatten().double()
    place = (sure * bins).long().clamp(max=bins - 1)
    rows = [place == b for b in range(bins)]
    return [
        [int(r.sum()), *(round(float(v[r].mean()), 4) for v in (sure, hit))]
        for r in rows
        if r.any()
    ]
