"""Our crossing of fields against the layers of deepctr-torch 0.3.0, in float64."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from ple_study.batch import Batch
from ple_study.experts.deepfm.expert import DeepFM
from ple_study.experts.deepfm.fields import bi_interaction
from ple_study.experts.mlp import MLPSpec
from tests.oracles.deepctr import inputs, layers, models
from tests.sizes import BATCH

SIZES, WIDTH, HIDDEN = (5, 9, 4), 6, (8, 7)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def both(fields: Tensor, ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)
    weigh = torch.randn(ours.shape, dtype=ours.dtype)
    (found,) = torch.autograd.grad((ours * weigh).sum(), fields, retain_graph=True)
    (wanted,) = torch.autograd.grad((theirs * weigh).sum(), fields)
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("count", [1, 2, 28])
def test_pairs_are_those_of_their_layers(count: int) -> None:
    fields = torch.randn(BATCH, count, 7, dtype=torch.float64, requires_grad=True)
    ours = bi_interaction(fields)
    both(fields, ours, layers.BiInteractionPooling()(fields).squeeze(1))
    both(fields, ours.sum(1, keepdim=True), layers.FM()(fields))


def carried(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their tables and deep branch under our names."""
    tables = [state[f"embedding_dict.c{i}.weight"] for i in range(len(SIZES))]
    ours = {"parts.0.table.weight": torch.cat(tables)}
    for layer in range(len(HIDDEN)):
        for part in ("weight", "bias"):
            tensor = state[f"dnn.linears.{layer}.{part}"]
            ours[f"deep.layers.{layer}.{part}"] = tensor[None]
    return ours


def test_their_deepfm_is_our_fields_pairs_and_deep_branch() -> None:
    columns = [
        inputs.SparseFeat(f"c{i}", size, embedding_dim=WIDTH)
        for i, size in enumerate(SIZES)
    ]
    theirs = models.DeepFM(
        columns, columns, dnn_hidden_units=HIDDEN, init_std=0.5, task="regression"
    ).double()
    sizes = {f"c{i}": size for i, size in enumerate(SIZES)}
    ours = DeepFM({}, sizes, 7, WIDTH, MLPSpec(dims=HIDDEN)).double()
    state = theirs.eval().state_dict()
    ours.eval().load_state_dict(carried(state), strict=False)
    codes = torch.stack([torch.randint(n, (BATCH,)) for n in SIZES], 1)
    matrix = codes.double()
    fields = ours.fields(Batch(matrix, codes))
    (deep,) = ours.deep(fields.flatten(1))
    found = bi_interaction(fields).sum(1, keepdim=True)
    found = found + deep @ state["dnn_linear.weight"].T
    # Ours has no first order beside the deep branch, which holds one.
    wanted = theirs(matrix) - theirs.linear_model(matrix) - state["out.bias"]
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=1e-10)
