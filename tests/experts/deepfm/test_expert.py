"""DeepFM: its answer by loops, its fields by name, its laws, and what it refuses."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ple_study.batch import Batch
from ple_study.experts.deepfm.expert import DeepFM, DeepFMSpec, Places, strongest_pairs
from ple_study.experts.mlp import MLPSpec
from ple_study.schema import Feature
from tests.customers import SCHEMA, customers
from tests.experts.specs import DEEPFM as SPECS
from tests.laws import double
from tests.sizes import BATCH

SPEC = SPECS["groups"]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def close(found: object, wanted: object) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


def field_by_field(expert: DeepFM, batch: Batch, columns: list[list[int]]) -> Tensor:
    """Each field as sums over its columns, one customer after the other."""
    state, row, fields = expert.state_dict(), 0, []
    for field, places in enumerate(columns):
        vector = state["parts.0.bias"][field].expand(len(batch), -1)
        for place in places:
            factor = state["parts.0.factors"][row]
            vector = vector + batch.numeric[:, place, None] * factor
            row += 1
        fields.append(vector)
    if "parts.1.table.weight" in state:
        fields.append(state["parts.1.table.weight"][batch.categorical[:, 0]])
    return torch.stack(fields, 1)


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("groups", [[0, 1, 2], [3, 4, 5, 6], [7, 8]]),
        ("joined", [[0, 1, 2, 7, 8]]),
        ("numbers", [[3, 4, 5, 6], [0, 1, 2, 7, 8]]),
    ],
)
def test_the_answer_is_pairs_beside_a_deep_branch(name: str, columns: list) -> None:
    expert, batch = SPECS[name].build(SCHEMA).double().eval(), double(customers())
    fields = field_by_field(expert, batch, columns)
    close(expert.fields(batch), fields)
    count = fields.shape[1]
    pairs = sum(
        (fields[:, f] * fields[:, g] for f in range(count) for g in range(f)),
        torch.zeros(BATCH, 6),
    )
    state, deep = expert.state_dict(), fields.flatten(1)
    for depth in range(2):
        weight, bias = (
            state[f"deep.layers.{depth}.{p}"][0] for p in ("weight", "bias")
        )
        deep = F.layer_norm(deep @ weight.T + bias, weight.shape[:1]).relu()
    last = torch.cat([pairs, deep], 1) @ state["ending.0.weight"].T
    close(expert(batch), F.layer_norm(last + state["ending.0.bias"], (7,)))


def test_groups_are_fields_and_categories_are_their_own() -> None:
    assert SPEC.build(SCHEMA).names == ["rfm", "day", "card", "city"]
    assert SPECS["joined"].build(SCHEMA).names == ["card + rfm", "city"]
    assert SPECS["numbers"].build(SCHEMA).names == ["day", "card + rfm"]
    assert SPECS["codes"].build(SCHEMA).names == ["city"]
    plain = DeepFM({"rfm": 3, "day": 4, "card": 2}, {"city": 3}, 7, 6)
    assert plain(customers()).shape == (BATCH, 7)


def test_without_places_columns_are_read_from_the_first_on() -> None:
    shown = DeepFM({"a": 2, "b": 3}, {}, 7, 6, places=Places(range(5), ())).eval()
    plain = DeepFM({"a": 2, "b": 3}, {}, 7, 6).eval()
    plain.load_state_dict(shown.state_dict())
    batch = customers()
    first = Batch(batch.numeric[:, :5], batch.categorical)
    close(plain(batch), shown(first))
    moved = replace(batch, numeric=batch.numeric.flip(1))
    turned = DeepFM({"a": 2, "b": 3}, {}, 7, 6, places=Places(range(8, 3, -1), ()))
    turned.load_state_dict(shown.state_dict())
    close(turned.eval()(moved), shown(first))


def test_one_field_alone_has_no_pair() -> None:
    expert, batch = SPECS["one field"].build(SCHEMA).eval(), customers()
    before = expert(batch)
    with torch.no_grad():  # the columns of the ending that read pairs
        expert.ending[0].weight[:, :6] += 5.0
    assert torch.equal(expert(batch), before)
    assert strongest_pairs(expert, batch) == []


def test_strongest_pairs_have_their_names() -> None:
    expert, batch = SPEC.build(SCHEMA).double().eval(), double(customers())
    with torch.no_grad():  # the city crosses strongly with the card
        expert.parts[0].factors[7:] = 3.0
        expert.parts[1].table.weight[:] = 2.0
    fields = dict(zip(expert.names, expert.fields(batch).unbind(1), strict=True))
    found = strongest_pairs(expert, batch, top=99)
    assert found[0][:2] == ("card", "city")
    assert len({frozenset(pair[:2]) for pair in found}) == len(found) == 6
    strengths = [pair.strength for pair in found]
    assert strengths == sorted(strengths, reverse=True)
    for first, second, strength, spread in found:
        product = (fields[first] * fields[second]).sum(1)
        wanted = [product.abs().mean().item(), product.std(correction=0).item()]
        assert [strength, spread] == pytest.approx(wanted, rel=1e-12)
    assert strongest_pairs(expert, batch, top=2) == found[:2]


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e8])
def test_extreme_inputs_have_finite_answers_and_gradients(size: float) -> None:
    expert, batch = SPEC.build(SCHEMA), customers()
    numeric = (batch.numeric * size).requires_grad_()
    answer = expert(replace(batch, numeric=numeric))
    answer.square().sum().backward()
    assert answer.isfinite().all()
    assert numeric.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in expert.parameters())


def test_dropout_is_drawn_in_training_alone() -> None:
    expert, batch = SPEC.build(SCHEMA), customers()
    assert not torch.equal(expert(batch), expert(batch))
    assert torch.equal(expert.eval()(batch), expert(batch))


@pytest.mark.plain
@pytest.mark.parametrize("name", ["groups", "numbers"])
def test_compiles_and_exports_at_another_size(name: str) -> None:
    expert, batch = SPECS[name].build(SCHEMA).eval(), customers()
    wanted = expert(batch)
    compiled = torch.compile(expert, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(batch), wanted)
    some = Batch(batch.numeric, batch.categorical)
    size = {0: torch.export.Dim("batch", min=2)}
    shapes = [size, size, {}, {}, {}]  # parts that are None have none
    exported = torch.export.export(expert, (some,), dynamic_shapes=(shapes,))
    other = customers(8, seed=1)
    other = Batch(other.numeric, other.categorical)
    torch.testing.assert_close(exported.module()(other), expert(other))


def test_an_unknown_group_is_named() -> None:
    with pytest.raises(ValueError, match=r"group 'crad'.*'where'.*Did you mean 'card'"):
        replace(SPEC, fields=(("rfm", "crad"),)).build(SCHEMA)


def test_a_field_and_a_category_of_one_name_are_refused() -> None:
    column = Feature(name="card", kind="categorical", vocabulary=(1,), group="where")
    schema = replace(SCHEMA, features=(*SCHEMA.features, column))
    with pytest.raises(ValueError, match=r"Names of fields must be unique.*card"):
        SPEC.build(schema)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fields": (("rfm",), ("day", "rfm"))}, "Groups in fields.*unique.*rfm"),
        ({"embedding": 0}, "1 or more. Found 64 and 0"),
        ({"dropout": 1.0}, "Dropout"),
        ({"norm": "group"}, "norm must be one of"),
    ],
)
@pytest.mark.plain  # so that the spec speaks, and not the type checker
def test_what_cannot_be_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeepFMSpec(**arguments)


@pytest.mark.parametrize(
    ("widths", "sizes", "message"),
    [({}, {}, "Found 0 fields"), ({"a": 2, "b": 0}, {}, r"without a column: \['b'\]")],
)
def test_a_field_needs_a_column(widths: dict, sizes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeepFM(widths, sizes, deep=MLPSpec(dims=(8,)))
