"""A fit finds what was planted, is its own, and keeps its latents alive."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from ple_study.interpret.dictionary import principal
from ple_study.interpret.sae import (
    SAESpec,
    SparseAutoencoder,
    fit_sae,
    max_cosines,
    report,
    sae_loss,
)
from ple_study.interpret.sae.fitting import _Run
from tests.interpret.sae.planted import DIM, ON, planted

X, _, DIRECTIONS = planted(3000)
SMALL = {"epochs": 2, "batch_size": 100}


def weights(sae: SparseAutoencoder) -> Tensor:
    return torch.cat([p.detach().flatten() for p in sae.parameters()])


@pytest.mark.parametrize(
    ("tied", "activation"),
    [(True, "top_k"), (False, "top_k"), (False, "relu"), (True, "relu")],
)
def test_planted_directions_are_found_and_components_are_not_they(tied, activation):
    spec = SAESpec(expansion=2, tied=tied, activation=activation, k=ON)
    sae, history = fit_sae(X, spec, epochs=30, batch_size=100, lr=3e-3)
    assert max_cosines(DIRECTIONS, sae.directions).mean() > 0.95
    components = principal(sae.standardise(X))
    floor = max_cosines(DIRECTIONS, torch.cat([components, -components])).mean()
    assert floor < 0.7
    found = report(sae, planted(1000, seed=2)[0])
    assert found.explained_variance > 0.65
    assert found.mean_l0 == pytest.approx(ON, rel=0.1)
    assert found.dead_share < 0.1
    assert [entry["epoch"] for entry in history] == list(range(1, 31))
    assert history[-1]["error"] < 0.7 * history[0]["error"]


def test_the_first_codes_are_as_sparse_as_asked_for() -> None:
    sae, (first,) = fit_sae(X, SAESpec(k=5), epochs=1, batch_size=3000, lr=1e-9)
    assert first["l0"] == pytest.approx(5, rel=0.1)  # biases are of 1024 rows
    assert first["error"] == pytest.approx(sae_loss(sae(X)).item(), rel=1e-4)
    torch.testing.assert_close(sae.pre_bias, torch.zeros(DIM), atol=1e-6, rtol=0)
    assert first["l1"] == pytest.approx(-sae.bias[0].item(), rel=0.01)


def test_the_penalty_follows_the_count() -> None:
    torch.manual_seed(0)
    run = _Run(SAESpec(k=5).build(DIM), X[:200], 1e-3, 200)
    for _ in range(3):
        before = float(run.l1)
        _, count = run.step(torch.arange(100)).tolist()
        off = torch.tensor(count / 5).log().clamp(-1, 1)
        assert float(run.l1) == pytest.approx(before * float((0.02 * off).exp()))
    for bias, way in ((-50.0, -1), (50.0, 1)):
        with torch.no_grad():
            run.sae.bias.fill_(bias)
        before = float(run.l1)
        _, count = run.step(torch.arange(100)).tolist()
        assert count == (0 if way < 0 else 4 * DIM)
        assert float(run.l1 / before) == pytest.approx(math.exp(0.02 * way))
    fixed = _Run(SAESpec(l1=0.3).build(DIM), X[:200], 1e-3, 200)
    fixed.step(torch.arange(100))
    assert float(fixed.l1) == pytest.approx(0.3)
    assert not SAESpec(l1=0.3).build(DIM).bias.any()


def test_a_larger_penalty_is_a_sparser_code() -> None:
    found = [
        report(fit_sae(X, SAESpec(l1=l1), epochs=8, batch_size=100, lr=3e-3).sae, X)
        for l1 in (0.001, 1.0, 3.0)
    ]
    for less, more in pairwise(found):
        assert more.mean_l0 < 0.9 * less.mean_l0
        assert more.explained_variance < less.explained_variance


def test_stretching_the_decoder_is_no_way_around_the_penalty(monkeypatch):
    """z / c with c W_dec has the same x^ and a smaller penalty, if it is let."""
    spec = SAESpec(tied=False, l1=0.5)
    options = {"epochs": 15, "batch_size": 100, "lr": 1e-2}
    closed, honest = fit_sae(X, spec, **options)
    norms = closed.decoder.detach().norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(4 * DIM), atol=1e-6, rtol=0)
    for name in ("hold_norms", "restore_norms"):
        monkeypatch.setattr(SparseAutoencoder, name, lambda _: None)
    opened, dodging = fit_sae(X, spec, **options)
    used = opened(X).codes.sum(0) > 0
    assert opened.decoder[used].norm(dim=1).mean() > 1.5
    assert opened(X).codes.sum() < 0.8 * closed(X).codes.sum()
    assert dodging[-1]["error"] < 0.9 * honest[-1]["error"]


def test_a_seed_is_a_fit_and_the_callers_numbers_stay() -> None:
    state = torch.get_rng_state()
    one, again, other = (fit_sae(X, SAESpec(k=5), seed=s, **SMALL) for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(weights(one.sae), weights(again.sae))
    assert one.history == again.history
    assert not torch.equal(weights(one.sae), weights(other.sae))


def test_no_gradient_reaches_an_expert_whatever_the_mode() -> None:
    torch.manual_seed(0)
    expert = nn.Linear(DIM, 9)
    blocks = [expert(X[:300]), X[:300].clone().requires_grad_()]
    wanted = fit_sae(blocks, SAESpec(k=5), **SMALL).sae
    assert expert.weight.grad is None
    assert blocks[1].grad is None
    assert all(p.requires_grad and p.is_leaf for p in wanted.parameters())
    with torch.no_grad():
        assert torch.equal(
            weights(fit_sae(blocks, SAESpec(k=5), **SMALL).sae), weights(wanted)
        )
    with torch.inference_mode():
        found = fit_sae([expert(X[:300]), X[:300]], SAESpec(k=5), **SMALL).sae
    assert torch.equal(weights(found), weights(wanted))
    wide = [block.detach().double() for block in blocks]
    found = fit_sae(wide, SAESpec(k=5), **SMALL).sae
    assert found.encoder.dtype == torch.float32
    assert torch.equal(weights(found), weights(wanted))


def test_units_are_those_of_the_rows_it_was_fitted_to() -> None:
    blocks = [5 + 100 * X[:300, :7], X[:300, 7:]]
    sae = fit_sae(blocks, SAESpec(k=5), **SMALL).sae
    plain = fit_sae([X[:300, :7], X[:300, 7:]], SAESpec(k=5), **SMALL).sae
    torch.testing.assert_close(sae.mean[:7], 5 + 100 * plain.mean[:7])
    torch.testing.assert_close(sae.std[:7], 100 * plain.std[:7])
    assert report(sae, blocks).explained_variance == pytest.approx(
        report(plain, X[:300]).explained_variance, abs=1e-3
    )


def tired(spec: SAESpec) -> tuple[_Run, Tensor]:
    """A run whose latents 2 and 5 cannot be on any more, after 100 rows."""
    torch.manual_seed(0)
    sae = spec.build(DIM)
    run = _Run(sae, X[:300], 1e-3, 200)
    gone = torch.tensor([2, 5])
    for rows in torch.arange(300).split(100):
        run.step(rows)
        with torch.no_grad():
            sae.bias[gone] = -50.0
    return run, gone


@pytest.mark.parametrize("tied", [True, False])
def test_the_dead_are_laid_along_what_is_rebuilt_worst(tied: bool) -> None:
    run, gone = tired(SAESpec(k=5, tied=tied, l1=0.01))
    sae = run.sae
    assert run.idle[gone].tolist() == [200, 200]
    assert torch.equal(run.dead(), gone)
    with torch.no_grad():
        coded = sae.code(run.inputs)
    residual = coded.inputs - coded.rebuilt
    worst = sorted(range(300), key=lambda i: -float(residual[i].norm()))[:2]
    unit = torch.stack([residual[i] / residual[i].norm() for i in worst])
    alive = [i for i in range(4 * DIM) if i not in (2, 5)]
    norm = 0.5 * sum(sae.encoder[i].norm().item() for i in alive) / (4 * DIM - 2)
    bias = sum(sae.bias[i].item() for i in alive) / (4 * DIM - 2)
    before = weights(sae)
    assert run.revive(gone) == 2
    torch.testing.assert_close(sae.encoder[gone].data, norm * unit)
    assert sae.bias[gone].tolist() == pytest.approx([bias, bias])
    learned = [sae.encoder, sae.bias]
    if not tied:
        torch.testing.assert_close(sae.decoder[gone].data, unit)
        learned.append(sae.decoder)
    for weight in learned:
        for memory in ("exp_avg", "exp_avg_sq"):
            kept = run.adam.state[weight][memory]
            assert not kept[gone].any()
            assert kept[alive].any()
    assert run.idle[gone].tolist() == [0, 0]
    assert not len(run.dead())
    changed = (weights(sae) != before).sum()
    assert changed == 2 * (DIM + 1 if tied else 2 * DIM + 1)


def test_more_dead_than_rows_wait_and_none_is_made_of_nothing() -> None:
    run, _ = tired(SAESpec(k=5, l1=0.01))
    run.inputs = run.inputs[:3]
    run.idle[10:20] = 1000
    assert run.revive(run.dead()) == 3
    assert len(run.dead()) == 9
    run.idle[:] = 1000
    before = weights(run.sae)
    assert run.revive(run.dead()) == 0
    assert torch.equal(weights(run.sae), before)


def crippled(spec: SAESpec, revives: bool) -> SparseAutoencoder:
    """Fitted by hand, with every other latent off from the start."""
    torch.manual_seed(0)
    run = _Run(spec.build(DIM), X, 3e-3, len(X))
    with torch.no_grad():
        run.sae.bias[::2] = -50.0
    for _ in range(8):
        run.epoch(100)
        if revives:
            run.revive(run.dead())
    return run.sae


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("activation", ["relu", "top_k"])
def test_the_revived_are_of_use(tied: bool, activation: str) -> None:
    spec = SAESpec(expansion=2, tied=tied, activation=activation, k=ON)
    left, helped = (report(crippled(spec, revives), X) for revives in (False, True))
    assert left.dead_share >= 0.5
    assert helped.dead_share < 0.2
    assert helped.explained_variance > left.explained_variance + 0.02


def test_none_is_revived_late() -> None:
    spec = SAESpec(expansion=8, activation="top_k", k=1)
    options = {"epochs": 12, "batch_size": 100, "lr": 3e-2}
    history = fit_sae(X, spec, **options).history
    dead = [entry["dead"] for entry in history]
    assert dead[0] > 0
    assert dead[-1] > 0
    assert [entry["revived"] for entry in history] == [*dead[:9], 0, 0, 0]


def test_a_longer_window_lets_latents_rest() -> None:
    spec = SAESpec(expansion=8, activation="top_k", k=2)
    options = {"epochs": 2, "batch_size": 100, "lr": 1e-2}
    found = [fit_sae(X, spec, window=w, **options).history for w in (100, 3000, 9000)]
    dead = [history[-1]["dead"] for history in found]
    assert dead[0] > dead[1] > dead[2] == 0


@pytest.mark.parametrize(
    ("blocks", "options", "words"),
    [
        ([], {}, r"two or more\. Found lengths \[\]"),
        ([X[:1]], {}, r"Found lengths \[1\]"),
        ([X[:5], X[:6]], {}, r"Found lengths \[5, 6\]"),
        ([X[:5] / 0], {}, r"must be finite\. Found NaN or infinity"),
        (X, {"epochs": 0}, r"lr > 0\. Found 0, 256, 3000 and 0\.001"),
        (X, {"batch_size": 0}, r"Found 20, 0, 3000"),
        (X, {"window": 0}, r"Found 20, 256, 0"),
        (X, {"lr": 0.0}, r"Found 20, 256, 3000 and 0\.0"),
        (X[:, :9], {}, r"at most the 36 latents\. Found 40"),
    ],
)
def test_what_cannot_be_fitted_is_refused(blocks, options, words):
    with pytest.raises(ValueError, match=words):
        fit_sae(blocks, **options)
