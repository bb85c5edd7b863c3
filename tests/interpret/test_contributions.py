"""What is asked and answered: which margin, against whom, of which customers."""

from dataclasses import replace

import pytest
import torch

from ple_study import fitted as answering
from ple_study.baselines import PLESpec
from ple_study.batch import tree_map
from ple_study.data.loader import Scaler
from ple_study.experts.mlp import MLPSpec
from ple_study.fitted import Fitted
from ple_study.interpret import coalitions
from ple_study.interpret.contributions import Contributions, contributions
from ple_study.interpret.margins import logit, margin, meaning
from tests.interpret.explained import (
    ABOUT,
    NAMES,
    WAYS,
    asked,
    background,
    by_hand,
    close,
    fitted,
)
from tests.test_model import FOUR

READOUTS = ("gate", "norm", "grad_block", "loo", "shapley", "ig")
each = pytest.mark.parametrize("readout", READOUTS)


def rows_of(found: Contributions, rows: list[int]) -> list[torch.Tensor]:
    parts = (found.raw, found.share, found.base, found.full, found.usual)
    return [p[rows] for p in (*parts, found.private, found.classes, found.present)]


@each
def test_names_shapes_and_shares(readout: str) -> None:
    own = fitted(double=False)
    found = contributions(own, asked(double=False), background(False), readout=readout)
    assert (found.readout, found.hold_gate) == (readout, False)
    assert found.tasks == NAMES
    assert found.experts == tuple(FOUR)
    assert found.raw.shape == (5, len(NAMES), len(FOUR))
    assert found.raw.dtype == torch.float64
    assert not found.raw.requires_grad
    close(found.share.sum(2), torch.ones(5, len(NAMES)).double())
    size = found.raw.abs()
    close(found.share, size / size.sum(2, keepdim=True))
    present = own.model.experts(own.scaler(asked(double=False))).present
    assert torch.equal(found.present, present)
    assert not present.all()


def test_shares_of_nothing_are_even() -> None:
    found = contributions(fitted(), asked(), background())
    nothing = replace(found, raw=torch.zeros_like(found.raw))
    close(nothing.share, torch.full_like(found.raw, 1 / len(FOUR)))


@each
def test_one_customer_alone_is_that_customer(readout: str) -> None:
    own, others = fitted(), background()
    together = contributions(own, asked(), others, readout=readout)
    for row in range(5):
        one = asked().rows(torch.tensor([row]))
        alone = contributions(own, one, others, readout=readout)
        close(rows_of(alone, [0]), rows_of(together, [row]), 1e-9)


@each
@pytest.mark.parametrize("rows", [1, 7, 40])
def test_pieces_change_nothing(
    readout: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, everyone = fitted(), list(range(5))
    whole = contributions(own, asked(), background(), readout=readout)
    monkeypatch.setattr(coalitions, "ROWS", rows)
    monkeypatch.setattr(answering, "CHUNK", 2)
    pieces = contributions(own, asked(), background(), readout=readout)
    close(rows_of(pieces, everyone), rows_of(whole, everyone), 1e-9)


def test_some_tasks_are_those_of_all() -> None:
    own, some = fitted(), ["brand", "ctr"]
    whole = contributions(own, asked(), background(), readout="gate")
    found = contributions(own, asked(), background(), readout="gate", tasks=some)
    assert found.tasks == ("brand", "ctr")
    for name in ("raw", "base", "full", "usual", "private", "classes"):
        close(getattr(found, name), getattr(whole, name)[:, [3, 0]])


def test_margins_are_log_odds_of_the_class() -> None:
    z = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    chosen = torch.tensor([0, 3, 1, 2, 3])
    p = z.softmax(2)[torch.arange(5), :, chosen]
    close(margin(z, chosen), (p / (1 - p)).log())
    close(margin(z + 7, chosen), margin(z, chosen))
    close(margin(z[..., :1], chosen), z[..., 0])
    assert meaning("binary", logit(0.3)) == pytest.approx(0.3)
    assert meaning("regression", -5.0) == -5.0


def test_a_class_can_be_asked_for() -> None:
    own, batch, others = fitted(), asked(), background()
    given = {"channel": torch.tensor([0, 1, 2, 3, 0]), "brand": 8}
    found = contributions(own, batch, others, readout="loo", classes=given)
    wanted = torch.zeros(5, len(NAMES), dtype=torch.long)
    wanted[:, 1], wanted[:, 3] = given["channel"], 8
    assert torch.equal(found.classes, wanted)
    close(found.full, by_hand(own, batch, others, range(4), wanted))
    close(found.base, by_hand(own, batch, others, (), wanted))
    answers = own.predict(batch)
    close(found.full[:, 3].sigmoid(), answers["brand"][:, 8])
    plain = contributions(own, batch, others, readout="loo")
    best = torch.stack([answers[name].argmax(1) for name in NAMES], dim=1)
    assert torch.equal(plain.classes, best)


def test_the_usual_answer_is_the_backgrounds_mean() -> None:
    own = fitted()
    found = contributions(own, asked(), background(), readout="gate")
    answers = own.predict(background())
    for k, name in enumerate(NAMES):
        wanted = answers[name].mean(0)[found.classes[:, k]]
        close(found.usual[:, k], wanted)


def test_asking_leaves_the_model_as_it_was() -> None:
    tower = MLPSpec(dims=(6,), dropout=0.5)
    own = fitted(replace(WAYS["both"], tower=tower), double=False)
    own.model.train()
    before = tree_map(torch.clone, dict(own.model.state_dict()))
    batch, others = asked(double=False), background(False)
    first, again = (contributions(own, batch, others, hold_gate=True) for _ in "ab")
    contributions(own, batch, others, readout="grad_block")
    contributions(own, batch, others, readout="ig")
    assert own.model.training
    assert torch.equal(first.raw, again.raw)
    assert all(p.grad is None for p in own.model.parameters())
    assert all(map(torch.equal, before.values(), own.model.state_dict().values()))
    for module in own.model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_an_error_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    own = fitted()
    own.model.train()
    said = own.model.answer
    calls = []

    def fails(*given: object) -> object:
        calls.append(given)
        if len(calls) > 2:
            raise RuntimeError("stop")
        return said(*given)

    monkeypatch.setattr(own.model, "answer", fails)
    with pytest.raises(RuntimeError, match="stop"):
        contributions(own, asked(), background(), hold_gate=True)
    assert own.model.training
    assert not own.model.gates._forward_pre_hooks


@pytest.mark.plain
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"readout": "shaply"}, "Found 'shaply'. Did you mean 'shapley'"),
        ({"readout": "gate", "hold_gate": True}, "replaced. Found the readout 'gate'"),
        ({"readout": "grad_block", "hold_gate": True}, "readout 'grad_block'"),
        ({"tasks": ["crt"]}, "Unknown task 'crt'.*Did you mean 'ctr'"),
        ({"tasks": "ctr"}, "list of one name or more. Found 'ctr'"),
        ({"tasks": []}, r"list of one name or more. Found \[\]"),
        ({"tasks": ["ctr", "ctr"]}, r"Found more than once: \['ctr'\]"),
        ({"classes": {"ctr": 0}}, r"\['channel', 'brand'\]. Found 'ctr'"),
        ({"classes": {"chanel": 0}}, "Did you mean 'channel'"),
        ({"classes": {"channel": 4}}, r"lie in 0 .. 3. Found 4 .. 4"),
        ({"classes": {"channel": -1}}, r"lie in 0 .. 3. Found -1 .. -1"),
        ({"classes": {"channel": torch.zeros(4).long()}}, r"5 rows. Found .*\(4,\)"),
        ({"classes": {"channel": 1.5}}, "a whole number.* Found torch.float32"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        contributions(fitted(), asked(), background(), **options)


@pytest.mark.parametrize("readout", ["gate", "norm"])
def test_who_has_no_gate_shows_none(readout: str) -> None:
    own = fitted(WAYS["neither"])
    with pytest.raises(ValueError, match="Found a model with neither stage"):
        contributions(own, asked(), background(), readout=readout)


def test_nobody_and_other_models_are_refused() -> None:
    nobody = asked().rows(torch.tensor([], dtype=torch.long))
    for pair in ((nobody, background()), (asked(), nobody)):
        with pytest.raises(ValueError, match="Found an empty batch"):
            contributions(fitted(), *pair)
    spec = PLESpec()
    plain = Fitted(spec.build(ABOUT), spec, ABOUT, Scaler.fit(ABOUT, asked()))
    with pytest.raises(ValueError, match="Found a PLE"):
        contributions(plain, asked(), background())
