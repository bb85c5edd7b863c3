"""Agreement against scipy, deletion curves against loops."""

from dataclasses import replace

import pytest
import torch
from scipy.stats import rankdata, spearmanr
from torch import Tensor

from ple_study.batch import Rows
from ple_study.fitted import Fitted
from ple_study.interpret import coalitions
from ple_study.interpret.contributions import Contributions, contributions
from ple_study.interpret.faithful import agreement, deletion, ranks
from tests.interpret.explained import (
    NAMES,
    TWO,
    WAYS,
    asked,
    background,
    close,
    fitted,
)
from tests.test_model import FOUR


def known(size: int = 9) -> Rows:
    """With labels and weights; some were not observed."""
    draw = torch.Generator().manual_seed(3)
    batch = asked(size)
    labels = {
        "ctr": torch.randint(2, (size,), generator=draw).double(),
        "channel": torch.randint(4, (size,), generator=draw).double(),
        "ltv": 3 + 2 * torch.randn(size, generator=draw).double(),
        "brand": torch.full((size,), torch.nan).double(),
    }
    labels["ltv"][2] = labels["ctr"][0] = torch.nan
    return Rows(batch, labels, {"ctr": 0.5 + torch.rand(size, generator=draw).double()})


def found(own: Fitted, rows: Rows, **options: object) -> Contributions:
    return contributions(own, rows.batch, background(), readout="loo", **options)


def test_ranks_are_averaged_over_equals() -> None:
    values = torch.randint(4, (6, 3, 8), generator=torch.Generator().manual_seed(0))
    wanted = torch.from_numpy(rankdata(values.numpy(), axis=-1))
    close(ranks(values.double()), wanted)


def test_agreement_is_spearmans_correlation() -> None:
    own, rows = fitted(), known()
    one, other = found(own, rows), found(own, rows, hold_gate=True)
    other.raw[3, 1, 0] = -other.raw[3, 1, 2]  # equal shares, of other signs
    other.raw[4, 2] = 0.0
    rho = agreement(one, other)
    for row in range(9):
        for k in range(len(NAMES)):
            if (row, k) == (4, 2):
                assert rho[row, k].isnan()
                continue
            wanted = spearmanr(one.raw[row, k].abs(), other.raw[row, k].abs())
            assert rho[row, k].item() == pytest.approx(wanted.statistic)
    close(agreement(one, one), torch.ones(9, len(NAMES)).double())


@pytest.mark.parametrize("change", ["rows", "tasks", "experts"])
def test_what_cannot_agree(change: str) -> None:
    one = found(fitted(), known())
    others = {
        "rows": lambda: found(fitted(), known(8)),
        "tasks": lambda: found(fitted(), known(), tasks=["ctr"]),
        "experts": lambda: replace(one, experts=("a", "b", "c", "d")),
    }
    with pytest.raises(ValueError, match=r"tasks and rows\. Found .* and "):
        agreement(one, others[change]())


@torch.no_grad()
def losses(own: Fitted, rows: Rows, silent: list[list[list[int]]]) -> list[float]:
    """The mean loss of each task when these experts of each row are removed."""
    model, batch = own.model, own.scaler(rows.batch)
    said, present = model.experts(batch)
    means = [m.mean(0) for m in model.experts(own.scaler(background())).blocks]
    values = []
    for k, name in enumerate(NAMES):
        total = weight = 0.0
        for row in range(len(rows)):
            y = rows.labels[name][row]
            if y.isnan():
                continue
            one = torch.tensor([row])
            blocks = [
                means[i][None] if i in silent[row][k] else block[one]
                for i, block in enumerate(said)
            ]
            logits = model.answer(batch.rows(one), blocks, present[one]).logits
            w = rows.weights[name][row] if name in rows.weights else 1.0
            total += float(w * loss(name, logits[name][0], y))
            weight += float(w)
        values.append(total / weight if weight else float("nan"))
    return values


def loss(name: str, z: Tensor, y: Tensor) -> Tensor:
    if name == "ltv":
        return ((z[0] - y) / 2.0) ** 2
    if name == "ctr":
        p = 1 / (1 + (-z[0]).exp())
        return -(y * p.log() + (1 - y) * (1 - p).log())
    return -(z.exp() / z.exp().sum())[int(y)].log()


@pytest.mark.parametrize("rows_at_once", [4096, 40])
def test_deletion_is_loops(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalitions, "ROWS", rows_at_once)
    own, rows = fitted(), known()
    order = found(own, rows)
    curves = deletion(own, rows, order)
    assert curves.tasks == NAMES
    first = [
        [sorted(range(4), key=lambda i, s=share: -s[i]) for share in row.tolist()]
        for row in order.share
    ]
    for step in range(5):
        most = [[own_order[:step] for own_order in row] for row in first]
        least = [[own_order[4 - step :] for own_order in row] for row in first]
        for curve, silent in ((curves.most, most), (curves.least, least)):
            wanted = torch.tensor(losses(own, rows, silent), dtype=torch.float64)
            torch.testing.assert_close(
                curve[:, step], wanted, atol=1e-9, rtol=1e-9, equal_nan=True
            )
    for curve in curves[1:]:
        assert curve[3].isnan().all()
        close(curve[:3, [0, 4]], curves.most[:3, [0, 4]])
    assert not own.model.gates._forward_pre_hooks


def test_a_held_order_is_deleted_with_held_gates() -> None:
    own, rows = fitted(), known()
    held = found(own, rows, hold_gate=True)
    anew = deletion(own, rows, replace(held, hold_gate=False))
    curves = deletion(own, rows, held)
    close(curves.most[:3, 0], anew.most[:3, 0])
    assert (curves.most[:3, 4] - anew.most[:3, 4]).abs().min() > 1e-6


def test_a_random_order_is_each_customers_own() -> None:
    """Over many draws, the mean of both orders of two experts; never one for all."""
    own = fitted(replace(WAYS["both"], experts=TWO), prefer=False)
    rows = known(12)
    order = found(own, rows)
    ways = [[[[i]] * len(NAMES)] * 12 for i in range(2)]
    both = [torch.tensor(losses(own, rows, silent)) for silent in ways]
    drawn = [deletion(own, rows, order, seed=s).random[:3, 1] for s in range(30)]
    draws = torch.stack(drawn)
    mean = (both[0] + both[1])[:3] / 2
    apart = draws.std(0) / 30**0.5
    assert ((draws.mean(0) - mean).abs() < 4 * apart).all()
    for k in range(3):
        assert len({round(float(d[k]), 9) for d in draws}) > 10
    again = deletion(own, rows, order, seed=7).random
    torch.testing.assert_close(again[:3, 1], draws[7], atol=0, rtol=0)


def test_whose_order_it_is_not() -> None:
    own = fitted()
    order = found(own, known())
    with pytest.raises(ValueError, match=r"experts, 8 x .*Found 9 x"):
        deletion(own, known(8), order)
    other = replace(order, experts=("a", "b", "c", "d"))
    with pytest.raises(ValueError, match=r"rows and experts.* Found 9 x \['a'"):
        deletion(own, known(), other)
    assert order.experts == tuple(FOUR)
