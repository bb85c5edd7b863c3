"""Gradient surgery: the gradients that training sees, against torchjd's own."""

import itertools
import sys
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from ple_study.experts.row_gradients import row_gradients
from ple_study.learner import Learner
from ple_study.objective.losses import TaskLosses
from ple_study.objective.surgery import (
    GradientSurgery,
    GradientSurgerySpec,
    onto_dual_cone,
)
from ple_study.objective.weighting import FixedWeightingSpec, WeightingSpec
from ple_study.schema import TaskSpec
from tests.runs import run, same
from tests.sizes import BATCH, DIMS

aggregation = pytest.importorskip("torchjd.aggregation", reason="torchjd is missing")
autojac = pytest.importorskip("torchjd.autojac", reason="torchjd is missing")

WEIGHTS = (0.8, 1.5, 1.0)
TASKS = [TaskSpec(name=f"task{i}", weight=w) for i, w in enumerate(WEIGHTS)]
SUMS = ["PCGrad", "GradDrop", "ConFIG", "Sum"]
MEANS = ["UPGrad", "DualProj", "MGDA", "AlignedMTL", "IMTLG", "Mean"]
NAMES = [*SUMS, *MEANS, "Random"]


class Small(nn.Module):
    """A shared layer, and heads of unlike sizes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Sequential(nn.Linear(*DIMS[:2]), nn.Tanh())
        heads = [nn.Linear(DIMS[1], 1), nn.Linear(DIMS[1], 2), nn.Linear(DIMS[1], 1)]
        self.heads = nn.ModuleList(heads)
        self.double()

    def features(self, seed=0):
        draw = torch.Generator().manual_seed(seed)
        return self.shared(torch.randn(BATCH, DIMS[0], generator=draw).double())

    def values(self, features):
        # Wishes that cannot all come true: the gradients conflict.
        wishes = zip(self.heads, (3.0, -2.0, 0.5), strict=True)
        return torch.stack([((h(features) - y) ** 2).mean() for h, y in wishes])

    def losses(self, absent=()):
        values = self.values(self.features())
        present = torch.tensor([k not in absent for k in range(len(TASKS))])
        return TaskLosses(values.where(present, 0.0), present)

    def trunk(self):
        return list(self.shared.parameters())


def gradients(model):
    return {name: p.grad for name, p in model.named_parameters()}


def on_all_faces(weights, gramian):
    """min v^T G v with v >= u: the best of the minima with some v held at u."""
    tasks = gramian.shape[0]
    g = gramian / gramian.trace() + 1e-4 * torch.eye(tasks, dtype=gramian.dtype)
    found = []
    for u in weights.reshape(-1, tasks):
        ends = []
        for held in itertools.product([True, False], repeat=tasks):
            fix, free = (torch.tensor(held) == on for on in (True, False))
            v = u.clone()
            if free.any():
                known = g[free][:, fix] @ u[fix]
                v[free] = torch.linalg.solve(g[free][:, free], -known)
            if (v >= u - 1e-12).all():
                ends.append(v)
        found.append(min(ends, key=lambda v: float(v @ g @ v)))
    return torch.stack(found).view_as(weights)


def theirs(name):
    """torchjd's aggregator; where it would need quadprog, with a solver of ours."""
    kind = getattr(aggregation, name)
    return kind(projector=on_all_faces) if name in ("UPGrad", "DualProj") else kind()


@pytest.mark.parametrize("absent", [(), (1,)])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_torchjd(name, absent):
    ours, other = Small(), Small()
    weighting = GradientSurgerySpec(aggregator=name).build(TASKS)
    torch.manual_seed(3)
    total = weighting(ours.losses(absent), ours.trunk())
    total.backward()
    features = other.features()
    scaled = torch.tensor(WEIGHTS) * other.values(features)
    kept = [k for k in range(len(TASKS)) if k not in absent]
    autojac.mtl_backward(
        [scaled[k] for k in kept],
        features=features,
        tasks_params=[list(other.heads[k].parameters()) for k in kept],
        shared_params=other.trunk(),
        retain_graph=True,
    )
    torch.manual_seed(3)
    autojac.jac_to_grad(other.trunk(), theirs(name))
    assert total.item() == pytest.approx(sum(scaled[k].item() for k in kept))
    for (place, found), want in zip(
        gradients(ours).items(), gradients(other).values(), strict=True
    ):
        if want is None:
            assert not found.any(), place
        else:
            torch.testing.assert_close(found, want, rtol=1e-9, atol=1e-11)


def test_the_gradients_of_these_tests_conflict():
    model, seen = Small(), []
    own = GradientSurgery(TASKS, lambda rows: seen.append(rows) or rows.mean(0))
    own(model.losses(), model.trunk())
    assert (seen[0] @ seen[0].T).min() < 0


@pytest.mark.parametrize("name", ["Sum", "UPGrad"])
def test_value_and_private_gradients_are_those_of_fixed_weights(name):
    ours, plain = Small(), Small()
    terms = (
        GradientSurgerySpec(aggregator=name)
        .build(TASKS)
        .terms(ours.losses(), ours.trunk())
    )
    fixed = FixedWeightingSpec().build(TASKS).terms(plain.losses())
    assert terms.equal(fixed)
    terms.sum().backward()
    fixed.sum().backward()
    for (place, found), want in zip(
        gradients(ours).items(), gradients(plain).values(), strict=True
    ):
        same = name == "Sum" or place.startswith("heads")
        assert torch.allclose(found, want, rtol=1e-12, atol=1e-14) == same, place


@pytest.mark.parametrize("name", NAMES[:-1])
def test_gradients_without_conflict_tell_a_sum_from_a_mean(name):
    place = nn.Parameter(torch.zeros(4, dtype=torch.float64))
    values = 2 * torch.eye(4, dtype=torch.float64)[:3] @ place
    tasks = [TaskSpec(name=task.name) for task in TASKS]
    weighting = GradientSurgerySpec(aggregator=name).build(tasks)
    present = torch.ones(3, dtype=torch.bool)
    weighting(TaskLosses(values, present), [place]).backward()
    usual = 2.0 if name in SUMS else 2 / 3
    assert place.grad.tolist() == pytest.approx([usual] * 3 + [0.0], rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_task_without_weight_or_rows_has_no_part(name):
    model = Small()
    found = []
    for last, absent in ((TaskSpec(name="task2", weight=0.0), ()), (TASKS[2], (2,))):
        weighting = GradientSurgerySpec(aggregator=name).build([*TASKS[:2], last])
        torch.manual_seed(3)
        terms = weighting.terms(model.losses(absent), model.trunk())
        assert terms[2] == 0
        # Whoever leaves absent tasks out of the sum loses nothing.
        for total in (terms.sum(), terms[:2].sum()):
            part = torch.autograd.grad(total, model.trunk(), retain_graph=True)
            found.append(torch.cat([p.flatten() for p in part]))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])
    assert found[0].any()


@pytest.mark.parametrize("name", NAMES)
def test_batches_without_a_direction_are_left_as_they_are(name):
    model, weighting = Small(), GradientSurgerySpec(aggregator=name).build(TASKS)
    total = weighting(model.losses(absent=(0, 1, 2)), model.trunk())
    total.backward()
    assert total.item() == 0
    assert not any(grad.any() for grad in gradients(model).values())
    values, present = model.losses()
    terms = weighting.terms(TaskLosses(values * torch.nan, present), model.trunk())
    assert terms.isnan().all()


def test_evaluation_is_the_plain_sum():
    model, plain = Small(), Small()
    weighting = GradientSurgerySpec().build(TASKS).eval()
    weighting(model.losses()).backward()
    FixedWeightingSpec().build(TASKS)(plain.losses()).backward()
    for found, want in zip(
        gradients(model).values(), gradients(plain).values(), strict=True
    ):
        assert found.equal(want)


def test_rows_of_tables_get_what_whole_tables_get():
    found = []
    for context in (nullcontext, row_gradients):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 3))
        weighting, table = GradientSurgerySpec().build(TASKS), model[0].weight
        with context(model):
            for codes in torch.randint(9, (3, 5)):
                wishes = torch.tensor([1.0, -1.0, 0.3])
                values = ((model(codes) - wishes) ** 2).mean(0)
                model.zero_grad()
                present = torch.ones(3, dtype=torch.bool)
                weighting(TaskLosses(values, present), [table]).backward()
                found.append(table.grad.clone())
    torch.testing.assert_close(found[:3], found[3:])


@pytest.mark.parametrize("seed", range(5))
def test_the_projection_meets_the_conditions_of_the_least(seed):
    draw = torch.Generator().manual_seed(seed)
    jacobian = torch.randn(4, 6, generator=draw, dtype=torch.float64)
    jacobian[3] = jacobian[0] if seed == 4 else -jacobian[:2].sum(0)  # dependent rows
    gramian = jacobian @ jacobian.T
    u = torch.rand(3, 4, generator=draw, dtype=torch.float64)
    v = onto_dual_cone(u, gramian)
    slope = v @ (gramian / gramian.trace() + 1e-4 * torch.eye(4, dtype=torch.float64))
    assert (v >= u - 1e-12).all()
    assert (slope >= -1e-9).all()
    assert ((v - u) * slope).abs().max() < 1e-9
    torch.testing.assert_close(v, on_all_faces(u, gramian), rtol=1e-7, atol=1e-9)
    assert onto_dual_cone(u[0], gramian).equal(v[0])


def test_the_projection_knows_no_scale():
    jacobian = torch.tensor([[1.0, 0.2, 0.0], [-2.0, 0.1, 1.0]])
    u = torch.full((2,), 0.5)
    whole = onto_dual_cone(u, jacobian @ jacobian.T)
    assert whole.ne(u).any()
    tiny = 1e-6 * jacobian
    torch.testing.assert_close(onto_dual_cone(u, tiny @ tiny.T), whole)
    assert onto_dual_cone(u, torch.zeros(2, 2)).equal(u)


def test_the_projection_is_quadprog_s():
    pytest.importorskip("quadprog")
    pytest.importorskip("qpsolvers")
    jacobian = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).double()
    ours = aggregation.UPGrad(projector=onto_dual_cone)(jacobian)
    torch.testing.assert_close(ours, aggregation.UPGrad()(jacobian))


def test_a_killed_run_goes_on_as_it_was(tmp_path, monkeypatch):
    spec, calls, whole = (
        GradientSurgerySpec(aggregator="PCGrad"),
        [],
        Learner.training_step,
    )

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


def test_spec_builds_a_weighting_with_nothing_to_learn_or_keep():
    for name in NAMES:
        spec = GradientSurgerySpec(aggregator=name)
        weighting = spec.build(TASKS)
        assert isinstance(spec, WeightingSpec)
        assert not list(weighting.parameters())
        assert not weighting.state_dict()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("UpGrad", r"'UPGrad'\]\. Found 'UpGrad'\. Did you mean 'UPGrad'\?"),
        ("CAGrad", r"Found 'CAGrad', which needs c\."),
        ("NashMTL", r"Found 'NashMTL', which needs n_tasks\."),
        ("GradVac", r"Found 'GradVac', which remembers batches\."),
        ("Aggregator", r"Found 'Aggregator', which is abstract\."),
        ("UPGradWeighting", r"Found 'UPGradWeighting'\."),
    ],
)
def test_other_names_are_refused_with_the_reason(name, message):
    with pytest.raises(ValueError, match=f"gradient surgery must be one of.*{message}"):
        GradientSurgerySpec(aggregator=name).build(TASKS)


def test_without_torchjd_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(ValueError, match=r"needs torchjd: pip install torchjd\."):
        GradientSurgerySpec().build(TASKS)


def test_training_without_shared_parameters_is_refused():
    weighting = GradientSurgerySpec().build(TASKS)
    with pytest.raises(ValueError, match=r"parameters that tasks share\. Found none\."):
        weighting(Small().losses())
