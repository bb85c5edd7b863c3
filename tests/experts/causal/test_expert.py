"""The causal expert: its answer by hand, what it charges, its laws, its collapse."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_study.batch import Batch
from ple_study.experts.base import Columns
from ple_study.experts.causal.dag import exponential, truncated
from ple_study.experts.causal.expert import STARTS, Causal, CausalSpec, Fix, Mechanism
from tests.customers import SCHEMA, customers
from tests.experts.specs import CAUSAL as SPECS
from tests.laws import double
from tests.sizes import BATCH

SPEC = SPECS["stable"]
FIXES: tuple[Fix, ...] = ("none", "source", "stable")
each_fix = pytest.mark.parametrize("fix", FIXES)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def close(found: object, wanted: object) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


def built(fix: Fix) -> tuple[Causal, Batch]:
    expert = replace(SPEC, fix=fix).build(SCHEMA).double().eval()
    with torch.no_grad():
        expert.mechanism.weight.copy_(torch.randn(6, 6) / 3)
    return expert, double(customers())


@each_fix
def test_the_answer_is_latents_moved_once_and_encoded(fix: Fix) -> None:
    expert, batch = built(fix)
    state = expert.state_dict()

    def layer(name: str, x: Tensor) -> Tensor:
        x = F.linear(x, state[f"{name}.0.weight"], state[f"{name}.0.bias"])
        return F.silu(F.layer_norm(x, x.shape[1:]))

    hidden = layer("squeeze", batch.numeric)
    z = F.linear(hidden, state["latent.weight"], state["latent.bias"])
    close(expert.latents(batch), z)
    w = state["mechanism.weight"]
    moved = z.clone()
    for i in range(6):
        for j in range(6):
            if fix != "stable":
                moved[:, j] += z[:, i] * w[i, j] ** 2
            elif i != j:
                moved[:, j] += z[:, i] * w[i, j]
    answer = F.linear(
        layer("encoder", moved), state["ending.0.weight"], state["ending.0.bias"]
    )
    close(expert(batch), F.layer_norm(answer, (7,)))


@each_fix
def test_an_effect_goes_from_its_row_to_its_column(fix: Fix) -> None:
    mechanism = Mechanism(4, fix)
    with torch.no_grad():
        mechanism.weight.zero_()[1, 3] = 0.5
    z = torch.eye(4)
    change = mechanism(z) - z
    assert change.nonzero().tolist() == [[1, 3]]
    assert change[1, 3] == (0.5 if fix == "stable" else 0.25)


def test_the_stable_form_is_charged_for_what_effects_leave_unexplained() -> None:
    expert, batch = built("stable")
    w = expert.mechanism.weight.detach() * (1 - torch.eye(6))
    z = expert.latents(batch).detach()
    u = (z - z.mean(0)) / (z.std(0, correction=0) + 1e-6)
    own = 1.0 * exponential(w) + 0.001 * w.abs().sum()
    close(expert.penalty(), own)
    close(expert.penalty_of(batch), own + 1.0 * (u - u @ w).square().mean())


def test_the_sources_form_is_charged_as_written() -> None:
    expert, batch = built("source")
    w, z = expert.mechanism.weight.detach(), expert.latents(batch).detach()
    own = 0.01 * truncated(w) + 0.001 * w.square().sum()
    close(expert.penalty(), own)
    close(expert.penalty_of(batch), own + 0.5 * (z - z @ w**2).square().mean())
    plain, _ = built("none")
    plain.load_state_dict(expert.state_dict())
    close(plain.penalty_of(batch), own)
    assert plain.penalty_of(batch) == plain.penalty()


def test_only_the_stable_form_leaves_latents_alone() -> None:
    for fix, reached in (("stable", False), ("source", True)):
        expert, batch = built(fix)
        expert.penalty_of(batch).backward()
        assert expert.mechanism.weight.grad.any()
        assert (expert.latent.weight.grad is not None) == reached
    scaled, batch = built("stable")
    before = scaled.penalty_of(batch).detach()
    with torch.no_grad():  # smaller latents are no way out
        scaled.latent.weight *= 0.01
        scaled.latent.bias *= 0.01
    torch.testing.assert_close(
        scaled.penalty_of(batch).detach(), before, rtol=1e-3, atol=0
    )


def test_a_diagonal_is_no_effect_in_the_stable_form() -> None:
    expert, batch = built("stable")
    before = expert(batch), expert.penalty_of(batch)
    with torch.no_grad():
        expert.mechanism.weight += 9.0 * torch.eye(6)
    close((expert(batch), expert.penalty_of(batch)), before)


@each_fix
def test_no_dropout_in_the_penalty(fix: Fix) -> None:
    expert, batch = built(fix)
    still = expert.penalty_of(batch)
    assert torch.equal(expert.train().penalty_of(batch), still)
    assert not torch.equal(expert(batch), expert(batch))


@pytest.mark.parametrize("size", [1, BATCH])
def test_latents_that_do_not_vary_have_a_finite_penalty(size: int) -> None:
    expert, batch = built("stable")
    same = batch.rows(torch.zeros(size, dtype=torch.long))
    charge = expert.penalty_of(same)
    charge.backward()
    assert charge.isfinite()
    assert expert.mechanism.weight.grad.isfinite().all()


def trained(fix: Fix, steps: int = 300) -> tuple[Causal, float, float]:
    """The norm of W and the variance of latents after a short training, per before."""
    draw = torch.Generator().manual_seed(0)
    causes = torch.randn(512, 4, generator=draw)
    numeric = causes @ torch.randn(4, 20, generator=draw)
    target = (causes[:, :1] * causes[:, 1:2]).tanh()
    batch = Batch(numeric, torch.zeros(512, 0, dtype=torch.long))
    expert, head = Causal(Columns(range(20)), 8, 32, 16, 0.1, fix), nn.Linear(8, 1)

    @torch.no_grad()
    def sizes() -> tuple[float, float]:
        norm, spread = expert.mechanism.weight.norm(), expert.latents(batch).var(0)
        return float(norm), float(spread.mean())

    before = sizes()
    parameters = [*expert.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=5e-3, weight_decay=0.01)
    for _ in range(steps):
        loss = (head(expert(batch)) - target).square().mean()
        optimiser.zero_grad()
        (loss + expert.penalty_of(batch)).backward()
        optimiser.step()
    after = sizes()
    return expert, after[0] / before[0], after[1] / before[1]


@pytest.mark.plain  # a training, not a question of shapes
def test_effects_or_latents_collapse_but_in_the_stable_form() -> None:
    _, effects, _ = trained("none")
    assert effects < 0.3
    _, effects, latents = trained("source")
    assert effects < 0.5
    assert latents < 0.2
    expert, effects, latents = trained("stable")
    assert effects > 0.8
    assert latents > 0.5
    assert (expert.mechanism.effects().abs() > 0.1).float().mean() > 0.1
    assert float(exponential(expert.mechanism.effects()).detach()) < 0.2


@each_fix
def test_effects_begin_at_the_forms_scale(fix: Fix) -> None:
    weight = Mechanism(80, fix).weight.detach()
    assert weight.std().item() == pytest.approx(STARTS[fix].scale, rel=0.05)


@each_fix
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e8])
def test_extreme_inputs_have_finite_answers_and_gradients(
    fix: Fix, size: float
) -> None:
    expert, batch = replace(SPEC, fix=fix).build(SCHEMA), customers()
    numeric = (batch.numeric * size).requires_grad_()
    moved = replace(batch, numeric=numeric)
    answer = expert(moved)
    (answer.square().sum() + expert.penalty_of(moved)).backward()
    assert answer.isfinite().all()
    assert numeric.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in expert.parameters())


@pytest.mark.parametrize("fix", ["source", "stable"])
@pytest.mark.plain
def test_compiles_and_exports_at_another_size(fix: Fix) -> None:
    expert, batch = replace(SPEC, fix=fix).build(SCHEMA).eval(), customers()
    compiled = torch.compile(expert, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(batch), expert(batch))
    some = Batch(batch.numeric, batch.categorical)
    size = {0: torch.export.Dim("batch", min=2)}
    shapes = [size, size, {}, {}, {}]  # parts that are None have none
    exported = torch.export.export(expert, (some,), dynamic_shapes=(shapes,))
    other = customers(8, seed=1)
    other = Batch(other.numeric, other.categorical)
    torch.testing.assert_close(exported.module()(other), expert(other))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fix": "stabel"}, "fix must be one of.*'stabel'.*Did you mean 'stable'"),
        ({"latents": 0}, r"1 or more. Found \(64, 128, 0\)"),
        ({"dropout": 1.0}, r"Dropout must lie in \[0, 1\). Found 1.0"),
    ],
)
@pytest.mark.plain  # so that the spec speaks, and not the type checker
def test_what_cannot_be_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CausalSpec(**arguments)


def test_columns_are_those_of_the_groups() -> None:
    assert SPECS["source"].build(SCHEMA).columns.dim == 5
    assert SPEC.build(SCHEMA).columns.dim == 9


def test_columns_must_be_there() -> None:
    with pytest.raises(ValueError, match="group 'crad'"):
        replace(SPEC, groups=("crad",)).build(SCHEMA)
    codes = tuple(f for f in SCHEMA.features if f.kind == "categorical")
    with pytest.raises(ValueError, match=r"reads numeric columns\. Found none"):
        SPEC.build(replace(SCHEMA, features=codes))
