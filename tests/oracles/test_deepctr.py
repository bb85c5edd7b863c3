"""PLE and MMoE of deepctr-torch 0.3.0 against ours with their weights."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

from ple_study.baselines import MMoESpec, PLESpec
from ple_study.batch import Batch, Model
from ple_study.experts.mlp import MLPSpec
from ple_study.schema import Feature, Schema, TaskSpec
from tests.oracles.deepctr import inputs, multitask
from tests.sizes import BATCH, EXPERTS

KINDS = ("binary", "regression", "binary")
SIZES, WIDTHS, NUMBERS = (5, 9, 4), (2, 3, 3), 2
VALUES = [tuple(range(1, n)) for n in SIZES]  # here, code 0 is for any other
EXPERT, TOWER = (8, 7), (6,)
Names = Callable[[Mapping[str, Tensor]], Iterator]
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}

SCHEMA = Schema(
    features=(
        *(
            Feature(
                name=f"c{i}", kind="categorical", vocabulary=tuple(range(1, n)), dim=dim
            )
            for i, (n, dim) in enumerate(zip(SIZES, WIDTHS, strict=True))
        ),
        *(Feature(name=f"x{i}") for i in range(NUMBERS)),
    ),
    tasks=tuple(TaskSpec(name=f"t{i}", kind=kind) for i, kind in enumerate(KINDS)),
)


def theirs(kind: type, batch_norm: bool, **sizes: int) -> nn.Module:
    columns = [
        inputs.SparseFeat(f"c{i}", n, embedding_dim=dim)
        for i, (n, dim) in enumerate(zip(SIZES, WIDTHS, strict=True))
    ]
    columns += [inputs.DenseFeat(f"x{i}", 1) for i in range(NUMBERS)]
    model = kind(
        columns,
        expert_dnn_hidden_units=EXPERT,
        gate_dnn_hidden_units=(),
        tower_dnn_hidden_units=TOWER,
        dnn_use_bn=batch_norm,
        task_types=KINDS,
        task_names=[f"t{i}" for i in range(len(KINDS))],
        **sizes,
    )
    torch.manual_seed(0)
    with torch.no_grad():  # theirs begin at 1e-4, where all is flat
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(-0.4, 0.6)
        for name, tensor in model.named_buffers():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
    return model


class Carried:
    """Their tensors under our names; what they keep apart lies stacked here."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors

    def mlps(self, ours: str, theirs: Sequence[str], depth: int) -> Iterator:
        for layer in range(depth if theirs else 0):
            for part in ("weight", "bias"):
                names = [f"{name}.linears.{layer}.{part}" for name in theirs]
                parts = [self.tensors[name] for name in names]
                yield f"{ours}.layers.{layer}.{part}", torch.stack(parts)
            for lane, name in enumerate(theirs):
                start = f"{name}.bn.{layer}."
                for key in [k for k in self.tensors if k.startswith(start)]:
                    part = key.removeprefix(start)
                    yield f"{ours}.norms.{layer}.{lane}.{part}", self.tensors[key]

    def gate(self, ours: str, theirs: Sequence[str]) -> Iterator:
        rows = [self.tensors[f"{name}.weight"] for name in theirs]
        yield f"{ours}.gate.linear.weight", torch.cat(rows)

    def ends(self) -> Iterator:
        tasks = range(len(KINDS))
        yield from self.mlps(
            "towers.hidden", [f"tower_dnn.{t}" for t in tasks], len(TOWER)
        )
        heads = [self.tensors[f"tower_dnn_final_layer.{t}.weight"] for t in tasks]
        yield "towers.heads.0.weight", torch.stack(heads)
        bias = [self.tensors[f"out.{t}.bias"] for t in tasks]
        yield "towers.heads.0.bias", torch.stack(bias)
        for group, width in enumerate(sorted(set(WIDTHS))):
            same = [f"c{i}" for i, dim in enumerate(WIDTHS) if dim == width]
            tables = [self.tensors[f"embedding_dict.{c}.weight"] for c in same]
            yield f"tabular.tables.{group}.weight", torch.cat(tables)

    def mmoe(self) -> Iterator:
        names = [f"expert_dnn.{i}" for i in range(EXPERTS)]
        yield from self.mlps("levels.0.shared", names, len(EXPERT))
        gates = [f"gate_dnn_final_layer.{t}" for t in range(len(KINDS))]
        yield from self.gate("levels.0", gates)
        yield from self.ends()

    def ple(self, levels: int, private: int, shared: int) -> Iterator:
        tasks = range(len(KINDS))
        for level in range(levels):
            own = [
                f"specific_experts.{level}.{t}.{i}"
                for t in tasks
                for i in range(private)
            ]
            common = [f"shared_experts.{level}.0.{i}" for i in range(shared)]
            yield from self.mlps(f"levels.{level}.private", own, len(EXPERT))
            yield from self.mlps(f"levels.{level}.shared", common, len(EXPERT))
            gates = [f"specific_gate_dnn_final_layer.{level}.{t}" for t in tasks]
            if level < levels - 1:
                gates.append(f"shared_gate_dnn_final_layer.{level}")
            yield from self.gate(f"levels.{level}", gates)
        yield from self.ends()


def customers(rows: int, dtype: torch.dtype) -> tuple[Batch, Tensor]:
    """The same rows for both; theirs is one matrix, codes first."""
    draw = torch.Generator().manual_seed(rows)
    codes = [torch.randint(n, (rows,), generator=draw) for n in SIZES]
    numeric = torch.randn(rows, NUMBERS, generator=draw, dtype=dtype)
    categorical = torch.stack(codes, 1)
    return Batch(numeric, categorical), torch.cat([categorical, numeric], 1)


def probabilities(model: Model, batch: Batch) -> Tensor:
    logits = zip(KINDS, model(batch).logits.values(), strict=True)
    return torch.cat([z.sigmoid() if k == "binary" else z for k, z in logits], 1)


def assert_same(
    ours: Model,
    model: nn.Module,
    names: Names,
    rows: int,
    training: bool,
    dtype: torch.dtype,
) -> None:
    """Their weights in ours give the same answers and the same gradients."""
    model, ours = model.to(dtype).train(training), ours.to(dtype).train(training)
    ours.load_state_dict(dict(names(model.state_dict())))
    batch, matrix = customers(rows, dtype)
    found, wanted = probabilities(ours, batch), model(matrix)
    limit = {"atol": TOLERANCE[dtype], "rtol": TOLERANCE[dtype]}
    torch.testing.assert_close(found, wanted, **limit)
    weigh = torch.randn(found.shape, dtype=dtype) / rows
    (found * weigh).sum().backward()
    (wanted * weigh).sum().backward()
    theirs = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    wanted = dict(names(theirs))
    found = {name: p.grad for name, p in ours.named_parameters()}
    torch.testing.assert_close(found, wanted, **limit)


CASES = [  # batch normalisation, training, customers
    (False, False, BATCH),
    (False, False, 1),
    (True, False, BATCH),
    (True, True, 37),
    (True, False, 1),
]
each_case = pytest.mark.parametrize(("batch_norm", "training", "rows"), CASES)
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE)


def shapes(batch_norm: bool) -> dict[str, MLPSpec]:
    norm = "batch" if batch_norm else "none"
    return {
        "expert": MLPSpec(dims=EXPERT, norm=norm),
        "tower": MLPSpec(dims=TOWER, norm=norm),
    }


@each_case
@each_dtype
def test_mmoe(batch_norm: bool, training: bool, rows: int, dtype: torch.dtype) -> None:
    model = theirs(multitask.MMOE, batch_norm, num_experts=EXPERTS)
    ours = MMoESpec(experts=EXPERTS, **shapes(batch_norm)).build(SCHEMA)
    assert_same(ours, model, lambda t: Carried(t).mmoe(), rows, training, dtype)


@each_case
@each_dtype
@pytest.mark.parametrize(
    ("levels", "private", "shared"), [(1, 2, 2), (2, 1, 1), (3, 3, 2)]
)
def test_ple(
    levels: int,
    private: int,
    shared: int,
    batch_norm: bool,
    training: bool,
    rows: int,
    dtype: torch.dtype,
) -> None:
    counts = {"specific_expert_num": private, "shared_expert_num": shared}
    model = theirs(multitask.PLE, batch_norm, num_levels=levels, **counts)
    ours = PLESpec(
        levels=levels, private=private, shared=shared, **shapes(batch_norm)
    ).build(SCHEMA)

    def names(tensors: Mapping[str, Tensor]) -> Iterator:
        return Carried(tensors).ple(levels, private, shared)

    assert_same(ours, model, names, rows, training, dtype)


def test_more_shared_than_private_experts_run_here_alone() -> None:
    """Theirs builds as many shared experts as private ones, and then looks for more."""
    model = theirs(multitask.PLE, False, specific_expert_num=1, shared_expert_num=2)
    batch, matrix = customers(BATCH, torch.float32)
    with pytest.raises(IndexError):
        model(matrix)
    ours = PLESpec(private=1, shared=2, **shapes(False)).build(SCHEMA)
    assert ours(batch).weights[0].shape == (BATCH, len(KINDS), 3)
