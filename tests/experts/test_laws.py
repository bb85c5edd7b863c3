"""The laws of every expert, whatever its mathematics."""

import json
from dataclasses import asdict, fields
from inspect import Parameter, signature

import pytest
import torch

from ple_study.experts.base import Expert, ExpertSpec
from ple_study.presets import STUDY
from tests.customers import SCHEMA, customers
from tests.experts.specs import EVERY
from tests.laws import double, two_builds_share_no_tensor
from tests.sizes import BATCH

each = pytest.mark.parametrize("spec", EVERY.values(), ids=EVERY)
FIELDS = ("deepfm", "causal", "transport")  # what they read, everybody has


def built(spec: ExpertSpec) -> Expert:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return spec.build(SCHEMA).eval()


@pytest.mark.parametrize("spec", STUDY.experts.values(), ids=list(STUDY.experts))
def test_a_constructor_begins_as_its_spec(spec: ExpertSpec) -> None:
    sizes = {field.name: field.default for field in fields(spec)}
    expert = signature(type(built(spec))).parameters
    both = {name: expert[name].default for name in expert if name in sizes}
    optional = {k: v for k, v in both.items() if v not in (Parameter.empty, None)}
    assert optional == {name: sizes[name] for name in optional}
    assert "dim" in optional


@each
def test_no_customer_depends_on_another(spec: ExpertSpec) -> None:
    expert, batch = built(spec).double(), double(customers())
    together = expert(batch)
    assert together.shape == (BATCH, expert.dim)
    for row in range(BATCH):
        index = torch.tensor([row])
        alone = expert(batch.rows(index))
        torch.testing.assert_close(alone, together[index], atol=1e-12, rtol=1e-12)
    order = torch.arange(BATCH).roll(2)
    moved = expert(batch.rows(order))
    torch.testing.assert_close(moved, together[order], atol=1e-12, rtol=1e-12)


@each
def test_the_norm_is_that_of_the_width(spec: ExpertSpec) -> None:
    expert = built(spec).double()
    norms = expert(double(customers())).norm(dim=1)
    wanted = torch.full((BATCH,), expert.dim**0.5, dtype=torch.float64)
    torch.testing.assert_close(norms, wanted, atol=0, rtol=0.05)


@each
def test_every_parameter_learns(
    spec: ExpertSpec, request: pytest.FixtureRequest
) -> None:
    expert = built(spec).double()
    answer = expert(double(customers(40)))
    draw = torch.Generator().manual_seed(0)
    (answer * torch.randn(answer.shape, generator=draw)).sum().backward()
    for name, parameter in expert.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # One step from a state of zero recalls nothing.
        still = "temporal-serial" in request.node.name and "recall" in name
        assert parameter.grad.any() != still, name


@pytest.mark.parametrize("name", EVERY)
def test_who_has_nothing_to_read_is_finite_and_moves_nobody(name: str) -> None:
    """Customer 1 has no series, diagram or vector."""
    expert, batch = built(EVERY[name]).double(), double(customers())
    everyone = name.startswith(FIELDS)
    wanted = [everyone or row != 1 for row in range(BATCH)]
    assert expert.present(batch).tolist() == wanted
    answer, rest = expert(batch), torch.tensor([0, 2, 3, 4])
    assert answer.isfinite().all()
    alone = expert(batch.rows(rest))
    torch.testing.assert_close(alone, answer[rest], atol=1e-12, rtol=1e-12)
    answer.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in expert.parameters())


@each
def test_no_customers_get_no_answers(spec: ExpertSpec) -> None:
    expert = built(spec)
    nobody = customers().rows(torch.tensor([], dtype=torch.int64))
    assert expert(nobody).shape == (0, expert.dim)
    assert expert.present(nobody).shape == (0,)
    assert expert.penalty_of(nobody).isfinite()


@each
def test_half_precision_is_near(spec: ExpertSpec) -> None:
    expert, batch = built(spec), customers()
    wanted = expert(batch)
    with torch.autocast("cpu", torch.bfloat16):
        found = expert(batch).float()
    assert (found - wanted).norm() < 0.1 * wanted.norm()


@each
@pytest.mark.plain  # JSON knows lists alone
def test_a_spec_builds_anew_and_survives_json(spec: ExpertSpec) -> None:
    two_builds_share_no_tensor(lambda: spec.build(SCHEMA))
    assert type(spec)(**json.loads(json.dumps(asdict(spec)))) == spec
    one, other = built(spec), spec.build(SCHEMA).eval()
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(customers()), other(customers()))


@pytest.mark.parametrize("name", EVERY)
def test_the_causal_expert_alone_asks_the_loss_for_something(name: str) -> None:
    asked = built(EVERY[name]).penalty_of(customers())
    assert asked.isfinite()
    assert bool(asked > 0) == name.startswith("causal")
