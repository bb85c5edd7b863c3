"""PLE and MMoE of torch-rechub 0.9.0 against ours with their weights."""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from ple_study.baselines import PLE, MMoESpec, PLESpec
from ple_study.batch import Batch
from ple_study.experts.mlp import MLPSpec
from ple_study.schema import Feature, Schema, TaskSpec
from ple_study.torch_rechub import from_torch_rechub
from tests.sizes import BATCH, EXPERTS

HINT = "the peer is not installed: pip install torch-rechub==0.9.0"
peer = pytest.importorskip(
    "torch_rechub.models.multi_task", reason=HINT, exc_type=ImportError
)
columns = pytest.importorskip(
    "torch_rechub.basic.features", reason=HINT, exc_type=ImportError
)

SIZES, WIDTH, NUMBERS = (5, 9, 4), 6, 2
KINDS = ("binary", "regression", "binary")
TYPES = [{"binary": "classification"}.get(kind, kind) for kind in KINDS]
EXPERT, TOWER = MLPSpec(dims=(8, 7), norm="batch"), MLPSpec(dims=(5,), norm="batch")
LAYERS = {"expert": EXPERT, "tower": TOWER, "gate_bias": True, "gate_norm": True}
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
EITHER = pytest.mark.parametrize("dtype", TOLERANCE)
CASES = pytest.mark.parametrize(
    ("training", "rows"), [(False, BATCH), (False, 1), (True, 37)]
)
# Batch statistics: not of one customer, and ill-conditioned of five.

SCHEMA = Schema(
    features=(
        *(
            Feature(name=f"c{i}", kind="categorical", vocabulary=tuple(range(n)), dim=6)
            for i, n in enumerate(SIZES)
        ),
        *(Feature(name=f"x{i}") for i in range(NUMBERS)),
    ),
    tasks=tuple(TaskSpec(name=f"t{i}", kind=kind) for i, kind in enumerate(KINDS)),
)

Carry = Callable[[Mapping[str, Tensor]], PLE]


def theirs(kind: type, *counts: int) -> nn.Module:
    features = [
        columns.SparseFeature(f"c{i}", vocab_size=n, embed_dim=WIDTH)
        for i, n in enumerate(SIZES)
    ]
    features += [columns.DenseFeature(f"x{i}") for i in range(NUMBERS)]
    towers = [{"dims": list(TOWER.dims)} for _ in KINDS]
    expert = {"dims": list(EXPERT.dims)}
    model = kind(features, TYPES, *counts, expert, towers)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                positive = name.endswith("running_var") or ".mlp.1." in name
                tensor.uniform_(*((0.5, 1.5) if positive else (-0.5, 0.5)))
    return model


def as_ple(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their MMoE by the names of a PLE of one level and no private expert."""
    homes = {"experts.": "experts_shared.", "gates.": "gates_specific."}
    named = {}
    for name, tensor in tensors.items():
        for there, here in homes.items():
            if name.startswith(there):
                name = f"cgc_layers.0.{here}{name.removeprefix(there)}"
        named[name] = tensor
    return named


def assert_same(model: nn.Module, carry: Carry, rows: int, dtype: torch.dtype) -> None:
    """Their weights in ours give the same answers and the same gradients."""
    model = model.to(dtype)
    draw = torch.Generator().manual_seed(rows)
    codes = torch.stack(
        [torch.randint(n, (rows,), generator=draw) for n in SIZES], dim=1
    )
    # Theirs reads numbers as float32, whatever the model is.
    numeric = torch.randn(rows, NUMBERS, generator=draw, dtype=torch.float32)
    ours = carry(model.state_dict()).train(model.training)
    logits = ours(Batch(numeric.to(dtype), codes + 1)).logits
    named = {f"c{i}": c for i, c in enumerate(codes.unbind(1))}
    wanted = model(named | {f"x{i}": x for i, x in enumerate(numeric.unbind(1))})
    answers = zip(KINDS, logits.values(), strict=True)
    found = torch.cat([z.sigmoid() if k == "binary" else z for k, z in answers], 1)
    limit = {"atol": TOLERANCE[dtype], "rtol": TOLERANCE[dtype]}
    torch.testing.assert_close(found, wanted, **limit)
    if training_in_float32(model, dtype):
        limit = {"atol": 2e-5, "rtol": 5e-6}
    weigh = torch.randn(found.shape, dtype=dtype) / rows
    (found * weigh).sum().backward()
    (wanted * weigh).sum().backward()
    # The way that brings a weight over brings its gradient over too.
    gradients = {name: p.grad for name, p in model.named_parameters()}
    expected = carry(model.state_dict() | gradients)
    known = torch.ones(sum(SIZES) + len(SIZES), dtype=torch.bool)
    known[[0, SIZES[0] + 1, SIZES[0] + SIZES[1] + 2]] = False  # rows that they lack
    for name, wanted in expected.named_parameters():
        found = ours.get_parameter(name).grad
        if name == "tabular.tables.0.weight":
            assert not found[~known].any()
            found, wanted = found[known], wanted[known]
        torch.testing.assert_close(found, wanted.detach(), **limit)


def training_in_float32(model: nn.Module, dtype: torch.dtype) -> bool:
    """Where float64 still agrees to 1e-12, but rounding shows.

    Nine divisions by a batch's deviations; and a bias before a normalisation has the
    gradient zero, of which float32 leaves the rounding of what cancels.
    """
    return model.training and dtype == torch.float32


@pytest.fixture
def _dtype(dtype: torch.dtype):
    """What is built now is of this type; weights copied into it lose nothing."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)


@EITHER
@CASES
@pytest.mark.usefixtures("_dtype")
@pytest.mark.parametrize(
    ("levels", "private", "shared"), [(1, 2, 3), (2, 1, 1), (3, 3, 2), (2, 0, 4)]
)
def test_ple(
    levels: int,
    private: int,
    shared: int,
    training: bool,
    rows: int,
    dtype: torch.dtype,
) -> None:
    model = theirs(peer.PLE, levels, private, shared).train(training)
    spec = PLESpec(levels=levels, private=private, shared=shared, **LAYERS)
    assert_same(model, lambda t: from_torch_rechub(t, SCHEMA, spec), rows, dtype)


@EITHER
@CASES
@pytest.mark.usefixtures("_dtype")
def test_mmoe(training: bool, rows: int, dtype: torch.dtype) -> None:
    model = theirs(peer.MMOE, EXPERTS).train(training)

    def carry(tensors: Mapping[str, Tensor]) -> PLE:
        spec = PLESpec(levels=1, private=0, shared=EXPERTS, **LAYERS)
        carried = from_torch_rechub(as_ple(tensors), SCHEMA, spec)
        ours = MMoESpec(experts=EXPERTS, **LAYERS).build(SCHEMA)
        ours.load_state_dict(carried.state_dict())
        return ours

    assert_same(model, carry, rows, dtype)
