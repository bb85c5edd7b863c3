"""Small models of every way through the gates, and their answers by definition."""

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor

from ple_study.batch import Batch
from ple_study.data.loader import Scaler
from ple_study.experts.mlp import MLPSpec
from ple_study.fitted import Fitted
from ple_study.gates.routing import GateSpec
from ple_study.gates.stages import StagesSpec
from ple_study.model import HeterogeneousPLESpec
from ple_study.schema import TaskSpec
from tests import laws
from tests.test_model import FOUR, SCHEMA, SPEC, built, people

ABOUT = replace(
    SCHEMA,
    tasks=(
        *(replace(t, scale=(3.0, 2.0)) if t.name == "ltv" else t for t in SCHEMA.tasks),
        TaskSpec(name="brand", kind="contrastive", classes=9, dim=3),
    ),
)
NAMES = ABOUT.task_names
SMOOTH = StagesSpec(
    private=2,
    expert=MLPSpec(dims=(8, 7), activation="silu"),
    gate=GateSpec(scaled=True),
)
WAYS = {
    which: replace(SPEC, gates=replace(SMOOTH, which=which))
    for which in ("both", "stage1_only", "stage2_only", "neither")
}
TWO = {name: FOUR[name] for name in ("lightgcn", "unified_hgcn")}


def bare(which: str, **options: object) -> HeterogeneousPLESpec:
    """What the gates answer goes straight to the towers."""
    own = replace(WAYS[which], modes=None, basket=None, transfer=None)
    return replace(own, **options)


def fitted(
    spec: HeterogeneousPLESpec = WAYS["both"], double: bool = True, prefer: bool = True
) -> Fitted:
    tasks = ABOUT.tasks if prefer else [replace(t, experts=()) for t in ABOUT.tasks]
    about = replace(ABOUT, tasks=tuple(tasks))
    model = built(spec, schema=about)
    scaler = Scaler.fit(about, people(40))
    return Fitted(model.double() if double else model, spec, about, scaler)


def asked(size: int = 5, double: bool = True) -> Batch:
    """Customer 1 and 3 lack what some experts read."""
    return laws.double(people(size)) if double else people(size)


def background(double: bool = True) -> Batch:
    """Others, in other number; the first lacks what one expert reads."""
    rows = people(17).rows(torch.arange(3, 17))
    return laws.double(rows) if double else rows


def log_odds(logits: Tensor, chosen: int) -> Tensor:
    if len(logits) == 1:
        return logits[0]
    p = logits.exp() / logits.exp().sum()
    return (p[chosen] / (1 - p[chosen])).log()


@torch.no_grad()
def by_hand(
    own: Fitted,
    batch: Batch,
    others: Batch,
    heard: Collection[int],
    chosen: Tensor | None = None,
) -> Tensor:
    """[batch, task]: the margins where only these experts are heard, row by row."""
    model = own.model
    said, present = model.experts(own.scaler(batch))
    unheard, _ = model.experts(own.scaler(others))
    means = [sum(row for row in block) / len(block) for block in unheard]
    whole = model.answer(own.scaler(batch), said, present).logits
    rows = []
    for row in range(len(batch)):
        one = torch.tensor([row])
        blocks = [
            block[one] if i in heard else mean[None]
            for i, (block, mean) in enumerate(zip(said, means, strict=True))
        ]
        logits = model.answer(own.scaler(batch.rows(one)), blocks, present[one]).logits
        best = [z[row].argmax() for z in whole.values()]
        at = best if chosen is None else chosen[row]
        pairs = zip(logits.values(), at, strict=True)
        rows.append(torch.stack([log_odds(z[0], int(c)) for z, c in pairs]))
    return torch.stack(rows)


def close(found: object, wanted: object, within: float = 1e-10) -> None:
    torch.testing.assert_close(found, wanted, atol=within, rtol=within)
