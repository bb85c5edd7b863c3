"""Our autoencoders with the weights of dictionary-learning 0.1.0, in float64.

Its package imports transformers and more, so that its answers are frozen in
``sae.npz``. They were made in a folder where ``pip download --no-deps
dictionary-learning==0.1.0`` was unzipped, by its two files alone::

    import importlib, sys, types, numpy as np, torch
    for name in ("einops", "dictionary_learning", "dictionary_learning.trainers"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [name.replace(".", "/")]
    load = importlib.import_module
    own = load("dictionary_learning.dictionary")
    top = load("dictionary_learning.trainers.top_k")
    steps = load("dictionary_learning.trainers.trainer")
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    x, kept = torch.randn(5, 7), {}
    for name, sae in (("relu", own.AutoEncoder(7, 28)),
                      ("top_k", top.AutoEncoderTopK(7, 28, 3))):
        with torch.no_grad():
            for p in sae.parameters():
                p.add_(torch.randn(p.shape) / 5)
        with torch.no_grad():
            rebuilt, codes = sae(x, output_features=True)
        kept |= {f"{name}/{k}": v for k, v in sae.state_dict().items()}
        kept |= {f"{name}/codes": codes, f"{name}/rebuilt": rebuilt}
    sae = own.AutoEncoder(7, 28)
    sae.decoder.weight.data /= sae.decoder.weight.norm(dim=0)
    kept |= {f"start/{k}": v.clone() for k, v in sae.state_dict().items()}
    adam = steps.ConstrainedAdam(sae.parameters(), [sae.decoder.weight], lr=0.01)
    for _ in range(10):
        adam.zero_grad()
        rebuilt, codes = sae(x, output_features=True)
        error = (x - rebuilt).pow(2).sum(1).mean()
        (error + 0.3 * codes.norm(p=1, dim=1).mean()).backward()
        adam.step()
    kept |= {f"end/{k}": v for k, v in sae.state_dict().items()}
    np.savez("sae.npz", x=x, **{k: v.detach() for k, v in kept.items()})
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ple_study.interpret.sae import SAESpec, SparseAutoencoder, sae_loss

FROZEN = Path(__file__).with_name("sae.npz")


@pytest.fixture(scope="module")
def frozen() -> dict[str, Tensor]:
    with np.load(FROZEN) as kept:
        return {name: torch.from_numpy(kept[name]) for name in kept}


def ours(frozen: dict[str, Tensor], name: str, **options: object) -> SparseAutoencoder:
    """Their weights under our names; theirs have a decoder column a latent."""
    sae = SAESpec(tied=False, **options).build(7).double()
    bias = frozen.get(f"{name}/bias", frozen.get(f"{name}/b_dec"))
    weights = {
        "encoder": frozen[f"{name}/encoder.weight"],
        "decoder": frozen[f"{name}/decoder.weight"].T,
        "bias": frozen[f"{name}/encoder.bias"],
        "pre_bias": bias,
        "mean": torch.zeros(7),
        "std": torch.ones(7),
    }
    sae.load_state_dict(weights)
    return sae


@pytest.mark.parametrize("activation", ["relu", "top_k"])
def test_codes_and_reconstruction_are_theirs(frozen, activation):
    sae = ours(frozen, activation, activation=activation, k=3)
    coded = sae(frozen["x"])
    wanted = frozen[f"{activation}/codes"], frozen[f"{activation}/rebuilt"]
    assert ((coded.codes > 0) == (wanted[0] > 0)).all()
    torch.testing.assert_close(coded[1:], wanted, atol=1e-12, rtol=1e-12)


def test_ten_steps_with_held_norms_are_theirs(frozen):
    sae, wanted = ours(frozen, "start", l1=0.3), ours(frozen, "end", l1=0.3)
    adam = torch.optim.Adam(sae.parameters(), lr=0.01)
    for _ in range(10):
        adam.zero_grad()
        sae_loss(sae(frozen["x"]), 0.3).backward()
        sae.hold_norms()
        adam.step()
        sae.restore_norms()
    found = sae.state_dict()
    torch.testing.assert_close(found, wanted.state_dict(), atol=1e-9, rtol=1e-9)
    moved = found["decoder"] - frozen["start/decoder.weight"].T
    assert moved.abs().max() > 0.01
