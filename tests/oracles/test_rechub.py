"""PLE and MMoE of torch-rechub 0.9.0 against ours with their weights."""

from collections.abc import Callable, Mapping
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from ple_study.baselines import PLE, MMoESpec, PLESpec
from ple_study.batch import Batch
from ple_study.experts.mlp import MLPSpec
from ple_study.gates.routing import GateSpec
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
LAYERS = {"expert": EXPERT, "tower": TOWER, "gate": GateSpec(bias=True, norm=True)}
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

Gradients = Mapping[str, Tensor]
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
    draw = torch.Generator().manual_seed(rows)
    codes = [torch.randint(n, (rows,), generator=draw) for n in SIZES]
    # Theirs reads numbers as float32, whatever the model is.
    numeric = torch.randn(rows, NUMBERS, generator=draw, dtype=torch.float32)
    weigh = torch.randn(rows, len(KINDS), generator=draw, dtype=torch.float32) / rows

    def ours(dtype: torch.dtype) -> tuple[Tensor, Gradients]:
        twin = carry(model.state_dict()).to(dtype).train(model.training)
        batch = Batch(numeric.to(dtype), torch.stack(codes, dim=1) + 1)
        answers = zip(KINDS, twin(batch).logits.values(), strict=True)
        found = torch.cat([z.sigmoid() if k == "binary" else z for k, z in answers], 1)
        (found * weigh.to(dtype)).sum().backward()
        return found, {n: p.grad for n, p in twin.named_parameters()}

    def peers(dtype: torch.dtype) -> tuple[Tensor, Gradients]:
        twin = deepcopy(model).to(dtype)
        named = {f"c{i}": c for i, c in enumerate(codes)}
        found = twin(named | {f"x{i}": x for i, x in enumerate(numeric.unbind(1))})
        (found * weigh.to(dtype)).sum().backward()
        # The way that brings a weight over brings its gradient over too.
        gradients = {n: p.grad for n, p in twin.named_parameters()}
        expected = carry(twin.state_dict() | gradients)
        return found, {n: p.detach() for n, p in expected.named_parameters()}

    limit = TOLERANCE[dtype]
    (found, grads), (wanted, wanted_grads) = ours(dtype), peers(dtype)
    torch.testing.assert_close(found, wanted, atol=limit, rtol=limit)
    if training_in_float32(model, dtype):
        _, truth = peers(torch.float64)
        limit = max(limit, 2 * apart(wanted_grads, truth))
        assert apart(grads, truth) <= limit
    else:
        assert apart(grads, wanted_grads) <= limit


def apart(found: Gradients, wanted: Gradients) -> float:
    """The largest difference of two models' gradients, parameter by parameter."""
    known = torch.ones(sum(SIZES) + len(SIZES), dtype=torch.bool)
    known[[0, SIZES[0] + 1, SIZES[0] + SIZES[1] + 2]] = False  # rows that they lack
    table = "tabular.tables.0.weight"
    found, wanted = ({**g, table: g[table][known]} for g in (found, wanted))
    assert found.keys() == wanted.keys()
    return max(float((found[n] - g).abs().max()) for n, g in wanted.items())


def training_in_float32(model: nn.Module, dtype: torch.dtype) -> bool:
    """Where float64 still agrees to 1e-12, but rounding shows in both.

    A batch's deviations divide nine times. Then the peer's own distance from what it
    answers in float64 says how exact float32 can be, and ours must be as near.
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
