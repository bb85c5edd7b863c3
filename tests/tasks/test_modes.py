"""Which hidden states speak to which task, and what is heard of who has none."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ple_study.schema import Schema, TaskSpec
from ple_study.tasks.modes import ModeRouter, ModesSpec, valid
from tests import customers
from tests.sizes import BATCH, DIMS

STATES, DIM, MODES = DIMS[0], DIMS[1], 3
ROUTES = (2, 0, 2, 1)  # one mode twice, and no mode at the place of its task
SCHEMA = replace(
    customers.SCHEMA,
    tasks=(
        TaskSpec(name="nba", group="consumption"),
        TaskSpec(name="ctr", group="engagement"),
        TaskSpec(name="odd", group="nobody's"),
        TaskSpec(name="churn", group="lifecycle"),
        TaskSpec(name="limit", group="value"),
    ),
)
either = pytest.mark.parametrize("shared", [False, True])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def close(found: object, wanted: object) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


def router(**options: object) -> ModeRouter:
    found = ModeRouter(STATES, ROUTES, ModesSpec(dim=DIM, **options)).double()
    for parameter in found.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    return found


def holed() -> Tensor:
    """Customer 1 has no mode at all, 2 a row that is zeros, 4 lacks mode 0."""
    states = torch.randn(BATCH, MODES, STATES).double()
    states[1], states[2, 1], states[4, 0] = torch.nan, 0.0, torch.nan
    states[3, 2, 4] = torch.inf
    return states


KNOWN = torch.ones(BATCH, MODES, dtype=torch.bool)
KNOWN[1], KNOWN[4, 0], KNOWN[3, 2] = False, False, False


def by_hand(model: ModeRouter, states: Tensor) -> list[Tensor]:
    """SiLU(LayerNorm(W_m s_m + b_m)), or the mode's vector, row by row."""
    found = []
    for mode in model.routes:
        place = mode if len(model.linear.weight) > 1 else 0
        rows = []
        for own in states[:, mode]:
            if not own.isfinite().all():
                rows.append(model.absent[mode])
                continue
            x = model.linear.weight[place] @ own + model.linear.bias[place]
            x = (x - x.mean()) / ((x - x.mean()).square().mean() + 1e-5).sqrt()
            x = x * model.gain[place] + model.bias[place]
            rows.append(x / (1 + (-x).exp()))
        found.append(torch.stack(rows))
    return found


def gradients(answer: list[Tensor], leaves: list[Tensor]) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(1)
    weighed = [(x * torch.randn(x.shape, generator=draw)).sum() for x in answer]
    return torch.autograd.grad(torch.stack(weighed).sum(), leaves)


@either
def test_a_router_is_its_formula(shared: bool) -> None:
    model, states = router(shared=shared), holed()
    found, wanted = model(states, BATCH), by_hand(model, states)
    assert len(found) == len(ROUTES)
    close(found, wanted)
    leaves = list(model.parameters())
    close(gradients(found, leaves), gradients(wanted, leaves))
    assert len(model.linear.weight) == (1 if shared else MODES)


def test_only_nan_says_that_there_is_none() -> None:
    states = holed()
    assert torch.equal(valid(states), KNOWN)
    model = router()
    assert not torch.equal(model.rows(states)[1, 2], model.absent[1])


def test_a_default_is_learned_from_the_missing_alone_and_a_map_from_the_rest() -> None:
    model = router()
    rows = model.rows(holed())
    projector = [p for p in model.parameters() if p is not model.absent]
    some, none = rows[KNOWN.T].square().sum(), rows[~KNOWN.T].square().sum()
    by_some = torch.autograd.grad(some, [model.absent, *projector], retain_graph=True)
    by_none = torch.autograd.grad(none, [model.absent, *projector])
    assert [bool(grad.any()) for grad in by_some] == [False] + [True] * 4
    assert [bool(grad.any()) for grad in by_none] == [True] + [False] * 4
    missing = (~KNOWN).sum(0)[:, None]
    close(by_none[0], 2 * missing * model.absent)


@either
def test_without_states_everyone_is_missing(shared: bool) -> None:
    model = router(shared=shared)
    found = model(None, BATCH)
    nobody = torch.full((BATCH, MODES, STATES), torch.nan).double()
    close(found, model(nobody, BATCH))
    for rows, mode in zip(found, ROUTES, strict=True):
        close(rows, model.absent[mode].expand(BATCH, -1))


def test_who_is_missing_starts_at_zero_and_may_stay_there() -> None:
    for learned in (True, False):
        model = ModeRouter(STATES, ROUTES, ModesSpec(dim=DIM, learned=learned))
        assert not torch.stack(model(None, BATCH)).any()
        assert model.absent.requires_grad == learned


@either
def test_another_row_moves_its_mode_alone(shared: bool) -> None:
    model, states = router(shared=shared), torch.randn(BATCH, MODES, STATES).double()
    before, other = model(states, BATCH), states.clone()
    other[3, 2] += 1
    for rows, then, mode in zip(model(other, BATCH), before, ROUTES, strict=True):
        moved = (rows != then).any(1)
        assert moved.tolist() == [mode == 2 and row == 3 for row in range(BATCH)]


def test_a_row_alone_is_that_row_and_permuted_rows_permute_answers() -> None:
    model, states = router(), holed()
    together = model(states, BATCH)
    for rows in (*torch.eye(BATCH).nonzero()[:, 1:], torch.arange(BATCH).roll(2)):
        close(model(states[rows], len(rows)), [x[rows] for x in together])


@pytest.mark.plain
def test_the_compiled_form_is_the_same() -> None:
    model, states = router(), holed()
    leaves = list(model.parameters())
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    found, wanted = compiled(states, BATCH), model(states, BATCH)
    close(found, wanted)
    close(gradients(found, leaves), gradients(wanted, leaves))


def test_the_sources_number_of_parameters() -> None:
    model = ModesSpec().build(SCHEMA)
    learned = {name: p.numel() for name, p in model.named_parameters()}
    assert learned.pop("absent") == 96
    assert sum(learned.values()) == 1_824


@pytest.mark.parametrize(
    ("options", "modes"),
    [
        ({}, "behavior journey behavior lifecycle behavior"),
        ({"fallback": "journey"}, "behavior journey journey lifecycle behavior"),
        ({"tasks": {"ctr": "lifecycle", "odd": "journey"}},
         "behavior lifecycle journey lifecycle behavior"),
        ({"groups": {"value": "journey"}, "fallback": "lifecycle"},
         "lifecycle lifecycle lifecycle lifecycle journey"),
    ],
)  # fmt: skip
def test_a_tasks_mode_is_its_own_or_its_groups_or_the_fallback(
    options: Mapping, modes: str
) -> None:
    spec = ModesSpec(dim=DIM, **options)
    assert [spec.mode_of(task) for task in SCHEMA.tasks] == modes.split()
    assert spec.build(SCHEMA).routes == [spec.names.index(m) for m in modes.split()]


def test_a_spec_is_a_value() -> None:
    assert hash(ModesSpec()) == hash(ModesSpec())
    assert {ModesSpec(), ModesSpec(), ModesSpec(dim=8)} == {
        ModesSpec(),
        ModesSpec(dim=8),
    }


def test_modes_are_counted_in_the_order_of_their_names() -> None:
    turned = ("behavior", "lifecycle", "journey")
    assert ModesSpec(names=turned).build(SCHEMA).routes == [0, 2, 0, 1, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "A projection needs dim >= 1. Found 0"),
        ({"names": ("journey", "journey", "behavior")},
         r"Names of modes must be unique. .*\['journey'\]"),
        ({"fallback": "behaviour"}, r"'behaviour' for the fallback\. .*'behavior'\?"),
        ({"groups": {"value": "jorney"}}, r"Found 'jorney' for value\. .*'journey'\?"),
        ({"tasks": {"ctr": "daily"}}, "Modes are .*Found 'daily' for ctr"),
    ],
)  # fmt: skip
def test_modes_that_cannot_be_are_refused(options: Mapping, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModesSpec(**options)


@pytest.mark.parametrize(
    ("spec", "schema", "message"),
    [
        (ModesSpec(), replace(SCHEMA, states=(2, 16)), "'behavior'.*a schema with 2"),
        (ModesSpec(), replace(SCHEMA, states=(0, 0)), "Found a schema with 0"),
        (ModesSpec(tasks={"chrun": "journey"}), SCHEMA, "Unknown task 'chrun'.*churn"),
    ],
)
def test_a_schema_without_these_modes_or_tasks_is_refused(
    spec: ModesSpec, schema: Schema, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        spec.build(schema)
