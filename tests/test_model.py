"""The whole model: parts in their places, and the laws of any model."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ple_study.batch import Batch, Rows
from ple_study.data.loader import Scaler, Study, random_split
from ple_study.experts.causal import CausalSpec
from ple_study.experts.deepfm import DeepFMSpec
from ple_study.experts.hgcn import HGCNSpec
from ple_study.experts.lightgcn import LightGCNSpec
from ple_study.experts.mlp import MLPSpec
from ple_study.fitted import Fitted
from ple_study.gates.routing import GateSpec
from ple_study.gates.stages import StagesSpec
from ple_study.model import HeterogeneousPLE, HeterogeneousPLESpec
from ple_study.schema import Schema, TaskSpec, Transfer
from ple_study.tasks.basket import BasketSpec
from ple_study.tasks.modes import ModesSpec
from ple_study.tasks.transfer import TransferSpec
from tests import customers, laws
from tests.experts.specs import CAUSAL, DEEPFM, PERSLAY, TEMPORAL, TRANSPORT, VECTORS
from tests.gates.test_attention import by_hand as recoloured
from tests.gates.test_cgc import in_loops
from tests.sizes import BATCH, TASKS
from tests.tasks.test_basket import by_hand as carried
from tests.tasks.test_modes import by_hand as said
from tests.tasks.test_transfer import by_hand as told

SCHEMA = replace(
    customers.SCHEMA,
    tasks=(
        TaskSpec(name="ctr", group="engagement", experts=("lightgcn", "deepfm")),
        TaskSpec(name="channel", kind="multiclass", classes=4, group="value"),
        TaskSpec(
            name="ltv", kind="regression", group="engagement", experts=("unified_hgcn",)
        ),
    ),
    transfers=(
        Transfer(source="ctr", target="ltv", kind="inverse"),
        Transfer(source="ltv", target="channel", strength=0.7),
    ),
)
EVEN = replace(SCHEMA, tasks=tuple(replace(t, experts=()) for t in SCHEMA.tasks))
FOUR = {
    "deepfm": DeepFMSpec(dim=6, embedding=4, hidden=(8, 5), dropout=0.0),
    "lightgcn": LightGCNSpec(hidden=9, dim=7, dropout=0.0),
    "unified_hgcn": HGCNSpec(hidden=9, dim=8),
    "causal": CausalSpec(dim=5, hidden=8, latents=6, dropout=0.0),
}
SEVEN = {
    "unified_hgcn": VECTORS["hgcn"],
    "perslay": PERSLAY["both"],
    "deepfm": DEEPFM["groups"],
    "temporal": TEMPORAL["default"],
    "lightgcn": VECTORS["lightgcn"],
    "causal": CAUSAL["stable"],
    "optimal_transport": TRANSPORT["metric"],
}
GATE = GateSpec(kind="top_k", top_k=3, balance=0.2)
GATES = StagesSpec(private=2, expert=MLPSpec(dims=(8, 7), activation="silu"), gate=GATE)
ENCODER = MLPSpec(dims=(9, 7), activation="silu", norm="layer")
BASKET = BasketSpec(encoder=ENCODER, embedding=3, dim=8)
SPEC = HeterogeneousPLESpec(
    experts=FOUR,
    gates=GATES,
    modes=ModesSpec(dim=6, tasks={"ltv": "lifecycle"}),
    basket=BASKET,
    tower=MLPSpec(dims=(6,), activation="silu", norm="layer"),
)
SPECS = {
    **{
        which: replace(SPEC, gates=replace(GATES, which=which))
        for which in ("both", "stage1_only", "stage2_only", "neither")
    },
    "no modes": replace(SPEC, modes=None),
    "no basket": replace(SPEC, basket=None),
    "no transfer": replace(SPEC, transfer=None),
    "form B": replace(
        SPEC,
        basket=replace(BASKET, form="B", routing="hard"),
        transfer=TransferSpec(method="output_concat", init="source", detach=True),
    ),
    "per_cluster": replace(
        SPEC,
        basket=replace(BASKET, form="per_cluster"),
        transfer=TransferSpec(method="hidden_concat"),
    ),
    "seven": replace(SPEC, experts=SEVEN),
}
each = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
ALWAYS = ("deepfm", "causal", "optimal_transport")  # what they read, everybody has


def people(size: int = BATCH) -> Batch:
    """1 has no graph, 3 no hierarchy; 2 lacks states in one mode, 4 in all.

    4 is of no cluster.
    """
    batch = customers.customers(size)
    graph, hierarchy = batch.vectors["graph"], batch.vectors["hierarchy"].clone()
    hierarchy[1], hierarchy[3] = 0.3, torch.nan
    states, clusters = batch.states.clone(), batch.clusters.clone()
    states[2, 0] = states[4] = clusters[4] = torch.nan
    vectors = {"graph": graph, "hierarchy": hierarchy}
    return replace(batch, states=states, clusters=clusters, vectors=vectors)


def built(
    spec: HeterogeneousPLESpec = SPEC, stir: bool = True, schema: Schema = SCHEMA
) -> HeterogeneousPLE:
    """In eval mode; with ``stir``, what starts at zero or even is anything."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = spec.build(schema).eval()
        for name, parameter in model.named_parameters() if stir else ():
            if "absent" in name or name.startswith(("gates", "towers.receivers")):
                nn.init.normal_(parameter, std=0.4)
    return model


def rows(size: int) -> Rows:
    """Labels that follow the columns."""
    batch = people(size)
    one, two = batch.numeric[:, 0], batch.numeric[:, 1]
    labels = {
        "ctr": (one > 0).float(),
        "channel": ((one > 0).float() + 2 * (two > 0).float()),
        "ltv": one - two,
    }
    return Rows(batch, labels)


def study(size: int = 120) -> Study:
    return Study(SCHEMA, rows(size), random_split(size, seed=0))


def fitted(spec: HeterogeneousPLESpec, schema: Schema = SCHEMA) -> Fitted:
    model, scaler = built(spec, schema=schema), Scaler.fit(schema, people(40))
    return Fitted(model, spec, schema, scaler)


def close(found: object, wanted: object, within: float = 1e-6) -> None:
    torch.testing.assert_close(found, wanted, atol=within, rtol=within)


@each
def test_one_row_alone_is_that_row(spec: HeterogeneousPLESpec) -> None:
    laws.one_row_alone_is_that_row(built(spec), people())


@each
def test_permuted_rows_permute_answers(spec: HeterogeneousPLESpec) -> None:
    laws.permuted_rows_permute_answers(built(spec), people())


@each
def test_every_parameter_learns_of_those_it_is_for(spec: HeterogeneousPLESpec) -> None:
    model = built(spec)
    laws.random_loss(model(people(40))).backward()
    still = {f"experts.absent.{name}" for name in ALWAYS}
    if not model.gates.stage1:  # who alone reads the columns
        still |= {f"columns.{name}" for name, _ in model.columns.named_parameters()}
    for name, parameter in model.named_parameters():
        grad = parameter.new_zeros(1) if parameter.grad is None else parameter.grad
        assert grad.isfinite().all(), name
        assert grad.any() != (name in still), name


@each
def test_two_builds_share_no_tensor(spec: HeterogeneousPLESpec) -> None:
    laws.two_builds_share_no_tensor(lambda: spec.build(SCHEMA))


@each
def test_one_customer_and_no_customer(spec: HeterogeneousPLESpec) -> None:
    model = built(spec)
    for size in (1, 0):
        logits = model(people().rows(torch.arange(size))).logits
        shapes = {task.name: (size, task.outputs) for task in SCHEMA.tasks}
        assert {name: tuple(z.shape) for name, z in logits.items()} == shapes
        assert list(logits) == list(SCHEMA.task_names)


@each
def test_bf16_autocast_runs(spec: HeterogeneousPLESpec) -> None:
    model = built(spec).train()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(people())
    (laws.random_loss(output) + output.penalty).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    for weights in output.weights:
        close(weights.float().sum(2), torch.ones(BATCH, TASKS), 0.02)


def test_every_column_counts() -> None:
    laws.every_column_counts(built(), people())


def heard(model: HeterogeneousPLE, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
    """What each task has heard, and the weights of each gate stage, in loops."""
    blocks, present = model.experts(batch)
    first, second = model.gates.stage1, model.gates.stage2
    inputs, weights = [torch.cat(blocks, dim=1)] * TASKS, []
    if first:
        columns = torch.cat([model.columns.tables[0].weight[batch.categorical[:, 0]],
                             batch.numeric], dim=1)  # fmt: skip
        inputs, own, _ = in_loops(first, columns, blocks)
        weights.append(torch.stack(own, dim=1))
    if second:
        mixed, own = recoloured(second, blocks, present)
        weights.append(torch.stack(own, dim=1))
        bridge = model.gates.bridge
        inputs = (
            [
                torch.cat([wide, x @ bridge.weight.T + bridge.bias], dim=1)
                for wide, x in zip(mixed, inputs, strict=True)
            ]
            if bridge
            else mixed
        )
    if model.modes:
        states = said(model.modes, batch.states)
        pairs = zip(inputs, states, strict=True)
        inputs = [torch.cat(pair, dim=1) for pair in pairs]
    if model.basket:
        inputs = carried(model.basket, inputs, batch.clusters)
    return inputs, weights


@each
def test_a_model_is_its_parts(spec: HeterogeneousPLESpec) -> None:
    model, batch = built(spec).double(), laws.double(people())
    output, (inputs, weights) = model(batch), heard(model, batch)
    about = SCHEMA if spec.transfer else replace(SCHEMA, transfers=())
    wanted = told(model.towers, inputs, spec.transfer or TransferSpec(), about)
    close(output.logits, wanted)
    assert list(output.logits) == list(SCHEMA.task_names)
    close(list(output.weights), weights)
    close(list(output.experts), model.experts(batch).blocks, 1e-12)
