"""GradNorm: its gradient against second-order autograd, and what it leads to."""

import math

import pytest
import torch
from torch import nn

from ple_study.learner import Learner
from ple_study.objective.gradnorm import GradNormSpec
from ple_study.objective.losses import TaskLosses
from ple_study.objective.weighting import (
    DynamicWeightAverageSpec,
    Weighting,
    WeightingSpec,
)
from ple_study.schema import TaskSpec
from tests.runs import run, same
from tests.sizes import BATCH, DIMS

WEIGHTS = (0.8, 1.5, 1.0)
TASKS = [TaskSpec(name=f"task{i}", weight=w) for i, w in enumerate(WEIGHTS)]
START = torch.tensor([0.7, 1.9, 0.4], dtype=torch.float64)


class Small(nn.Module):
    """A shared layer and a head a task, of unlike scales."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Sequential(nn.Linear(*DIMS[:2]), nn.Tanh())
        self.heads = nn.Linear(DIMS[1], len(TASKS))
        self.double()

    def losses(self, seed=0, absent=()):
        draw = torch.Generator().manual_seed(seed)
        x = torch.randn(BATCH, DIMS[0], generator=draw, dtype=torch.float64)
        y = torch.randn(BATCH, len(TASKS), generator=draw, dtype=torch.float64)
        scale = torch.tensor([1.0, 3.0, 0.2], dtype=torch.float64)
        values = (scale * (self.heads(self.shared(x)) - y) ** 2).mean(0)
        present = torch.tensor([k not in absent for k in range(len(TASKS))])
        return TaskLosses(values.where(present, 0.0), present)

    def trunk(self):
        return list(self.shared.parameters())


def built(tasks=TASKS, **options):
    weighting = GradNormSpec(**options).build(tasks).double()
    with torch.no_grad():
        weighting.factors.copy_(START)
    return weighting


def by_second_order(model, losses, first, factors, alpha, part):
    """The gradient in w of sum |G - target|, each G with a graph of its own."""
    w = factors.detach().clone().requires_grad_()
    norms, rates = {}, {}
    for k in part:
        gradients = torch.autograd.grad(
            w[k] * losses.values[k], model.trunk(), create_graph=True
        )
        norms[k] = sum((g**2).sum() for g in gradients).sqrt()
        rates[k] = losses.values[k].item() / first[k]
    mean = sum(g.item() for g in norms.values()) / len(part)
    usual = sum(rates.values()) / len(part)
    gaps = [(norms[k] - mean * (rates[k] / usual) ** alpha).abs() for k in part]
    return torch.autograd.grad(sum(gaps), w)[0]


def weights_meet_their_gradient(tasks, alpha, absent, part):
    """From many weights, since a gradient tells but the side of the target."""
    model, weighting = Small(), built(tasks, alpha=alpha)
    first = model.losses(seed=1).values.tolist()
    weighting(model.losses(seed=1), model.trunk())
    draw = torch.Generator().manual_seed(0)
    for _ in range(30):
        with torch.no_grad():
            weighting.factors.copy_(torch.rand(len(tasks), generator=draw) + 0.1)
            weighting.factors.copy_(weighting.factors * 3 / weighting.factors.sum())
        losses = model.losses(seed=2, absent=absent)
        wanted = by_second_order(model, losses, first, weighting.factors, alpha, part)
        weighting.zero_grad()
        weighting(losses, model.trunk()).backward()
        found = weighting.factors.grad
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
        assert [k for k in range(3) if wanted[k] != 0] == part or len(part) == 1


@pytest.mark.parametrize("absent", [(), (1,), (0, 2)])
@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.5])
def test_gradient_of_the_weights_is_the_paper_s(alpha, absent):
    part = [k for k in range(3) if k not in absent]
    weights_meet_their_gradient(TASKS, alpha, absent, part)


@pytest.mark.parametrize("place", range(3))
def test_a_task_without_weight_has_no_part(place):
    tasks = [
        TaskSpec(name=task.name, weight=task.weight * (k != place))
        for k, task in enumerate(TASKS)
    ]
    weights_meet_their_gradient(tasks, 1.5, (), [k for k in range(3) if k != place])


def test_value_and_gradient_of_the_model_are_those_of_the_weighted_sum():
    model, weighting = Small(), built()
    losses = model.losses()
    terms = weighting.terms(losses, model.trunk())
    scales = torch.tensor(WEIGHTS) * weighting.factors.detach()
    wanted = scales * losses.values
    torch.testing.assert_close(terms, wanted, rtol=1e-7, atol=0.0)
    parameters = list(model.parameters())
    ours = torch.autograd.grad(terms.sum(), parameters, retain_graph=True)
    theirs = torch.autograd.grad(wanted.sum(), parameters)
    for found, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, want, rtol=1e-6, atol=1e-8)


def test_terms_are_weighed_after_the_balance():
    model = Small()
    plain = [TaskSpec(name=task.name) for task in TASKS]
    gradients = []
    for tasks in (TASKS, plain):
        weighting = built(tasks)
        weighting(model.losses(), model.trunk()).backward()
        gradients.append(weighting.factors.grad)
    assert gradients[0].equal(gradients[1])


def test_weights_sum_to_the_number_of_tasks_and_stay_above_zero():
    model, weighting = Small(), built()
    optimiser = torch.optim.Adam(weighting.parameters(), lr=0.3)
    for step in range(20):
        optimiser.zero_grad()
        weighting(model.losses(seed=step), model.trunk()).backward()
        assert weighting.factors.sum().item() == pytest.approx(3)
        assert weighting.factors.min() > 0
        optimiser.step()
    with torch.no_grad():
        weighting.factors.copy_(torch.tensor([-2.0, 3.0, 1.0]))
    losses = model.losses()
    found = weighting.eval().terms(losses) / losses.values / torch.tensor(WEIGHTS)
    assert found.sum().item() == pytest.approx(3)
    assert 0 < found[0] < 1e-3
    assert found[1].item() == pytest.approx(3 * found[2].item())


def test_steady_gradients_become_equally_long():
    slopes = torch.tensor([0.5, 2.0, 4.0])
    place = nn.Parameter(torch.full((3,), 10.0))
    weighting = GradNormSpec(alpha=0.0).build(TASKS)
    optimiser = torch.optim.Adam(weighting.parameters(), lr=0.005)
    present = torch.ones(3, dtype=torch.bool)
    for _ in range(1500):
        optimiser.zero_grad()
        weighting(TaskLosses(slopes * place, present), [place]).backward()
        optimiser.step()
    wanted = (3 / slopes / (1 / slopes).sum()).tolist()
    assert weighting.factors.tolist() == pytest.approx(wanted, abs=0.05)


def test_a_task_whose_loss_falls_slowly_gets_a_larger_weight():
    place = nn.Parameter(torch.full((2,), 3.0))
    weighting = GradNormSpec().build(TASKS[:2])
    optimiser = torch.optim.SGD(
        [{"params": [place]}, {"params": weighting.parameters()}], lr=0.02
    )
    present = torch.ones(2, dtype=torch.bool)
    for _ in range(20):
        optimiser.zero_grad()
        # Equal gradients, but the second loss keeps most of what it began with.
        values = place**2 + torch.tensor([0.0, 40.0])
        weighting(TaskLosses(values, present), [place]).backward()
        optimiser.step()
    first, second = weighting.factors.tolist()
    assert second > 1.2 > 0.8 > first


def test_backward_works_at_every_step_and_after_two_calls():
    model, weighting = Small(), built()
    total = weighting(model.losses(), model.trunk())
    total.backward(retain_graph=True)
    once = weighting.factors.grad.clone()
    total.backward()
    torch.testing.assert_close(weighting.factors.grad, 2 * once)
    both = [weighting(model.losses(seed=s), model.trunk()) for s in (1, 2)]
    sum(both).backward()
    assert weighting.factors.grad.isfinite().all()


@pytest.mark.parametrize("every", [1, 3])
def test_norms_are_looked_at_every_so_many_steps(every):
    model, weighting = Small(), built(every=every)
    looked = []
    for step in range(7):
        if step == 4:  # what was saved goes on where it was
            state, weighting = weighting.state_dict(), built(every=every)
            weighting.load_state_dict(state)
        weighting.zero_grad()
        weighting(model.losses(), model.trunk()).backward()
        looked.append(weighting.factors.grad is not None)
    assert looked == [step % every == 0 for step in range(7)]


def test_first_losses_are_kept():
    model, weighting = Small(), built()
    early, late = model.losses(seed=1, absent=[1]), model.losses(seed=2)
    weighting(early, model.trunk())
    resumed = built()
    resumed.load_state_dict(weighting.state_dict())
    resumed(late, model.trunk())
    wanted = [early.values[0], late.values[1], early.values[2]]
    torch.testing.assert_close(resumed.first, torch.stack(wanted).detach())


def test_no_loss_at_all_is_no_harm():
    model, weighting = Small(), built()
    nothing = model.losses(absent=[0, 1, 2])
    total = weighting(nothing, model.trunk())
    total.backward()
    assert total.item() == 0
    assert weighting.factors.grad.eq(0).all()
    still = TaskLosses(model.losses().values * 0.0, torch.ones(3, dtype=torch.bool))
    total = weighting(still, model.trunk())  # a first loss of zero
    total.backward()
    assert total.item() == 0
    assert weighting.factors.grad.isfinite().all()


def test_evaluation_changes_nothing_and_needs_no_gradient():
    model, weighting = Small(), built().eval()
    before = {key: value.clone() for key, value in weighting.state_dict().items()}
    with torch.no_grad():
        total = weighting(model.losses())
    torch.testing.assert_close(dict(weighting.state_dict()), before, rtol=0, atol=0)
    scales = START / START.sum() * 3 * torch.tensor(WEIGHTS)
    wanted = (scales * model.losses().values).sum()
    assert total.item() == pytest.approx(wanted.item())


@pytest.mark.parametrize("spec", [GradNormSpec(every=5), DynamicWeightAverageSpec()])
def test_a_killed_run_goes_on_as_it_was(spec, tmp_path, monkeypatch):
    calls, whole = [], Learner.training_step

    def until_killed(*args):
        calls.append(1)
        if len(calls) == 16:  # six steps an epoch: the fourth of the third
            raise KeyboardInterrupt
        return whole(*args)

    monkeypatch.setattr(Learner, "training_step", until_killed)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(weighting=spec, folder=tmp_path)
    resumed = run(weighting=spec, folder=tmp_path, resume=True)
    assert same(resumed, run(weighting=spec))


def test_spec_builds_a_weighting():
    assert isinstance(GradNormSpec(), WeightingSpec)
    weighting = GradNormSpec().build(TASKS)
    assert isinstance(weighting, Weighting)
    ((own, factor),) = weighting.rates()
    assert own == [weighting.factors]
    assert own[0].tolist() == [1, 1, 1]
    assert factor == 25


def test_training_without_shared_parameters_is_refused():
    with pytest.raises(ValueError, match=r"GradNorm looks at .* share\. Found none\."):
        built()(Small().losses())


@pytest.mark.plain
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -1.0}, r"a finite alpha >= 0\. Found -1\.0"),
        ({"alpha": math.nan}, r"a finite alpha >= 0\. Found nan"),
        ({"lr_factor": 0.0}, r"a finite lr_factor above zero\. Found 0\.0"),
        ({"every": 0}, r"every >= 1\. Found 0"),
    ],
)
def test_bad_numbers_are_named(options, message):
    with pytest.raises(ValueError, match=f"GradNormSpec needs {message}"):
        GradNormSpec(**options)
