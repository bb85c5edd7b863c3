"""Latents against planted factors, ranks against scikit-learn's."""

import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from ple_study.interpret import dictionary
from ple_study.interpret.dictionary import (
    baselines,
    block_shares,
    either,
    principal,
    read_out,
    recovered,
    sign_auc,
)
from ple_study.interpret.sae import SAESpec, fit_sae
from tests.interpret.sae.planted import ON, planted
from tests.sizes import DIMS


@pytest.mark.parametrize("units", [4, 256])
def test_auc_is_scikit_learns_with_ties(units, monkeypatch):
    monkeypatch.setattr(dictionary, "UNITS", units)
    torch.manual_seed(0)
    scores = torch.randn(50, 9)
    scores[:, 3:6] = scores[:, 3:6].sub(0.8).relu()  # mostly zero
    scores[:, 6] = (scores[:, 6] * 2).round()
    scores[:, 7] = -scores[:, 4]
    scores[:, 8] = 1.0
    factors = torch.randn(50, 3)
    factors[::5, 1] = 0.0
    factors[:, 2] = (factors[:, 2] > 1).float() - 0.5
    found = sign_auc(scores, factors)
    for unit in range(9):
        for factor in range(3):
            wanted = roc_auc_score(factors[:, factor] > 0, scores[:, unit])
            assert float(found[unit, factor]) == pytest.approx(wanted, abs=1e-12)
    torch.testing.assert_close(found[7], 1 - found[4])
    assert found[8].tolist() == [0.5] * 3
    torch.testing.assert_close(either(found)[7], either(found)[4])


def test_a_factor_is_recovered_in_either_direction() -> None:
    auc = torch.tensor([[0.95, 0.5, 0.3, 0.6], [0.2, 0.05, 0.6, 0.91]]).double()
    assert recovered(auc) == 0.75
    assert recovered(auc, 0.93) == 0.5
    assert recovered(auc, 0.65) == 1.0


def test_a_sparse_code_tells_no_sign_that_half_of_the_rows_have() -> None:
    """Even a pure latent, on for the highest values of the factor alone."""
    factor = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    for bar in (0.0, 0.5, 1.5):
        code = (factor - bar).relu()
        share = float((code > 0).sum() / (factor > 0).sum())
        assert float(sign_auc(code, factor)) == pytest.approx((1 + share) / 2)
        assert float(sign_auc(code, factor - bar)) == 1.0


def test_a_row_of_the_dictionary() -> None:
    torch.manual_seed(0)
    sae = SAESpec(k=4, expansion=2, tied=False).build(*DIMS)
    torch.nn.init.normal_(sae.bias, -1.5, 1.0)
    blocks = [torch.randn(12, dim) for dim in DIMS]
    factors = torch.randn(12, 3)
    codes = sae(blocks).codes.detach()
    found = read_out(sae, blocks, factors, top=4)
    torch.testing.assert_close(found.auc, sign_auc(codes, factors))
    short = 0
    for unit in range(42):
        on = [row for row in range(12) if codes[row, unit] > 0]
        on.sort(key=lambda row: -float(codes[row, unit]))
        short += len(on) < 4
        assert found.rows[unit].tolist() == (on + [-1] * 4)[:4]
        assert float(found.density[unit]) == pytest.approx(len(on) / 12)
        best = [max(a, 1 - a) for a in found.auc[unit].tolist()]
        assert float(found.strength[unit]) == pytest.approx(max(best))
        assert best[int(found.factor[unit])] == pytest.approx(max(best))
        parts = [float(p @ p) for p in sae.decoder[unit].detach().split(DIMS)]
        shares = [part / sum(parts) for part in parts]
        assert found.shares[unit].tolist() == pytest.approx(shares, abs=1e-6)
    assert 0 < short < 42
    assert not found.auc.requires_grad


def test_a_latent_of_one_block_is_that_experts() -> None:
    sae = SAESpec(k=4, expansion=2).build(*DIMS)
    with torch.no_grad():
        sae.encoder[5, :6] = 0.0
        sae.encoder[5, 13:] = 0.0
    assert block_shares(sae)[5].tolist() == pytest.approx([0, 1, 0])
    torch.testing.assert_close(block_shares(sae).sum(1), torch.ones(42))


def test_components_are_scikit_learns() -> None:
    torch.manual_seed(0)
    train, rows = (
        [torch.randn(40, d) @ torch.randn(d, d) for d in DIMS] for _ in range(2)
    )
    sae = SAESpec(k=4).build(*DIMS)
    sae.standardise_by(train)
    found = baselines(sae, train, rows)
    inputs = sae.standardise(rows)
    assert torch.equal(found["neurons"], inputs)
    wanted = PCA().fit(sae.standardise(train).numpy())
    same = (principal(sae.standardise(train)) * torch.tensor(wanted.components_)).sum(1)
    torch.testing.assert_close(same.abs(), torch.ones(21), atol=1e-3, rtol=0)
    scores = torch.tensor(wanted.components_) @ inputs.T
    torch.testing.assert_close(found["pca"].T, scores * same.sign()[:, None],
                               atol=2e-2, rtol=0)  # fmt: skip


def test_planted_directions_are_read_where_components_are_not() -> None:
    (train, _, _), (rows, amounts, _) = planted(3000), planted(1000, seed=2)
    spec = SAESpec(expansion=2, tied=False, activation="top_k", k=ON)
    sae, _ = fit_sae(train, spec, epochs=30, batch_size=100, lr=3e-3)
    found = read_out(sae, rows, amounts)
    assert recovered(found.auc) > 0.9
    for scores in baselines(sae, train, rows).values():
        assert recovered(sign_auc(scores, amounts)) < 0.6
    best = int(found.strength.argmax())
    most = amounts[found.rows[best], found.factor[best]]
    assert (most > 1.0).all()


@pytest.mark.plain
@pytest.mark.parametrize(
    ("scores", "factors", "words"),
    [
        (torch.randn(5, 2), torch.randn(6, 2), r"same rows\. Found 5 and 6"),
        (torch.randn(5, 2) / 0, torch.randn(5, 2), "must be finite"),
        (torch.randn(5, 2), torch.randn(5, 2) / 0, "must be finite"),
        (torch.randn(5, 2), torch.tensor([[1.0, 0, 1]] * 4 + [[-1.0, 0, 2]]),
         r"one kind alone in the factors \[1, 2\]"),
    ],
)  # fmt: skip
def test_what_has_no_auc_is_refused(scores, factors, words):
    with pytest.raises(ValueError, match=words):
        sign_auc(scores, factors)


def test_more_rows_than_there_are_is_refused() -> None:
    sae = SAESpec(k=4).build(6)
    for top in (0, 6):
        with pytest.raises(ValueError, match=rf"at most 5 rows\. Found {top}"):
            read_out(sae, torch.randn(5, 6), torch.randn(5, 2), top=top)
