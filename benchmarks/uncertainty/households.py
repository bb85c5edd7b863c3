"""The households: whom to doubt, to drop, and to hand to a fall-back."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from scipy import stats
from torch import Tensor, nn
from torchmetrics.functional.classification import (
    binary_calibration_error,
)

from benchmarks.uncertainty.digits import ece
from benchmarks.uncertainty.nets import MEMBERS
from benchmarks.uncertainty.uci import rank_of
from benchmarks.whole_model import households, rounded
from ple_study.batch import Batch, Rows
from ple_study.export import load
from ple_study.fitted import Fitted, probabilities
from ple_study.objective.evidence import Opinion, evidence_losses, opinion
from ple_study.schema import TaskSpec
from ple_study.tasks.evidential import EvidentialHeads, EvidentialSpec

DROPPED = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
EPOCHS = 60  # that heads alone learn for


def journey(keep: Path, seeds: list[int]) -> list[dict[str, Any]]:
    """Of the kept models, one entry a seed; ensembles: a seed's and the next two."""
    study = households()
    test, fit = study.part("test"), study.part("train")
    fitted = {s: load(keep / f"journey_{s}") for s in seeds}
    towers = {s: f.predict(test.batch) for s, f in fitted.items()}
    runs = []
    for place, seed in enumerate(seeds):
        trio = [seeds[(place + n) % len(seeds)] for n in range(MEMBERS)]
        torch.manual_seed(seed)
        shaken = by_dropout(fitted[seed], test.batch, passes=10)
        now = fitted[seed].output(test.batch).evidence
        later = longer(fitted[seed], fit, test)
        run: dict[str, Any] = {"seed": seed, "tasks": {}}
        for task in study.schema.tasks:
            if task.name not in now:
                continue
            y = test.labels[task.name]
            seen = ~y.isnan()
            name = task.name
            ops = {
                when: Opinion(*(part[seen] for part in opinion(task, e[name])))
                for when, e in (("", now), (", longer", later))
            }
            answers = {
                "towers": towers[seed][name][seen],
                "ensemble": torch.stack([towers[s][name] for s in trio]).mean(0)[seen],
                "dropout": shaken[name][seen],
            }
            if task.kind == "regression":
                evidence = {"now": now[name][seen], "longer": later[name][seen]}
                run["tasks"][name] = {"kind": task.kind} | {
                    when: regression(task, e, answers, y[seen])
                    for when, e in evidence.items()
                }
            else:
                base = fit.labels[name]
                run["tasks"][name] = classes(
                    task, ops, answers, y[seen].long(), base[~base.isnan()].long()
                )
        runs.append(run)
        print("journey", seed, flush=True)
    return runs


def by_dropout(fitted: Fitted, batch: Batch, passes: int) -> dict[str, Tensor]:
    """Mean probabilities of passes in which all that is random stays so.

    The norms of this model are layers' own, so that train mode changes dropout alone.
    """
    model, total = fitted.model, {}
    assert not any(isinstance(m, nn.BatchNorm1d) for m in model.modules())
    scaled = fitted.scaler(batch)
    model.train()
    for _ in range(passes):
        with torch.no_grad():
            logits = model(scaled).logits
        for k, p in probabilities(fitted.schema.tasks, logits).items():
            total[k] = total.get(k, 0) + p / passes
    model.eval()
    return total


def longer(fitted: Fitted, rows: Rows, test: Rows) -> dict[str, Tensor]:
    """Evidence of test rows, after the heads alone have learnt for 60 epochs more.

    Detached heads train nothing else, so that what they read can be kept.
    """
    heads = copy.deepcopy(cast(EvidentialHeads, fitted.model.evidence))
    reads: list[list[Tensor]] = []
    hook = cast(nn.Module, fitted.model.evidence).register_forward_pre_hook(
        lambda _, given: reads.append(given[0])
    )
    for part in (rows, test):
        fitted.output(part.batch)
    hook.remove()
    own, fresh = (torch.stack(list(read)) for read in reads)
    optimiser = torch.optim.Adam(heads.parameters(), lr=1e-2)
    steps = EPOCHS * (own.shape[1] // 256)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    torch.manual_seed(0)
    for epoch in range(EPOCHS):
        order = torch.randperm(own.shape[1])
        for part in order[: len(order) // 256 * 256].split(256):
            optimiser.zero_grad()
            found = evidence_losses(
                fitted.schema.tasks,
                heads(list(own[:, part])),
                {k: v[part] for k, v in rows.labels.items()},
                {k: v[part] for k, v in rows.weights.items()},
                spec=EvidentialSpec(),
                epoch=epoch,
            )
            found.values[found.present].sum().backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        return heads(list(fresh))


def classes(
    task: TaskSpec,
    ops: Mapping[str, Opinion],
    answers: Mapping[str, Tensor],
    y: Tensor,
    base: Tensor,
) -> dict[str, Any]:
    """Calibration of each answer; whom to drop, and what that leaves."""
    binary = task.kind == "binary"
    ps = {k: torch.cat([1 - p, p], 1) if binary else p for k, p in answers.items()}
    for when, op in ops.items():
        ps[f"evidential{when}"] = op.answer.flip(1) if binary else op.answer
    ps = {k: p.double() for k, p in ps.items()}
    share = base.bincount(minlength=ps["towers"].shape[1]).double()
    prior = (share / share.sum()).clamp(min=1e-6)
    doubts = {
        **{f"u{when}": op.vacuity for when, op in ops.items()},
        **{f"mutual information{when}": op.epistemic for when, op in ops.items()},
        **{
            f"entropy{when}": torch.special.entr(ps[f"evidential{when}"]).sum(1)
            for when in ops
        },
        **{f"max, {k}": 1 - p.max(1).values for k, p in ps.items()},
    }
    p = ps["towers"]
    loss = _rows_loss(p, y)
    right = (p.argmax(1) == y).double()
    fallback = -prior.log()[y]
    usual = (prior.argmax() == y).double()
    curves = {}
    for name, doubt in doubts.items():
        order = doubt.double().argsort(stable=True)
        cut = [round(len(y) * (1 - share)) for share in DROPPED]
        curves[name] = {
            "accuracy": [round(float(right[order[:n]].mean()), 5) for n in cut],
            "log_loss": [round(float(loss[order[:n]].mean()), 5) for n in cut],
            "handed": [round(float(_handed(loss, fallback, order, n)), 5) for n in cut],
            "handed_accuracy": [
                round(float(_handed(right, usual, order, n)), 5) for n in cut
            ],
        }
    return {
        "kind": task.kind,
        "rows": len(y),
        "most": round(float(share.max() / share.sum()), 4),
        "ece": {k: round(_ece_of(q, y, binary), 4) for k, q in ps.items()},
        "log_loss": {
            k: round(float(_rows_loss(q, y).mean()), 4) for k, q in ps.items()
        },
        "u": {k: round(float(v.mean()), 4) for k, v in doubts.items() if k[0] == "u"},
        "curves": curves,
    }


def _handed(own: Tensor, other: Tensor, order: Tensor, n: int) -> Tensor:
    return torch.cat([own[order[:n]], other[order[n:]]]).mean()


def _rows_loss(p: Tensor, y: Tensor) -> Tensor:
    return -p.gather(1, y[:, None])[:, 0].clamp(min=1e-7).log()


def _ece_of(p: Tensor, y: Tensor, binary: bool) -> float:
    return (
        float(binary_calibration_error(p[:, 1].contiguous(), y, n_bins=15))
        if binary
        else ece(p, y)
    )


def regression(
    task: TaskSpec, evidence: Tensor, answers: Mapping[str, Tensor], y: Tensor
) -> dict[str, Any]:
    """Coverage of the 90 % interval of the Student-t, and what ranks errors."""
    op, e = opinion(task, evidence), evidence.double()
    _, nu, alpha, beta = e.unbind(1)
    scale = (beta * (1 + nu) / (nu * alpha)).sqrt() * task.scale[1]
    reach = torch.from_numpy(stats.t.ppf(0.95, 2 * alpha.numpy())) * scale
    said = {**answers, "evidential": op.answer}
    errors = {k: (v[:, 0].double() - y.double()).abs() for k, v in said.items()}
    scores = {"aleatoric": op.aleatoric, "epistemic": op.epistemic}
    spread = nu.quantile(torch.tensor([0.05, 0.5, 0.95]).double())
    return {
        "rows": len(y),
        "covered": round(float((errors["evidential"] < reach).double().mean()), 4),
        "mae": {k: round(float(v.mean()), 4) for k, v in errors.items()},
        "rank": {
            k: round(rank_of(errors["evidential"], v), 4) for k, v in scores.items()
        },
        "rank_towers": {
            k: round(rank_of(errors["towers"], v), 4) for k, v in scores.items()
        },
        "nu": rounded(spread),
    }
