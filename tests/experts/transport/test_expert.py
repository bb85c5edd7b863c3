"""The transport expert: laws of every expert, its costs, given histograms."""

from dataclasses import replace

import pytest
import torch

from ple_study.experts.base import Columns
from ple_study.experts.transport.expert import (
    MetricCost,
    OptimalTransport,
    OptimalTransportSpec,
    PSDCost,
)
from ple_study.experts.transport.sinkhorn import Sinkhorn, plan, potentials
from tests.customers import SCHEMA, customers
from tests.experts.specs import TRANSPORT as SPECS
from tests.sizes import BATCH, DIMS

SPEC, GIVEN = SPECS["metric"], SPECS["given"]
each = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
INSIDE_DYNAMO = pytest.mark.filterwarnings(  # raised by torch.compile of any Function
    "ignore:.*should not be instantiated:DeprecationWarning"
)


def built(spec: OptimalTransportSpec = SPEC, seed: int = 0) -> OptimalTransport:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return spec.build(SCHEMA).eval()


@pytest.mark.parametrize("scale", [0.0, 1e6, 1e15])
def test_extreme_columns_are_answered(scale: float) -> None:
    expert, batch = built(), customers()
    answer = expert(replace(batch, numeric=scale * batch.numeric))
    answer.square().sum().backward()
    assert answer.isfinite().all()
    assert all(p.grad.isfinite().all() for p in expert.parameters())


def test_all_mass_in_one_bin_is_a_histogram() -> None:
    expert, batch = built(GIVEN), customers()
    numeric = batch.numeric.clone()
    numeric[:, 3:7] = torch.eye(4)[torch.arange(BATCH) % 4]
    answer = expert(replace(batch, numeric=numeric))
    answer.square().sum().backward()
    assert answer.isfinite().all()
    assert all(p.grad.isfinite().all() for p in expert.parameters())
    torch.testing.assert_close(answer[0], answer[4])
    assert not torch.equal(answer[0], answer[1])


def test_columns_may_be_the_histogram() -> None:
    expert, batch = built(GIVEN), customers()
    given = batch.numeric[:, 3:7].double()
    torch.testing.assert_close(expert.histograms(batch), given, atol=1e-6, rtol=0)
    broken = batch.numeric.clone()
    broken[2, 3] += 0.5
    with pytest.raises(ValueError, match=r"columns has no.*sum of 1\.5.*in 1 of 5"):
        expert(replace(batch, numeric=broken))
    with pytest.raises(ValueError, match=r"probability.*\['rfm_0', 'rfm_1'"):
        replace(GIVEN, groups=("rfm", "day")).build(SCHEMA)
    with pytest.raises(ValueError, match=r"group 'dya'.*day"):
        replace(GIVEN, groups=("dya",)).build(SCHEMA)


def test_a_metric_cost_is_one_and_stays_within_its_bound() -> None:
    for support in DIMS:
        module = MetricCost(support)
        cost = module()
        assert torch.equal(cost, cost.T)
        assert (cost >= 0).all()
        assert cost.diagonal().tolist() == [0.0] * support
        torch.testing.assert_close(cost.mean(), torch.ones((), dtype=torch.float64))
        with torch.no_grad():  # the farthest: two ends, all others in the middle
            module.points.zero_()
            module.points[0, 0], module.points[1, 0] = 1.0, -1.0
        found = float(module().max().detach())
        assert found == pytest.approx(support)
        assert found <= module.spread * (1 + 1e-9)
        with torch.no_grad():
            module.points.zero_()
        module().sum().backward()
        assert module().isfinite().all()
        assert module.points.grad.isfinite().all()


def test_to_itself_nothing_is_nearer_but_for_the_cost_of_the_source() -> None:
    """One bin to itself and to another: the sources' flaw, in numbers."""
    ends = torch.eye(6, dtype=torch.float64)[:2]
    torch.manual_seed(0)
    how = Sinkhorn(epsilon=0.1)
    apart = {}
    for module in (MetricCost(6), PSDCost(6)):
        cost = module().detach()
        found = potentials(ends[:, None], ends, cost, how)
        carried = plan(ends[:, None], ends, cost, found, 0.1) * cost
        apart[type(module).__name__] = carried.sum((2, 3))
    assert apart["MetricCost"].diagonal().tolist() == [0.0, 0.0]
    assert apart["MetricCost"][0, 1] > 0.1
    assert (apart["PSDCost"].diagonal() > 0.9).all()
    assert apart["PSDCost"][0, 1] < 0.1


def test_a_customer_at_a_prototype_has_no_distance() -> None:
    expert, batch = built(replace(GIVEN, iterations=500)), customers()
    numeric = batch.numeric.clone()
    numeric[0, 3:7] = expert.prototypes[1].softmax(0).detach()
    near = expert.distances(replace(batch, numeric=numeric)).detach()
    assert abs(float(near[0, 1])) < 1e-7 < float(near[0, 0])
    assert (near > -1e-7).all()


def test_the_constructor_needs_no_schema() -> None:
    expert = OptimalTransport(Columns([2, 0]), support=7, prototypes=4, dim=6).eval()
    assert expert(customers()).shape == (BATCH, 6)
    assert expert.histograms(customers()).shape == (BATCH, 7)


@INSIDE_DYNAMO
@pytest.mark.plain
@each
def test_it_compiles_and_exports(spec: OptimalTransportSpec) -> None:
    expert, batch = built(replace(spec, iterations=2)), customers()
    wanted = expert(batch)
    compiled = torch.compile(expert, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(batch), wanted, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        exported = torch.export.export(expert, (batch,)).module()
    torch.testing.assert_close(exported(batch), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.plain  # so that the spec speaks, and not the type checker
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"cost": "metrik"}, "Cost must be.*'metrik'.*metric"),
        ({"support": 1}, "support of 2 bins.*support=1"),
        ({"support": "colums"}, "'columns'.*'colums'"),
        ({"prototypes": 0}, "prototypes >= 1.*prototypes=0"),
        ({"epsilon": -1.0}, "epsilon above 0"),
        ({"dropout": 1.0}, r"Dropout must lie in \[0, 1\). Found 1.0"),
    ],
)
def test_bad_settings_are_named(bad: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OptimalTransportSpec(**bad)  # type: ignore[arg-type]
