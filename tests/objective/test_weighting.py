import math
import os
from dataclasses import replace

import pytest
import torch
from torch import distributed, multiprocessing, nn

from ple_study.objective.losses import TaskLosses, task_losses
from ple_study.objective.weighting import (
    DynamicWeightAverageSpec,
    FixedWeightingSpec,
    UncertaintyWeightingSpec,
    Weighting,
    WeightingSpec,
)
from ple_study.schema import TaskSpec

WEIGHTS = (0.8, 1.5, 1.0)
TASKS = [TaskSpec(name=f"task{i}", weight=w) for i, w in enumerate(WEIGHTS)]
DWA = DynamicWeightAverageSpec()
SPECS = [FixedWeightingSpec(), UncertaintyWeightingSpec(), DWA]


def losses(*values, absent=()):
    values = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    present = torch.tensor([place not in absent for place in range(len(values))])
    return TaskLosses(values, present)


@pytest.mark.parametrize("spec", SPECS)
def test_specs_build_weightings(spec):
    assert isinstance(spec, WeightingSpec)
    assert isinstance(spec.build(TASKS), Weighting)
    assert spec.build(TASKS).names == ["task0", "task1", "task2"]


@pytest.mark.parametrize("spec", SPECS)
def test_a_task_that_is_absent_adds_nothing(spec):
    terms = spec.build(TASKS).terms(losses(2.0, 0.0, 5.0, absent=[1]))
    assert terms[1] == 0
    assert (terms[[0, 2]] != 0).all()


@pytest.mark.parametrize("spec", SPECS)
def test_no_task_is_refused(spec):
    with pytest.raises(ValueError, match=r"needs at least one task. Found none\."):
        spec.build([])


def test_a_weighting_says_what_each_task_adds():
    with pytest.raises(TypeError, match=r"abstract method.* '?terms'?"):
        Weighting(TASKS)


def test_fixed_is_the_weighted_sum():
    found = losses(2.0, 3.0, 5.0)
    total = FixedWeightingSpec().build(TASKS)(found)
    assert total.item() == pytest.approx(0.8 * 2 + 1.5 * 3 + 5, rel=1e-7)
    (gradient,) = torch.autograd.grad(total, found.values)
    assert gradient.tolist() == pytest.approx(WEIGHTS)


def test_fixed_has_nothing_to_learn():
    weighting = FixedWeightingSpec().build(TASKS)
    assert not list(weighting.parameters())
    assert weighting.lr_factor == 1


def test_uncertainty_is_its_formula():
    weighting = UncertaintyWeightingSpec().build(TASKS)
    s = [0.5, -1.0, 2.0]
    with torch.no_grad():
        weighting.log_variances.copy_(torch.tensor(s))
    found = losses(2.0, 3.0, 5.0)
    total = weighting(found)
    parts = zip(WEIGHTS, (2.0, 3.0, 5.0), s, strict=True)
    expected = sum(w * (math.exp(-v) * value + v) for w, value, v in parts)
    assert total.item() == pytest.approx(expected, rel=1e-6)
    (gradient,) = torch.autograd.grad(total, found.values)
    scales = [w * math.exp(-v) for w, v in zip(WEIGHTS, s, strict=True)]
    assert gradient.tolist() == pytest.approx(scales)


def test_derivative_at_zero_is_weight_times_one_minus_loss():
    weighting = UncertaintyWeightingSpec().build(TASKS)
    weighting(losses(0.25, 1.0, 7.0)).backward()
    expected = [0.8 * (1 - 0.25), 0.0, 1 - 7.0]
    assert weighting.log_variances.grad.tolist() == pytest.approx(expected)


def test_constant_losses_lead_to_their_logarithms():
    weighting = UncertaintyWeightingSpec().build(TASKS)
    optimiser = torch.optim.Adam(weighting.parameters(), lr=0.02)
    for _ in range(1500):
        optimiser.zero_grad()
        weighting(losses(0.05, 1.0, 20.0)).backward()
        optimiser.step()
    expected = [math.log(value) for value in (0.05, 1.0, 20.0)]
    assert weighting.log_variances.tolist() == pytest.approx(expected, abs=1e-3)


def test_log_variances_stay_in_bounds_and_come_back():
    weighting = UncertaintyWeightingSpec(bound=2.0).build(TASKS)
    optimiser = torch.optim.SGD(weighting.parameters(), lr=0.5)
    for value, expected in ((100.0, 2.0), (1e-4, -2.0), (1.0, 0.0)):
        for _ in range(60):
            optimiser.zero_grad()
            weighting(losses(value, value, value)).backward()
            optimiser.step()
        weighting(losses(value, value, value))
        found = weighting.log_variances.tolist()
        assert found == pytest.approx([expected] * 3, abs=1e-3)


def test_absent_task_moves_neither_the_sum_nor_its_log_variance():
    weighting = UncertaintyWeightingSpec().build(TASKS)
    with torch.no_grad():
        weighting.log_variances.fill_(0.7)
    optimiser = torch.optim.AdamW(weighting.parameters(), lr=0.1, weight_decay=0)
    for _ in range(3):
        optimiser.zero_grad()
        total = weighting(losses(2.0, 0.0, 5.0, absent=[1]))
        total.backward()
        optimiser.step()
    assert weighting.log_variances[1] == torch.tensor(0.7)
    assert (weighting.log_variances[[0, 2]] != 0.7).all()
    two = UncertaintyWeightingSpec().build([TASKS[0], TASKS[2]])
    two.load_state_dict(
        {key: value[[0, 2]] for key, value in weighting.state_dict().items()}
    )
    again = weighting(losses(2.0, 0.0, 5.0, absent=[1]))
    assert again.item() == pytest.approx(two(losses(2.0, 5.0)).item(), rel=1e-6)


def test_starting_at_the_first_loss_begins_at_rest():
    weighting = UncertaintyWeightingSpec(start="loss").build(TASKS)
    weighting(losses(0.5, 0.0, 5.0, absent=[1])).backward()
    expected = [math.log(0.5), 0.0, math.log(5.0)]
    assert weighting.log_variances.tolist() == pytest.approx(expected, rel=1e-6)
    assert weighting.log_variances.grad.tolist() == pytest.approx([0] * 3, abs=1e-6)
    weighting(losses(3.0, 3.0, 3.0))
    expected = [math.log(0.5), math.log(3.0), math.log(5.0)]
    assert weighting.log_variances.tolist() == pytest.approx(expected, rel=1e-6)


def test_a_resumed_run_does_not_start_again():
    weighting = UncertaintyWeightingSpec(start="loss").build(TASKS)
    weighting(losses(2.0, 3.0, 5.0))
    resumed = UncertaintyWeightingSpec(start="loss").build(TASKS)
    resumed.load_state_dict(weighting.state_dict())
    resumed(losses(7.0, 7.0, 7.0))
    assert resumed.log_variances.equal(weighting.log_variances)


@pytest.mark.parametrize("spec", [UncertaintyWeightingSpec(start="loss"), DWA])
def test_evaluation_changes_nothing(spec):
    weighting = spec.build(TASKS).eval()
    before = {key: value.clone() for key, value in weighting.state_dict().items()}
    weighting(losses(2.0, 3.0, 5.0))
    after = dict(weighting.state_dict())
    torch.testing.assert_close(after, before, rtol=0, atol=0, equal_nan=True)


def _start_in_two(rank, port, results):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    weighting = UncertaintyWeightingSpec(start="loss").build(TASKS)
    # Each process sees other losses; only the second observes the middle task.
    absent = [1, 2] if rank == 0 else [2]
    weighting(losses(1.0 + 2 * rank, 6.0 * rank, 0.0, absent=absent))
    average = DWA.build(TASKS)
    average(losses(1.0 + 2 * rank, 6.0 * rank, 0.0, absent=absent))
    results[rank] = weighting.log_variances.tolist(), average.counted.tolist()
    distributed.destroy_process_group()


def test_two_processes_start_alike(unused_tcp_port):
    results = multiprocessing.get_context("spawn").Manager().dict()
    multiprocessing.spawn(_start_in_two, (unused_tcp_port, results), nprocs=2)
    assert results[0] == results[1]
    begun, counted = results[0]
    assert begun == pytest.approx([math.log(2.0), math.log(6.0), 0.0], rel=1e-6)
    assert counted == [[4.0, 6.0, 0.0], [2.0, 1.0, 0.0]]


def epochs(draw=0, count=5, batches=4):
    """The losses of some epochs' batches; task 1 is absent in the whole third epoch."""
    draw = torch.Generator().manual_seed(draw)
    for epoch in range(count):
        values = torch.rand(batches, 3, generator=draw, dtype=torch.float64) + 0.1
        gone = torch.rand(batches, 3, generator=draw) < 0.3
        gone[0], gone[:, 1] = False, gone[:, 1] | (epoch == 2)
        gone[0, 1] = epoch == 2
        yield [
            TaskLosses(v.where(~g, 0.0), ~g) for v, g in zip(values, gone, strict=True)
        ]


def averaged(history, temperature):
    """v of the epoch that follows these, as the paper's equation 7 has it."""
    ratios = [1.0, 1.0, 1.0]
    for k in range(3):
        means = []
        for batches in history[-2:]:
            seen = [b.values[k].item() for b in batches if b.present[k]]
            means.append(sum(seen) / len(seen) if seen else None)
        if len(means) == 2 and None not in means:
            ratios[k] = means[1] / means[0]
    powers = [math.exp(r / temperature) for r in ratios]
    return [3 * p / sum(powers) for p in powers]


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_dynamic_weights_follow_the_means_of_two_epochs(temperature):
    weighting = DynamicWeightAverageSpec(temperature=temperature).build(TASKS).double()
    history = []
    for epoch, batches in enumerate(epochs()):
        weighting.begin_epoch(epoch)
        wanted = averaged(history, temperature)
        if epoch < 2:
            assert wanted == pytest.approx([1, 1, 1])
        for batch in batches:
            values = batch.values.requires_grad_()
            total = weighting(TaskLosses(values, batch.present))
            (gradient,) = torch.autograd.grad(total, values)
            scales = [w * v for w, v in zip(WEIGHTS, wanted, strict=True)]
            assert gradient.tolist() == pytest.approx(scales, rel=1e-6)
            assert total.item() == pytest.approx((gradient * values).sum().item())
            assert not weighting.counted.requires_grad
        history.append(batches)
    assert wanted != pytest.approx([1, 1, 1], rel=1e-3)


def test_dynamic_weights_are_those_of_torchjd():
    theirs = pytest.importorskip("torchjd.scalarization").DWA(temperature=1.5)
    ours = DynamicWeightAverageSpec(temperature=1.5).build(
        [TaskSpec(name=task.name) for task in TASKS]
    )
    draw = torch.Generator().manual_seed(3)
    for epoch in range(4):
        ours.begin_epoch(epoch)
        for _ in range(3):
            batch = losses(*torch.rand(3, generator=draw).tolist())
            assert ours(batch).item() == pytest.approx(theirs(batch.values).item())
        theirs.step()


def test_an_epoch_that_begins_again_counts_once():
    whole, cut = DWA.build(TASKS), DWA.build(TASKS)
    for epoch, batches in enumerate(epochs()):
        saved = {k: v.clone() for k, v in cut.state_dict().items()}  # end of an epoch
        cut = DWA.build(TASKS)
        cut.load_state_dict(saved)
        whole.begin_epoch(epoch)
        for stop in (0, 2, 4):  # cut off before the first batch, and in the middle
            cut.begin_epoch(epoch)
            for batch in batches[:stop]:
                cut(batch)
        for batch in batches:
            whole(batch)
        states = dict(cut.state_dict()), dict(whole.state_dict())
        torch.testing.assert_close(*states, rtol=0, atol=0, equal_nan=True)


def test_a_loss_of_zero_moves_no_dynamic_weight():
    weighting = DWA.build(TASKS)
    for epoch, first in enumerate((0.0, 0.0, 3.0)):
        weighting.begin_epoch(epoch)
        weighting(losses(first, 2.0, 2.0))
    weighting.begin_epoch(3)
    assert weighting.factors.tolist() == pytest.approx([1, 1, 1])


@pytest.fixture
def unused_tcp_port():
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.plain
@pytest.mark.parametrize("spec", [*SPECS[1:], UncertaintyWeightingSpec(start="loss")])
def test_objective_compiles_as_one_graph(spec):
    weighting, eager = spec.build(TASKS), spec.build(TASKS)

    def objective(module: nn.Module, logits, labels):
        return module(task_losses(TASKS, logits, labels))

    compiled = torch.compile(objective, fullgraph=True)
    for seed in range(4):
        weighting.begin_epoch(seed)
        eager.begin_epoch(seed)
        draw = torch.Generator().manual_seed(seed)
        logits = {t.name: torch.randn(5, 1, generator=draw) for t in TASKS}
        labels = {t.name: torch.rand(5, generator=draw).round() for t in TASKS}
        found = compiled(weighting, logits, labels)
        torch.testing.assert_close(found, objective(eager, logits, labels))
    states = dict(weighting.state_dict()), dict(eager.state_dict())
    torch.testing.assert_close(*states, equal_nan=True)


@pytest.mark.plain
@pytest.mark.parametrize(
    ("spec", "change", "message"),
    [
        (SPECS[1], {"bound": 0.0}, r"a finite bound above zero. Found 0\.0"),
        (SPECS[1], {"bound": math.nan}, r"a finite bound above zero. Found nan"),
        (SPECS[1], {"lr_factor": math.inf}, r"finite lr_factor above zero. Found inf"),
        (DWA, {"temperature": 0.0}, r"finite temperature above zero. Found 0\.0"),
        (SPECS[1], {"start": "one"}, r"one of \('zero', 'loss'\). Found 'one'"),
    ],
)
def test_bad_numbers_are_named(spec, change, message):
    with pytest.raises(ValueError, match=message):
        replace(spec, **change)
