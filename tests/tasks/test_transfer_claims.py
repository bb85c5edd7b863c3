"""What transfer is at its start, what a norm does to it, and who goes first."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ple_study.data.thread import TRANSFERS
from ple_study.data.world.tasks import tasks as table
from ple_study.experts.mlp import MLPSpec
from ple_study.schema import Schema, Transfer
from ple_study.tasks.towers import Towers
from ple_study.tasks.transfer import Branch, TransferSpec, TransferTowers, steps
from tests.sizes import BATCH
from tests.tasks.test_transfer import (
    DIM,
    EDGES,
    NAMES,
    ORDER,
    TASKS,
    TOWER,
    close,
    drawn,
    methods,
    towers,
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def slices(model: TransferTowers) -> dict[str, list[Tensor]]:
    """The tower of each task, as views of its parameters."""
    found = {}
    for own in model.towers:
        for place, name in enumerate(own.names):
            layers = own.hidden.layers.parameters()
            parts = [p[place] for p in layers]
            parts += [p for row in own.hidden.norms for p in row[place].parameters()]
            for places, head in zip(own.places, own.heads, strict=True):
                rows = [places.index(place)] if place in places else []
                parts += [p[row] for row in rows for p in head.parameters()]
            if name in own.compared:
                parts += own.similarity[own.compared.index(name)].parameters()
            found[name] = parts
    return found


@torch.no_grad()
def same_towers(model: TransferTowers, other: TransferTowers) -> None:
    """Write the towers of ``model`` into one that may run them in other steps."""
    theirs = slices(model)
    for name, parts in slices(other).items():
        for part, their in zip(parts, theirs[name], strict=True):
            part.copy_(their)


@methods
def test_at_the_start_there_is_no_transfer(method: str) -> None:
    """To the bit what the same towers answer without it."""
    model, plain = towers(stir=False, method=method), towers(none=True)
    same_towers(model, plain)
    inputs = drawn()
    found, wanted = model(inputs), plain(inputs)
    assert all(torch.equal(found[name], wanted[name]) for name in NAMES)
    published = towers(stir=False, method=method, init="source")
    same_towers(plain, published)
    found = published(inputs)
    moved = {n for n in NAMES if not torch.equal(found[n], wanted[n])}
    assert moved == {"b", "c", "e"}


@methods
def test_what_starts_at_zero_begins_to_learn(method: str) -> None:
    model = towers(stir=False, method=method)
    torch.stack([z.square().sum() for z in model(drawn()).values()]).sum().backward()
    for receiver in model.receivers:
        for own in receiver.branches:
            grads = [bool(p.grad.any()) for p in own.parameters()]
            assert grads == [False] * 4 + [True] * 2


def test_a_norm_undoes_a_small_map() -> None:
    """Claim 47: with weights a hundredth as large, most of the branch is still there.

    And of a lone number, without a bias, it leaves only the sign.
    """
    own, m = Branch(12, 32, "source").double(), torch.randn(500, 12).softmax(1).double()
    before = own(m).norm(dim=1).mean()
    with torch.no_grad():
        own[0].weight.mul_(0.01)
    assert 0.75 < own(m).norm(dim=1).mean() / before < 1.05
    lone = Branch(1, 32, "source").double()
    nn.init.zeros_(lone[0].bias)
    answers = lone(torch.linspace(0.1, 0.99, 90).double()[:, None])
    assert (answers - answers[-1]).norm(dim=1).max() / answers[-1].norm() < 0.002
    with torch.no_grad():
        lone[1].weight.zero_()
    assert not lone(torch.rand(7, 1).double()).any()  # its gain can switch it off


def test_a_last_map_of_zeros_is_no_branch() -> None:
    own, m = Branch(3, DIM, "zero"), torch.randn(BATCH, 3)
    assert not own(m).any()
    nn.init.normal_(own[-1].weight)
    before = own(m)
    with torch.no_grad():
        own[-1].weight.mul_(0.01)
    close(own(m), 0.01 * before, 1e-6)


@pytest.mark.parametrize("init", ["zero", "source"])
@pytest.mark.parametrize("method", ["residual", "output_concat"])
def test_inverse_is_sequential_with_other_weights(method: str, init: str) -> None:
    """Claim 48: W (1 - m) + b = -W m + (b + W 1)."""
    plain = [replace(edge, kind="sequential") for edge in EDGES]
    model = towers(method=method, init=init)
    other = towers(plain, method=method, init=init)
    other.load_state_dict(model.state_dict())
    inputs = drawn()
    assert not torch.equal(other(inputs)["e"], model(inputs)["e"])
    for into, receiver in zip(model.sources.values(), other.receivers, strict=True):
        turn(into, receiver)
    close(other(inputs), model(inputs), 1e-11)


@torch.no_grad()
def turn(into: list[Transfer], receiver: nn.Module) -> None:
    """Give each inverse source's columns the other sign, and the bias their sum."""
    start = DIM
    for place, edge in enumerate(into):
        width = TASKS[NAMES.index(edge.source)].outputs
        one_each = receiver.spec.method == "residual"
        linear = receiver.branches[place if one_each else 0][0]
        columns = slice(0 if one_each else start, None if one_each else start + width)
        start += width
        if edge.kind == "inverse":
            linear.bias += linear.weight[:, columns].sum(1)
            linear.weight[:, columns] *= -1


def test_strength_multiplies_what_a_residual_adds() -> None:
    edges = {
        k: [Transfer(source="a", target="b", strength=k)] for k in (0.0, 0.5, -1.0)
    }
    model = towers(edges[0.5])
    reads: dict[float, Tensor] = {}
    inputs = drawn()
    for strength, own in edges.items():
        other = towers(own)
        other.load_state_dict(model.state_dict())
        other.towers[1].register_forward_hook(
            lambda _, args, __, k=strength: reads.update({k: args[0][0]})
        )
        other(inputs)
    x = inputs[NAMES.index("b")]
    close(reads[0.0], x)
    close(reads[-1.0] - x, -2 * (reads[0.5] - x), 1e-11)
    assert (reads[0.5] - x).abs().max() > 0.01


def test_towers_run_when_those_that_they_hear_have_answered() -> None:
    assert steps(NAMES, EDGES) == towers().order == ORDER
    assert steps(NAMES, ()) == [NAMES]
    assert towers(none=True).order == towers(()).order == [NAMES]


@pytest.mark.parametrize("spec", [True, False])
def test_without_transfer_towers_are_towers(spec: bool) -> None:
    model = towers(()) if spec else towers(none=True)
    plain = Towers(TASKS, DIM, TOWER).double()
    plain.load_state_dict(model.towers[0].state_dict())
    assert len(model.state_dict()) == len(plain.state_dict())
    inputs = drawn()
    found, wanted = model(inputs), plain(inputs)
    assert list(found) == NAMES
    assert all(torch.equal(found[name], wanted[name]) for name in NAMES)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("init", "wanted"), [("source", 1_344), ("zero", 6_624)])
def test_the_sources_number_of_parameters(init: str, wanted: int) -> None:
    """Five maps of 1, 1, 1, 12 and 12 numbers to 32, each with a norm.

    The map that starts at zero is 32 x 32 more for each.
    """
    active = tuple(task.spec for task in table(brands=50) if task.active)
    about = Schema(features=(), tasks=active, transfers=TRANSFERS)
    model = TransferTowers(about, 32, MLPSpec(dims=()), TransferSpec(init=init))
    assert count(model.receivers) == wanted
    widths = [e.branches[0][0].in_features for e in model.receivers]
    assert sorted(widths) == [1, 1, 1, 12, 12]
    assert len(model.order) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "residuum"}, r"method must be one of .*Found 'residuum'.*residual"),
        ({"init": "one"}, r"init must be one of \('zero', 'source'\). Found 'one'"),
    ],
)
@pytest.mark.plain
def test_a_transfer_that_cannot_be_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TransferSpec(**options)
