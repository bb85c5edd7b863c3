"""The code, its loss and its two norms against loops, in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from ple_study.interpret.sae import SAESpec, SparseAutoencoder, sae_loss
from tests.sizes import BATCH, DIMS

WIDE = sum(DIMS)
FORMS = [
    {"tied": tied, "activation": activation, "k": 4, "post_bias": post}
    for tied in (True, False)
    for activation in ("relu", "top_k")
    for post in (True, False)
]
forms = pytest.mark.parametrize("form", FORMS, ids=str)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def close(found: object, wanted: object, within: float = 1e-12) -> None:
    torch.testing.assert_close(found, wanted, atol=within, rtol=within)


def stirred(**options: object) -> SparseAutoencoder:
    """In float64, every weight anything, and units that are not its own."""
    sae = SAESpec(expansion=2, **options).build(*DIMS).double()
    for weight in sae.parameters():
        nn.init.normal_(weight, std=0.6)
    sae.standardise_by(drawn(9))
    return sae


def drawn(rows: int = BATCH) -> list[Tensor]:
    sizes = zip(DIMS, (1.0, 30.0, 0.1), strict=True)
    return [4 + size * torch.randn(rows, dim).double() for dim, size in sizes]


def by_hand(sae: SparseAutoencoder, x: Tensor) -> tuple[Tensor, Tensor]:
    """Codes and reconstruction of standardised rows, number by number."""
    decoder = sae.encoder if sae.decoder is None else sae.decoder
    behind = sae.pre_bias if sae.post_bias is None else sae.post_bias
    codes, rebuilt = [], []
    for row in x:
        z = [
            sum(w * (v - b) for w, v, b in zip(weight, row, sae.pre_bias, strict=True))
            + bias
            for weight, bias in zip(sae.encoder, sae.bias, strict=True)
        ]
        bar = -torch.inf
        if sae.spec.activation == "top_k":
            bar = sorted(z, reverse=True)[sae.spec.k - 1]
        z = [max(v, 0 * v) if v >= bar else 0 * v for v in z]
        codes.append(torch.stack(z))
        rebuilt.append(
            behind + sum(v * weight for v, weight in zip(z, decoder, strict=True))
        )
    return torch.stack(codes), torch.stack(rebuilt)


@forms
def test_code_and_loss_are_their_formulas(form: dict[str, object]) -> None:
    sae, blocks = stirred(**form), drawn()
    coded, x = sae(blocks), (torch.cat(blocks, 1) - sae.mean) / sae.std
    wanted = by_hand(sae, x)
    close(tuple(coded), (x, *wanted), 1e-11)
    loss = sum(
        sum((a - b) ** 2 for a, b in zip(row, other, strict=True))
        + 0.7 * sum(v.abs() for v in z)
        for row, z, other in zip(x, *wanted, strict=True)
    )
    close(sae_loss(coded, 0.7), loss / BATCH, 1e-11)
    found = torch.autograd.grad(sae_loss(coded, 0.7), list(sae.parameters()))
    close(found, torch.autograd.grad(loss / BATCH, list(sae.parameters())), 1e-10)


@pytest.mark.parametrize(
    ("tied", "post", "width", "count"),
    [
        (True, False, 512, 1_051_136),
        (True, True, 512, 1_051_136 + 512),
        (False, False, 512, 2_099_712),
        (True, False, 576, 1_329_984),
        (False, False, 576, 2_657_088),
    ],
)
def test_as_many_parameters_as_published(tied, post, width, count):
    sae = SAESpec(tied=tied, post_bias=post).build(width)
    assert sum(p.numel() for p in sae.parameters()) == count
    assert sae.latents == 4 * width


def test_a_block_has_the_deviation_of_its_columns_and_no_other() -> None:
    sae, blocks = stirred(), drawn(9)
    blocks[1] = torch.full_like(blocks[1], 3.0)
    sae.standardise_by(blocks)
    x = sae.standardise(blocks)
    for part, block in zip(x.split(DIMS, 1), blocks, strict=True):
        spread = sum(
            ((column - column.mean()) ** 2).sum() / 9 for column in block.T
        ) / len(block.T)
        scale = spread.sqrt() if spread > 0 else 1
        close(part, (block - block.mean(0)) / scale)
    close(sae.standardise(torch.cat(blocks, 1)), x)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4 / 3])
def test_a_block_that_does_not_vary_stays_small(value: float) -> None:
    sae, blocks = stirred().float(), [x.float() for x in drawn(1000)]
    blocks[1] = torch.full_like(blocks[1], value)
    sae.standardise_by(blocks)
    assert torch.equal(sae.std[6:13], torch.ones(7))
    assert sae.standardise(blocks)[:, 6:13].abs().max() < 1e-2


def test_equal_drives_turn_on_no_more_than_k() -> None:
    sae = stirred(activation="top_k", k=4)
    with torch.no_grad():
        sae.encoder.zero_()
        sae.bias.fill_(2.0)
        assert ((sae(drawn()).codes > 0).sum(1) == 4).all()
        sae.bias.fill_(-2.0)
        assert not sae(drawn()).codes.any()


@forms
def test_no_gradient_reaches_an_expert(form: dict[str, object]) -> None:
    sae, blocks = stirred(**form), [x.requires_grad_() for x in drawn()]
    sae_loss(sae(blocks), 0.3).backward()
    assert all(x.grad is None for x in blocks)
    learns = [p for p in sae.parameters() if p is not sae.post_bias]
    assert all(p.grad.any() for p in learns)


@forms
def test_half_precision_around_it_changes_nothing(form: dict[str, object]) -> None:
    sae, blocks = stirred(**form).float(), drawn()
    wanted = sae(blocks)
    with torch.autocast("cpu", torch.bfloat16):
        found = sae([x.requires_grad_() for x in blocks])
    assert all(map(torch.equal, found, wanted))
    assert found.codes.dtype == torch.float32


@pytest.mark.plain
@forms
def test_the_compiled_form_is_the_same(form: dict[str, object]) -> None:
    sae, blocks = stirred(**form), drawn()
    compiled = torch.compile(sae, fullgraph=True, backend="aot_eager")
    close(tuple(compiled(blocks)), tuple(sae(blocks)), 1e-11)


def test_what_would_stretch_the_decoder_is_taken_from_its_gradient() -> None:
    sae = stirred(tied=False)
    sae_loss(sae(drawn())).backward()
    before = sae.decoder.grad.clone()
    sae.hold_norms()
    for row, old, new in zip(sae.decoder, before, sae.decoder.grad, strict=True):
        close(new, old - (old @ row) / (row @ row) * row, 1e-10)
    old = sae.decoder.detach().clone()
    sae.restore_norms()
    close(sae.decoder.data, torch.stack([row / row.norm() for row in old]))
    close(sae.directions, sae.decoder.data)


def test_tied_weights_are_left_as_they_are() -> None:
    sae = stirred()
    sae_loss(sae(drawn())).backward()
    before = sae.encoder.detach().clone(), sae.encoder.grad.clone()
    sae.hold_norms()
    sae.restore_norms()
    assert torch.equal(sae.encoder, before[0])
    assert torch.equal(sae.encoder.grad, before[1])
    close(sae.directions, torch.stack([row / row.norm() for row in before[0]]))


def together(clip: Callable[[nn.Module, nn.Module], object], with_sae: bool) -> Tensor:
    """The weights of a small model after five steps beside an autoencoder, or not."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 1))
    x, y = torch.randn(BATCH, 6), torch.randn(BATCH, 1)
    sae = SAESpec(expansion=2, l1=0.01).build(7)
    with torch.no_grad():
        sae.encoder.mul_(3.0)
    both = [*model.parameters(), *sae.parameters()]
    step = torch.optim.SGD(both, lr=0.1)
    for _ in range(5):
        step.zero_grad()
        shared = model[:2](x)
        loss = (model[2](shared) - y).square().mean()
        if with_sae:
            loss = loss + sae_loss(sae(shared), 0.01)
        loss.backward()
        clip(model, sae)
        step.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def apart(model: nn.Module, sae: nn.Module) -> None:
    clip_grad_norm_(model.parameters(), 5.0)
    clip_grad_norm_(sae.parameters(), 5.0)


def as_one(model: nn.Module, sae: nn.Module) -> None:
    norm = clip_grad_norm_([*model.parameters(), *sae.parameters()], 5.0)
    own = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    assert own < 5  # alone it would not be clipped
    assert norm > 5 or not any(p.grad is not None for p in sae.parameters())


def test_claim_64_only_a_common_clip_lets_it_move_the_main_path() -> None:
    alone = together(apart, with_sae=False)
    assert torch.equal(together(apart, with_sae=True), alone)
    assert torch.equal(together(as_one, with_sae=False), alone)
    assert (together(as_one, with_sae=True) - alone).abs().max() > 0.01


@pytest.mark.plain
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"activation": "topk"}, "activation must be one of .* Did you mean 'top_k'"),
        ({"expansion": 0}, r"expansion >= 1 and k >= 1\. Found expansion=0, k=40"),
        ({"k": 0}, r"Found expansion=4, k=0"),
        ({"l1": -1.0}, r"l1 is None, zero or more\. Found -1\.0"),
        ({"l1": float("nan")}, r"Found nan"),
        ({"l1": 0.1, "activation": "top_k"}, r"l1 must be None\. Found 0\.1"),
    ],
)
def test_a_wrong_spec_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SAESpec(**options)


def test_wrong_widths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"width 1 or more\. Found \(\)"):
        SAESpec().build()
    with pytest.raises(ValueError, match=r"width 1 or more\. Found \(6, 0\)"):
        SAESpec().build(6, 0)
    with pytest.raises(ValueError, match=r"at most the 24 latents\. Found 40"):
        SAESpec().build(6)
    assert SAESpec(l1=0.1).build(6).latents == 24  # k does not count
    sae = SAESpec(k=4).build(*DIMS)
    for wrong in ([1, 0, 2], [0, 1]):
        blocks = [drawn()[i].float() for i in wrong]
        with pytest.raises(ValueError, match=r"widths \(6, 7, 8\)\. Found \("):
            sae(blocks)
