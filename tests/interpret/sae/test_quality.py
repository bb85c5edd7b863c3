"""What is reported of held-out rows, against loops."""

import pytest
import torch

from ple_study.interpret.sae import SAESpec, max_cosines, quality, report, seed_match
from tests.sizes import BATCH, DIMS


@pytest.mark.parametrize("chunk", [3, 8192])
def test_a_report_is_its_definition(chunk, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(quality, "CHUNK", chunk)
    sae = SAESpec(k=4, expansion=2).build(*DIMS)
    torch.nn.init.normal_(sae.bias, -1.0, 2.0)
    blocks = [2 + 3 * torch.randn(20, dim) for dim in DIMS]
    sae.standardise_by(blocks)
    rows = [1 + 2 * torch.randn(20, dim) for dim in DIMS]
    with torch.no_grad():
        sae.encoder[0] = torch.eye(21)[0]
        sae.bias[0] = -sae.standardise(rows)[:, 0].sort().values[17:19].mean()
        x, codes, rebuilt = sae(rows)
    found = report(sae, rows)
    mean = sum(x) / 20
    error = sum(float((a - b) @ (a - b)) for a, b in zip(x, rebuilt, strict=True))
    spread = sum(float((a - mean) @ (a - mean)) for a in x)
    counts = [sum(bool(z > 0) for z in column) for column in codes.T]
    assert found.explained_variance == pytest.approx(1 - error / spread, rel=1e-5)
    assert found.mean_l0 == pytest.approx(sum(counts) / 20)
    assert found.dead_share == sum(count == 0 for count in counts) / 42 > 0
    assert found.dense_share == sum(count > 2 for count in counts) / 42 < 1
    assert counts[0] == 2  # a tenth of the rows, and not more


def test_nearest_directions() -> None:
    torch.manual_seed(0)
    these, those = torch.randn(BATCH, 6), torch.randn(4, 6)
    those[2] = -3 * these[1]
    wanted = [max(float(a @ b / (a.norm() * b.norm())) for b in those) for a in these]
    assert max_cosines(these, those).tolist() == pytest.approx(wanted, abs=1e-6)
    assert max_cosines(these, those)[1] < 0.99
    assert len(max_cosines(those, these)) == 4


def test_two_seeds_match_as_far_as_their_latents_do() -> None:
    torch.manual_seed(0)
    one, other = (SAESpec(k=4, tied=False).build(*DIMS) for _ in range(2))
    assert seed_match(one, one) == pytest.approx(1, abs=1e-6)
    match = max_cosines(one.directions, other.directions).mean()
    assert seed_match(one, other) == pytest.approx(float(match))
    assert match < 0.9
    with torch.no_grad():
        other.decoder.copy_(7 * one.decoder.roll(3, 0))
    assert seed_match(one, other) == pytest.approx(1, abs=1e-6)


def test_a_report_of_one_row_is_refused() -> None:
    sae = SAESpec(k=4).build(*DIMS)
    with pytest.raises(ValueError, match=r"two rows or more\. Found 1"):
        report(sae, [torch.randn(1, dim) for dim in DIMS])
