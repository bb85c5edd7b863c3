"""Patches are counted back from the end; attention is torch's own."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_study.experts.temporal.patches import (
    EncoderLayer,
    PatchTransformer,
    patches,
    positions,
    to_the_end,
)
from tests.sizes import BATCH, DIMS

TIME, CHANNELS, DIM, SIZE = 11, DIMS[1], DIMS[2], 4


def series() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(BATCH, TIME, CHANNELS, generator=draw, dtype=torch.float64)
    mask = (
        torch.arange(TIME).expand(BATCH, -1) >= torch.tensor([0, 4, 9, 2, 11])[:, None]
    )
    return values, mask


def made() -> PatchTransformer:
    return PatchTransformer(CHANNELS, DIM, 2, size=SIZE).double()


def test_the_last_true_step_is_turned_to_the_end() -> None:
    values = torch.arange(8.0).view(2, 4, 1)
    mask = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 0]]).bool()
    turned, seen = to_the_end(values, mask)
    assert turned[0].flatten().tolist() == [3.0, 0.0, 1.0, 2.0]
    assert seen.tolist() == [[False, False, True, True], [False] * 4]


def test_patches_hold_their_steps_in_order() -> None:
    values, mask = torch.arange(1.0, 15.0).view(1, 7, 2), torch.ones(1, 7).bool()
    mask[0, :2] = False
    flat, seen = patches(values, mask, 3)
    assert seen.tolist() == [[False, True, True]]
    assert flat[0].tolist() == [[0.0] * 6, [0, 0, *range(5, 9)], [*range(9, 15)]]
    for steps, count in ((180, 12), (90, 6)):
        flat, _ = patches(torch.zeros(2, steps, 3), torch.ones(2, steps).bool(), 16)
        assert flat.shape == (2, count, 48)


def test_padding_on_either_side_changes_nothing() -> None:
    model, (values, mask) = made(), series()
    wanted = model(values, mask)
    for front, back in ((1, 0), (7, 0), (0, 1), (0, 9), (3, 6)):
        wide = F.pad(values, (0, 0, front, back), value=math.nan)
        found = model(wide, F.pad(mask, (front, back)))
        torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)
    noise = torch.where(mask[..., None], values, torch.randn_like(values))
    assert torch.equal(model(noise, mask), wanted)
    assert wanted.isfinite().all()  # the last customer has no step


def test_where_a_patch_stands_counts() -> None:
    model, (values, _) = made(), series()
    mask = torch.ones(BATCH, 8).bool()
    swapped = values[:, [4, 5, 6, 7, 0, 1, 2, 3]]  # two patches of four
    assert (model(swapped, mask) - model(values[:, :8], mask)).abs().max() > 1e-6


def test_positions_count_back() -> None:
    found = positions(5, DIM)
    for place in range(5):
        for i in range(0, DIM, 2):
            angle = (4 - place) / 10_000 ** (i / DIM)
            assert found[place, i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert found[place, i + 1].item() == pytest.approx(
                math.cos(angle), abs=1e-6
            )


def test_a_layer_is_torchs_own() -> None:
    ours = EncoderLayer(DIM, 2, 0.0).double()
    theirs = nn.TransformerEncoderLayer(
        DIM, 2, 4 * DIM, 0.0, "gelu", batch_first=True, norm_first=True
    ).double()
    names = {
        "self_attn.in_proj_weight": "query_key_value.weight",
        "self_attn.in_proj_bias": "query_key_value.bias",
        "self_attn.out_proj.weight": "out.weight",
        "self_attn.out_proj.bias": "out.bias",
        "linear1.weight": "wide.weight",
        "linear1.bias": "wide.bias",
        "linear2.weight": "narrow.weight",
        "linear2.bias": "narrow.bias",
        "norm1.weight": "norm.weight",
        "norm1.bias": "norm.bias",
        "norm2.weight": "norm_wide.weight",
        "norm2.bias": "norm_wide.bias",
    }
    for parameter in ours.parameters():
        nn.init.normal_(parameter)
    weights = ours.state_dict()
    theirs.load_state_dict({k: weights[v] for k, v in names.items()})
    x = torch.randn(BATCH, 6, DIM, dtype=torch.float64)
    seen = torch.arange(6).expand(BATCH, -1) >= torch.arange(BATCH)[:, None]
    wanted = theirs(x, src_key_padding_mask=~seen)
    torch.testing.assert_close(ours(x, seen), wanted, atol=1e-12, rtol=1e-12)


def test_dropout_only_in_training() -> None:
    model, (values, mask) = PatchTransformer(CHANNELS, DIM, 2, dropout=0.5), series()
    values = values.float()
    assert not torch.equal(model(values, mask), model(values, mask))
    model.eval()
    assert torch.equal(model(values, mask), model(values, mask))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="Found width 8 and 3 heads"):
        PatchTransformer(CHANNELS, 8, 3)
