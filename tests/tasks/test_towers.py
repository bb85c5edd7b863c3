"""Towers and similarities against direct formulas, in float64."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_study.data.world.tasks import tasks as table
from ple_study.experts.mlp import MLPSpec
from ple_study.schema import TaskSpec
from ple_study.tasks.towers import TOWER, Similarity, Towers
from tests.sizes import BATCH, DIMS

KINDS = (  # widths 1, 9, 1, 12, 9 and 4: neither sorted nor in one block
    TaskSpec(name="churn"),
    TaskSpec(name="channel", kind="multiclass", classes=9),
    TaskSpec(name="spend", kind="regression", scale=(40.0, 7.0)),
    TaskSpec(name="brand", kind="contrastive", classes=12, dim=5),
    TaskSpec(name="reason", kind="multiclass", classes=9),
    TaskSpec(name="item", kind="contrastive", classes=4, dim=3),
)
DIM_IN, SPEC = DIMS[0], MLPSpec(dims=DIMS[1:], activation="silu")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def close(found: object, wanted: object) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


def heads(towers: Towers) -> dict[str, tuple[Tensor, Tensor]]:
    """The last map of each plain task: stacked by width, in the tasks' order."""
    plain = [task for task in KINDS if task.kind != "contrastive"]
    found = {}
    for group, width in enumerate((1, 9)):
        same = [task.name for task in plain if task.outputs == width]
        parts = [towers.get_parameter(f"heads.{group}.{p}") for p in ("weight", "bias")]
        found |= dict(zip(same, zip(*parts, strict=True), strict=True))
    return found


def cosine(head: nn.Module, x: Tensor) -> Tensor:
    query = x @ head.query.weight.T + head.query.bias
    return F.cosine_similarity(query[:, None], head.keys[None], dim=2) / 0.07


@pytest.mark.parametrize("spec", [SPEC, MLPSpec(dims=())], ids=["hidden", "none"])
def test_a_tower_a_task(spec: MLPSpec) -> None:
    towers = Towers(KINDS, DIM_IN, spec).double()
    states = [torch.randn(BATCH, DIM_IN).double() for _ in KINDS]
    logits, state = towers(states), towers.state_dict()
    assert list(logits) == [task.name for task in KINDS]
    for place, (task, x) in enumerate(zip(KINDS, states, strict=True)):
        for layer in range(len(spec.dims)):
            w, b = (state[f"hidden.layers.{layer}.{p}"] for p in ("weight", "bias"))
            x = F.silu(x @ w[place].T + b[place])
        if task.kind == "contrastive":
            head = towers.similarity[towers.compared.index(task.name)]
            wanted = cosine(head, x)
        else:
            weight, bias = heads(towers)[task.name]
            usual, strays = task.scale
            wanted = (x @ weight.T + bias) * strays + usual
        close(logits[task.name], wanted)
        assert wanted.shape == (BATCH, task.outputs)


@pytest.mark.parametrize("place", range(len(KINDS)))
def test_a_task_reads_its_own_state_alone(place: int) -> None:
    towers = Towers(KINDS, DIM_IN, SPEC).double()
    states = [torch.randn(BATCH, DIM_IN).double().requires_grad_() for _ in KINDS]
    towers(states)[KINDS[place].name].square().sum().backward()
    reached = [x.grad is not None and bool(x.grad.any()) for x in states]
    assert reached == [other == place for other in range(len(KINDS))]


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_similarity_is_a_cosine_over_the_temperature(temperature: float) -> None:
    head = Similarity(DIM_IN, 12, 5, temperature).double()
    x = torch.randn(BATCH, DIM_IN).double()
    scores = head(x)
    close(scores, cosine(head, x) * 0.07 / temperature)
    assert scores.abs().max() <= 1 / temperature
    with torch.no_grad():
        head.keys.mul_(3)  # lengths of keys count for nothing
    close(head(x), scores)


def test_the_key_of_a_query_wins() -> None:
    head = Similarity(DIM_IN, 12, 5).double()
    x = torch.randn(BATCH, DIM_IN).double()
    with torch.no_grad():
        head.keys[7] = head.query(x)[2]
    scores = head(x)[2]
    assert scores.argmax() == 7
    close(scores[7], torch.tensor(1 / 0.07, dtype=torch.float64))


def test_dropout_is_for_training_alone() -> None:
    towers = Towers(KINDS, DIM_IN, MLPSpec(dims=(80,), dropout=0.5))
    states = [torch.randn(BATCH, DIM_IN) for _ in KINDS]
    one, other = towers(states), towers(states)
    assert not any(torch.equal(one[name], other[name]) for name in one)
    towers.eval()
    close(towers(states), towers(states))


def test_half_precision_keeps_the_deviation_of_a_large_label() -> None:
    task = TaskSpec(name="income", kind="regression", scale=(1000.0, 10.0))
    towers = Towers([task], DIM_IN, SPEC)
    states = [torch.randn(8 * BATCH, DIM_IN)]
    with torch.autocast("cpu", torch.bfloat16):
        found = towers(states)["income"]
    assert found.dtype == torch.float32
    assert len(found.unique()) > 4 * BATCH


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.0, 3.0), (5.0, 1.0)])
def test_a_regression_answers_in_the_unit_of_its_label(scale: tuple) -> None:
    states = [torch.randn(BATCH, DIM_IN)]
    plain, scaled = (
        Towers([TaskSpec(name="sum", kind="regression", scale=unit)], DIM_IN, SPEC)
        for unit in ((0.0, 1.0), scale)
    )
    scaled.load_state_dict(plain.state_dict())
    usual, strays = scale
    torch.testing.assert_close(
        scaled(states)["sum"], usual + strays * plain(states)["sum"]
    )


def test_keys_begin_about_as_long_as_one() -> None:
    lengths = Similarity(DIM_IN, 200, 50).keys.norm(dim=1)
    assert 0.9 < lengths.mean() < 1.1


def test_a_contrastive_task_may_have_any_name() -> None:
    tasks = [
        TaskSpec(name=name, kind="contrastive", classes=3) for name in ("items", "a.b")
    ]
    towers = Towers(tasks, DIM_IN, SPEC)
    assert list(towers([torch.randn(BATCH, DIM_IN)] * 2)) == ["items", "a.b"]


def test_the_sources_number_of_parameters() -> None:
    """Sixteen tasks of 205 numbers; the keys to which a query is compared are extra."""
    active = [task.spec for task in table(brands=50) if task.active]
    towers = Towers(active, 32, TOWER)
    learned = {name: p.numel() for name, p in towers.named_parameters()}
    assert learned.pop("similarity.0.keys") == 50 * 128
    assert sum(learned.values()) == 76_909
    plain = [task.outputs for task in active if task.kind != "contrastive"]
    assert (len(active), sum(plain) + 128) == (16, 205)
