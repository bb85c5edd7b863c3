"""Lanes run side by side against one plain torch network a lane, in float64."""

import pytest
import torch
from torch import Tensor, nn

from ple_study.experts.mlp import MLPSpec, ParallelLinear, ParallelMLP
from tests.sizes import BATCH, EXPERTS

NORMS = {"none": nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
SHAPES = [(6, (7,)), (6, (80, 7)), (50, (7, 8)), (50, (80, 81, 5))]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def unsettled(mlp: ParallelMLP) -> ParallelMLP:
    """In float64, with norms that are not the identity they begin as."""
    for name, tensor in mlp.state_dict().items():
        if "norms" in name and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return mlp.double()


def plain_lane(mlp: ParallelMLP, lane: int, dim_in: int) -> nn.Sequential:
    """The lane as torch's own modules, with a copy of its weights."""
    spec, state, steps = mlp.spec, mlp.state_dict(), []
    for depth, dim in enumerate(spec.dims):
        linear, norm = nn.Linear(dim_in, dim), NORMS[spec.norm](dim)
        act = nn.SiLU() if spec.activation == "silu" else nn.ReLU()
        step = nn.Sequential(linear, norm, act).double()
        parts = ("weight", "bias")
        linear.load_state_dict({p: state[f"layers.{depth}.{p}"][lane] for p in parts})
        name = f"norms.{depth}.{lane}."
        own = {k.removeprefix(name): v for k, v in state.items() if name in k}
        norm.load_state_dict(own)
        steps.append(step)
        dim_in = dim
    return nn.Sequential(*steps).train(mlp.training)


def leaves(dim_in: int, own: bool) -> list[Tensor]:
    """One input a lane, or one for all."""
    xs = torch.randn(EXPERTS if own else 1, BATCH, dim_in, dtype=torch.float64)
    return [x.clone().requires_grad_() for x in xs]


def backward(outputs: list[Tensor]) -> None:
    draw = torch.Generator().manual_seed(2)
    weighed = [
        (y * torch.randn(y.shape, generator=draw, dtype=y.dtype)).sum() for y in outputs
    ]
    torch.stack(weighed).sum().backward()


def close(found: object, wanted: object) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("activation", ["relu", "silu"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("dim_in", "dims"), SHAPES)
def test_lanes_are_plain_networks(
    dim_in: int,
    dims: tuple[int, ...],
    own: bool,
    norm: str,
    activation: str,
    training: bool,
) -> None:
    spec = MLPSpec(dims=dims, norm=norm, activation=activation)
    mlp = unsettled(ParallelMLP(EXPERTS, dim_in, spec)).train(training)
    lanes = [plain_lane(mlp, lane, dim_in) for lane in range(EXPERTS)]
    ours = leaves(dim_in, own)
    theirs = [x.detach().clone().requires_grad_() for x in ours]
    found = mlp(ours if own else ours[0])
    read = theirs if own else theirs * EXPERTS
    wanted = [net(x) for net, x in zip(lanes, read, strict=True)]
    close(found, wanted)
    backward(found)
    backward(wanted)
    close(ours, theirs)  # nobody wrote into what was read
    close([x.grad for x in ours], [x.grad for x in theirs])
    close(*gradients(mlp, lanes))
    close(*statistics(mlp, lanes))


def gradients(mlp: ParallelMLP, lanes: list[nn.Sequential]) -> tuple[dict, dict]:
    """Of every weight of every lane, ours and theirs."""
    ours = {name: p.grad for name, p in mlp.named_parameters()}
    theirs = {}
    for lane, net in enumerate(lanes):
        for name, p in net.named_parameters():
            depth, place, part = name.split(".")
            if place == "1":
                theirs[f"norms.{depth}.{lane}.{part}"] = p.grad
            else:
                theirs.setdefault(f"layers.{depth}.{part}", []).append(p.grad)
    stacked = {k: torch.stack(v) for k, v in theirs.items() if isinstance(v, list)}
    return ours, theirs | stacked


def statistics(mlp: ParallelMLP, lanes: list[nn.Sequential]) -> tuple[dict, dict]:
    """What batch normalisation remembers."""
    theirs = {
        f"norms.{name.split('.')[0]}.{lane}.{name.split('.')[2]}": value
        for lane, net in enumerate(lanes)
        for name, value in net.named_buffers()
    }
    return dict(mlp.named_buffers()), theirs


@pytest.mark.parametrize(("dim_in", "dim"), [(6, 7), (6, 80), (80, 7)])
def test_linear_lanes(dim_in: int, dim: int) -> None:
    linear, xs = ParallelLinear(EXPERTS, dim_in, dim).double(), leaves(dim_in, True)
    found = linear(xs)
    wanted = [w @ x.T + b[:, None] for w, b, x in zip(*linear.parameters(), xs)]  # noqa: B905
    close(found, [y.T for y in wanted])


def test_linear_starts_as_torchs_own() -> None:
    weight, bias = ParallelLinear(EXPERTS, 50, 80).parameters()
    bound = 50**-0.5
    for tensor in (weight, bias):
        assert tensor.abs().max() <= bound
        assert abs(tensor.std().item() / (bound / 3**0.5) - 1) < 0.1
    assert len({lane.sum().item() for lane in weight}) == EXPERTS


def test_without_a_width_the_identity() -> None:
    mlp = ParallelMLP(EXPERTS, 6, MLPSpec(dims=()))
    x = torch.randn(BATCH, 6)
    assert (mlp.dim, list(mlp.parameters())) == (6, [])
    close(mlp(x), [x] * EXPERTS)
    xs = list(torch.randn(EXPERTS, BATCH, 6))
    close(mlp(xs), xs)


@pytest.mark.parametrize("norm", NORMS)
def test_zero_lanes_answer_nothing(norm: str) -> None:
    mlp = ParallelMLP(0, 6, MLPSpec(dims=(8, 7), norm=norm))
    assert mlp.dim == 7
    assert mlp(torch.randn(BATCH, 6)) == []
    assert mlp([]) == []
    assert list(mlp.parameters()) == []


@pytest.mark.parametrize("own", [False, True])
def test_dropout_differs_by_lane_and_keeps_the_mean(own: bool) -> None:
    mlp = ParallelMLP(2, 6, MLPSpec(dims=(80,), dropout=0.5))
    with torch.no_grad():
        for p in mlp.parameters():
            p.fill_(0.5)
    x = torch.ones(100, 6)
    ones = mlp([x, x] if own else x)
    for lane in ones:
        assert set(lane.unique().tolist()) == {0.0, 7.0}
        assert abs(lane.mean().item() / 3.5 - 1) < 0.05
    assert not torch.equal(*ones)
    close(mlp.eval()(x), [torch.full((100, 80), 3.5)] * 2)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("activation", ["relu", "silu"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shifted", [False, True])
def test_one_lane_alone(
    shifted: bool, norm: str, activation: str, training: bool
) -> None:
    """Is a plain network, whose first layer has a bias of its own for every row."""
    spec = MLPSpec(dims=(8, 7), norm=norm, activation=activation)
    mlp = unsettled(ParallelMLP(EXPERTS, 6, spec)).train(training)
    nets = [plain_lane(mlp, lane, 6) for lane in range(EXPERTS)]
    ours, draw = leaves(6, True), torch.randn(EXPERTS, BATCH, 8).double()
    theirs = [x.detach().clone().requires_grad_() for x in ours]
    found, wanted = [], []
    for lane, (net, shift) in enumerate(zip(nets, draw, strict=True)):
        found.append(mlp.lane(lane, ours[lane], shift if shifted else None))
        rows = net[0][0](theirs[lane]) + (shift if shifted else 0)
        wanted.append(net[1:](net[0][1:](rows)))
    close(found, wanted)
    backward(found)
    backward(wanted)
    close([x.grad for x in ours], [x.grad for x in theirs])
    close(*gradients(mlp, nets))
    close(*statistics(mlp, nets))


def test_lanes_one_by_one_are_the_lanes_together() -> None:
    mlp = unsettled(ParallelMLP(EXPERTS, 6, MLPSpec(dims=(8, 7), norm="layer")))
    xs = leaves(6, True)
    one_by_one = [mlp.lane(number, x) for number, x in enumerate(xs)]
    close(one_by_one, mlp(xs))
    shift = torch.randn(BATCH, 8).double()
    assert not torch.equal(mlp.lane(0, xs[0], shift), one_by_one[0])
    identity = ParallelMLP(EXPERTS, 6, MLPSpec(dims=()))
    assert identity.lane(2, xs[0]) is xs[0]


def test_a_lane_alone_drops_out_at_every_depth_in_training_alone() -> None:
    mlp = ParallelMLP(2, 6, MLPSpec(dims=(80, 90), dropout=0.5))
    with torch.no_grad():
        for p in mlp.parameters():
            p.fill_(0.5)
    x = torch.ones(100, 6)
    found = mlp.lane(1, x)
    assert 0.4 < (found == 0).double().mean() < 0.6
    # 1 + a half of 7 for each of the 80 that are left, so that rows differ
    assert len(found.amax(1).unique()) > 10
    assert abs(found.mean().item() / 140.5 - 1) < 0.05
    mlp.eval()
    close(mlp.lane(1, x), torch.full((100, 90), 140.5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dims": (8, 0)}, r"widths must be whole numbers, 1 or more. Found \(8, 0\)"),
        ({"activation": "gelu"}, r"activation must be one of .*relu.* Found 'gelu'"),
        ({"norm": "group"}, r"norm must be one of .*batch.* Found 'group'"),
        ({"dropout": 1.0}, r"Dropout must lie in \[0, 1\). Found 1.0"),
        ({"dropout": -0.1}, r"Dropout must lie in \[0, 1\). Found -0.1"),
    ],
)
@pytest.mark.plain  # so that the spec speaks, and not the type checker
def test_what_cannot_be_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLPSpec(**arguments)
