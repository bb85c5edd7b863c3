"""torch-rechub's own models, after a few steps, against ours with their weights."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ple_study.baselines import PLESpec
from ple_study.batch import Batch
from ple_study.experts.mlp import MLPSpec
from ple_study.gates.routing import GateSpec
from ple_study.schema import Feature, Schema, TaskSpec
from ple_study.torch_rechub import from_torch_rechub

HINT = "the peer is not installed: pip install torch-rechub==0.9.0"
peer = pytest.importorskip(
    "torch_rechub.models.multi_task", reason=HINT, exc_type=ImportError
)
basic = pytest.importorskip(
    "torch_rechub.basic.features", reason=HINT, exc_type=ImportError
)

ROWS, VOCABULARIES = 11, (5, 9, 4)
KINDS = {"binary": "classification", "regression": "regression"}
TASKS = ("binary", "regression", "binary")


def theirs(
    dims: Sequence[int], levels: int, expert: Sequence[int], tower: Sequence[int]
) -> nn.Module:
    """Their PLE after a few steps, so that no weight or statistic is as it began."""
    torch.manual_seed(levels)
    features = [
        basic.SparseFeature(f"c{i}", vocab_size=size, embed_dim=dim)
        for i, (size, dim) in enumerate(zip(VOCABULARIES, dims, strict=True))
    ]
    features += [basic.DenseFeature(name) for name in ("x0", "x1")]
    types = [KINDS[kind] for kind in TASKS]
    towers = [{"dims": list(tower)} for _ in TASKS]
    model = peer.PLE(features, types, levels, 2, 3, {"dims": list(expert)}, towers)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(4):
        optimiser.zero_grad()
        model(columns(rows())).square().mean().backward()
        optimiser.step()
    return model.eval()


def rows() -> Batch:
    codes = [torch.randint(size, (ROWS,)) for size in VOCABULARIES]
    # ours count from one
    return Batch(torch.randn(ROWS, 2), torch.stack(codes, 1) + 1)


def columns(batch: Batch) -> dict[str, Tensor]:
    codes = {f"c{i}": c - 1 for i, c in enumerate(batch.categorical.unbind(1))}
    return codes | {f"x{i}": c for i, c in enumerate(batch.numeric.unbind(1))}


def schema(dims: Sequence[int]) -> Schema:
    codes = [
        Feature(name=f"c{i}", kind="categorical", vocabulary=tuple(range(n)), dim=dim)
        for i, (n, dim) in enumerate(zip(VOCABULARIES, dims, strict=True))
    ]
    tasks = [TaskSpec(name=f"t{i}", kind=kind) for i, kind in enumerate(TASKS)]
    numbers = (Feature(name="x0"), Feature(name="x1"))
    return Schema(features=(*numbers, *codes), tasks=tuple(tasks))


def spec(levels: int, expert: Sequence[int], tower: Sequence[int]) -> PLESpec:
    return PLESpec(
        levels=levels,
        private=2,
        shared=3,
        expert=MLPSpec(dims=tuple(expert), norm="batch"),
        tower=MLPSpec(dims=tuple(tower), norm="batch"),
        gate=GateSpec(bias=True, norm=True),
    )


SHAPES = [  # embedding widths, levels, expert, tower
    ((6, 6, 6), 1, (8,), (7,)),
    ((6, 6, 6), 3, (10, 8), (7, 5)),
    ((7, 7, 7), 2, (10, 8), ()),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [False, True])
def test_same_weights_same_answers(shape: tuple, training: bool) -> None:
    dims, *rest = shape
    model = theirs(*shape)
    ours = from_torch_rechub(model.state_dict(), schema(dims), spec(*rest))
    assert not ours.training
    batch = rows()
    ours, model = ours.double(), model.double()
    batch = Batch(batch.numeric.double(), batch.categorical)
    logits = ours.train(training)(batch).logits
    expected = model.train(training)(columns(batch))
    for place, (kind, z) in enumerate(zip(TASKS, logits.values(), strict=True)):
        answer = z[:, 0].sigmoid() if kind == "binary" else z[:, 0]
        # they read dense columns in float32
        torch.testing.assert_close(answer, expected[:, place], atol=1e-6, rtol=0)


def test_unknown_value_is_the_mean() -> None:
    model = theirs((6, 6, 6), 1, (8,), (7,))
    ours = from_torch_rechub(model.state_dict(), schema((6, 6, 6)), spec(1, (8,), (7,)))
    table = model.embedding.embed_dict["c1"].weight
    row = ours.tabular.tables[0].weight[VOCABULARIES[0] + 1]
    torch.testing.assert_close(row, table.mean(0))


def test_loss_weights_are_no_part_of_the_model() -> None:
    saved = theirs((6, 6, 6), 1, (8,), (7,)).state_dict()
    saved["loss weight.0"] = torch.zeros(1)
    from_torch_rechub(saved, schema((6, 6, 6)), spec(1, (8,), (7,)))


@pytest.mark.parametrize(
    ("dims", "levels", "expert", "message"),
    [
        ((6, 6, 6), 2, (8,), "has a weight 'cgc_layers.0.gate_shared"),
        ((6, 6, 6), 1, (9,), r"\(6, 8, 20\) there and \(6, 9, 20\) here"),
        ((5, 5, 5), 1, (8,), r"\(21, 6\) there and \(21, 5\) here"),
    ],
)
def test_another_model_is_refused(
    dims: tuple, levels: int, expert: tuple, message: str
) -> None:
    saved = theirs((6, 6, 6), 1, (8,), (7,)).state_dict()
    with pytest.raises(ValueError, match=message):
        from_torch_rechub(saved, schema(dims), spec(levels, expert, (7,)))


def test_a_weight_without_a_place_is_named() -> None:
    saved = theirs((6, 6, 6), 2, (8,), (7,)).state_dict()
    with pytest.raises(ValueError, match=r"Found none for \['cgc_layers.0.gate_shared"):
        from_torch_rechub(saved, schema((6, 6, 6)), spec(1, (8,), (7,)))


def test_plain_gates_are_refused() -> None:
    saved = theirs((6, 6, 6), 1, (8,), (7,)).state_dict()
    plain = PLESpec(levels=1, private=2, shared=3, expert=MLPSpec(dims=(8,)))
    plain = replace(plain, tower=MLPSpec(dims=(7,), norm="batch"))
    with pytest.raises(ValueError, match=r"None here for 'levels.0.private.norms.0.0"):
        from_torch_rechub(saved, schema((6, 6, 6)), plain)
