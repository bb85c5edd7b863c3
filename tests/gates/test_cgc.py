"""Gates against direct formulas: who is heard, how much, and with which gradient."""

import pytest
import torch
from torch import Tensor

from ple_study.baselines import PLESpec
from ple_study.experts.mlp import MLPSpec
from ple_study.gates.cgc import CGCLayer
from ple_study.gates.gate import Gate, mix
from ple_study.gates.routing import GateSpec
from ple_study.tasks.towers import Towers
from tests.gates.test_routing import KINDS, balance, routed
from tests.models import BINARY, HIDDEN, TOWER, built, customers
from tests.sizes import BATCH, DIMS, EXPERTS

DIM_IN, DIM = DIMS[0], DIMS[1]
SLOTS = [[0, 3], [2], [1, 2, 3], [3, 0, 1, 2]]  # unequal, and in any order


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


def close(found: object, wanted: object) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


def by_hand(gate: Gate, xs: list[Tensor], experts: Tensor) -> tuple[list, list]:
    """g_k = softmax(norm(W_k x_k + b_k)); mixed_k = sum_i g_ki e_i"""
    state, start, mixed, weights = dict(gate.named_parameters()), 0, [], []
    for x, places in zip(xs, SLOTS, strict=True):
        own = slice(start, start + len(places))
        start += len(places)
        scores = x @ state["linear.weight"][own].T
        if "linear.bias" in state:
            scores = scores + state["linear.bias"][own]
        if "norm.weight" in state:
            scores = scores - scores.mean(0)
            scores = scores / (scores.square().mean(0) + 1e-5).sqrt()
            scores = scores * state["norm.weight"][own] + state["norm.bias"][own]
        raw = scores.exp()
        weights.append(raw / raw.sum(1, keepdim=True))
        mixed.append(torch.einsum("bs,sbd->bd", weights[-1], experts[places]))
    return mixed, weights


def test_who_hears_whom_is_of_the_spec_and_no_part_of_a_checkpoint() -> None:
    gate = Gate(DIM_IN, SLOTS, GateSpec(bias=True))
    assert set(gate.state_dict()) <= {"linear.weight", "linear.bias", "frozen"}


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_a_gate_is_its_formula(own: bool, bias: bool, norm: bool, grad: bool) -> None:
    gate = Gate(DIM_IN, SLOTS, GateSpec(bias=bias, norm=norm)).double()
    for parameter in gate.parameters():
        torch.nn.init.normal_(parameter)
    xs, experts = normal(len(SLOTS), BATCH, DIM_IN), normal(EXPERTS, BATCH, DIM)
    reads = list(xs.unbind()) if own else [xs[0]] * len(SLOTS)
    with torch.set_grad_enabled(grad):
        found = gate(reads if own else reads[0], list(experts.unbind()))
        wanted = by_hand(gate, reads, experts)
    close(list(found[:2]), list(wanted))
    for weights in found.weights:
        close(weights.sum(1), torch.ones(BATCH, dtype=torch.float64))
    if grad:
        leaves = [xs, experts, *gate.parameters()]
        close(gradients(found[:2], leaves), gradients(wanted, leaves))


def gradients(answer: tuple[list, list], leaves: list[Tensor]) -> tuple[Tensor, ...]:
    """Of a loss that looks at the mixtures and at the weights."""
    draw = torch.Generator().manual_seed(2)
    weighed = [
        (part * torch.randn(part.shape, generator=draw)).sum()
        for parts in answer
        for part in parts
    ]
    loss = torch.stack(weighed).sum()
    return torch.autograd.grad(loss, leaves)


def test_the_gradient_of_what_a_gate_reads_lies_in_rows() -> None:
    """As experts' do: to add rows to columns, and stack them, costs a CPU ten times."""
    gate, states = Gate(DIM_IN, SLOTS).double(), normal(BATCH, len(SLOTS), DIM_IN)
    inputs, found = states.unbind(1), []
    for x in inputs:
        x.register_hook(lambda grad: found.append(grad.is_contiguous()))
    torch.cat(gate(inputs, normal(BATCH, EXPERTS, DIM_IN)).mixed).sum().backward()
    assert found == [True] * len(SLOTS)


@pytest.mark.parametrize("listener", range(len(SLOTS)))
def test_one_listeners_loss_reaches_whom_it_hears(listener: int) -> None:
    gate = Gate(DIM_IN, SLOTS).double()
    experts = list(normal(EXPERTS, BATCH, DIM).detach().unbind())
    experts = [expert.requires_grad_() for expert in experts]
    mixed, weights, _ = gate(normal(BATCH, DIM_IN), experts)
    mixed[listener].sum().backward()
    for place, expert in enumerate(experts):
        if place in SLOTS[listener]:
            slot = SLOTS[listener].index(place)
            close(expert.grad, weights[listener][:, [slot]].expand_as(expert))
        else:
            assert expert.grad is None or not expert.grad.any()


def test_gradients_of_gradients() -> None:
    gate = Gate(3, [[0, 1], [1], [0, 1]]).double()

    def run(x: Tensor, one: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        return tuple(gate(x, [one, other]).mixed)

    inputs = normal(2, 3), normal(2, 4), normal(2, 4)
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


def test_experts_of_half_precision_under_weights_of_full() -> None:
    weights = [torch.rand(BATCH, 2), torch.rand(BATCH, 1)]
    experts = [torch.randn(BATCH, DIM).bfloat16() for _ in range(2)]
    slots = torch.tensor([0, 0, 1]), torch.tensor([1, 0, 1])
    first, second = mix(weights, experts, *slots)
    one, other = (expert.float() for expert in experts)
    wanted = weights[0][:, :1] * other + weights[0][:, 1:] * one
    torch.testing.assert_close(first.float(), wanted, atol=0.02, rtol=0.02)
    wanted = weights[1] * other
    torch.testing.assert_close(second.float(), wanted, atol=0.02, rtol=0.02)


def test_a_listener_without_experts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least one expert. Found counts \[2, 0\]"):
        Gate(DIM_IN, [[0, 1], []])


def layer(last: bool, shared: int = 2) -> CGCLayer:
    expert = MLPSpec(dims=(8, DIM), activation="silu")
    return CGCLayer(DIM_IN, (1, 0, 3), shared, expert, last=last).double()


@pytest.mark.parametrize("last", [False, True])
def test_a_level_mixes_own_experts_then_shared_ones(last: bool) -> None:
    level = layer(last)
    (mixed, weights, _), experts = level(normal(BATCH, DIM_IN))
    everyone = torch.stack(experts)
    assert everyone.shape == (6, BATCH, level.dim)
    heard = [[0, 4, 5], [4, 5], [1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]][: 4 - last]
    assert [w.shape[1] for w in weights] == [len(places) for places in heard]
    for found, gate, places in zip(mixed, weights, heard, strict=True):
        close(found, torch.einsum("bs,sbd->bd", gate, everyone[places]))


def test_a_level_reads_one_state_a_listener() -> None:
    level, states = layer(last=False), list(normal(4, BATCH, DIM_IN).unbind())
    (_, before, _), experts = level(states)
    owners = [0, 2, 2, 2, 3, 3]
    for listener in range(len(states)):
        others = list(states)
        others[listener] = normal(BATCH, DIM_IN)
        (_, after, _), moved = level(others)
        changed = [not torch.equal(*pair) for pair in zip(experts, moved, strict=True)]
        assert changed == [owner == listener for owner in owners]
        changed = [not torch.equal(*pair) for pair in zip(before, after, strict=True)]
        assert changed == [place == listener for place in range(4)]


def test_one_state_for_all_is_that_state_for_each() -> None:
    level, x = layer(last=False), normal(BATCH, DIM_IN)
    (one, weights, _), experts = level(x)
    (each, same, _), others = level([x] * 4)
    close([one, weights, experts], [each, same, others])


def test_without_shared_experts_there_is_no_shared_state() -> None:
    level = CGCLayer(DIM_IN, (1, 2), 0, MLPSpec(dims=(DIM,)), last=False)
    (mixed, *_), experts = level(torch.randn(BATCH, DIM_IN))
    assert (len(mixed), len(experts)) == (2, 3)


BLOCKS = (8, DIM, 6)
COUNTS, SHARED = (1, 0, 3), 2
EXPERT = MLPSpec(dims=(8, DIM), activation="silu")
GATES = KINDS | {"bias": GateSpec(bias=True), "scaled": GateSpec(scaled=True)}


def hybrid(gate: GateSpec = GATES["bias"], last: bool = True) -> CGCLayer:
    """A level with experts of its own beside blocks that are made elsewhere."""
    return CGCLayer(
        DIM_IN, COUNTS, SHARED, EXPERT, blocks=BLOCKS, last=last, gate=gate
    ).double()


def drawn(*widths: int) -> list[Tensor]:
    return [normal(BATCH, width) for width in widths]


def mlp(state: dict[str, Tensor], part: str, lane: int, x: Tensor) -> Tensor:
    """A perceptron with silu."""
    for layer in range(2):
        w, b = (state[f"{part}.layers.{layer}.{p}"][lane] for p in ("weight", "bias"))
        x = w @ x + b
        x = x / (1 + (-x).exp())
    return x


def adapted(state: dict[str, Tensor], place: int, block: Tensor) -> Tensor:
    if f"adapters.{place}.weight" not in state:
        return block
    return state[f"adapters.{place}.weight"] @ block + state[f"adapters.{place}.bias"]


def in_loops(
    level: CGCLayer, x: Tensor, blocks: list[Tensor]
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """sum_i g_ki e_i, g_k and its scores, customer by customer, listener by listener.

    g_k reads [h_1 .. h_E]; e_i is a block as wide as the layer's own experts.
    """
    state, counts = dict(level.named_parameters()), level.gate.counts
    owners = [*level.owners, *[None] * (level.shared.lanes + len(blocks))]
    found = [[[] for _ in counts] for _ in range(3)]
    for row in range(len(x)):
        own = range(level.private.lanes), range(level.shared.lanes)
        experts = [mlp(state, "private", lane, x[row]) for lane in own[0]]
        experts += [mlp(state, "shared", lane, x[row]) for lane in own[1]]
        experts += [adapted(state, i, block[row]) for i, block in enumerate(blocks)]
        read, slot = torch.cat([block[row] for block in blocks]), 0
        for k, count in enumerate(counts):
            heard = [
                expert
                for expert, owner in zip(experts, owners, strict=True)
                if owner in (k, None) or count == len(owners)
            ]
            rows = slice(slot, slot + len(heard))
            slot += len(heard)
            factor = len(read) ** -0.5 if level.gate.spec.scaled else 1.0
            scores = [factor * (w @ read) for w in state["gate.linear.weight"][rows]]
            if "gate.linear.bias" in state:
                biases = state["gate.linear.bias"][rows]
                scores = [s + b for s, b in zip(scores, biases, strict=True)]
            g = routed(level.gate.spec, scores)
            mixed = sum(w * e for w, e in zip(g, heard, strict=True))
            for part, value in enumerate((mixed, torch.stack(g), torch.stack(scores))):
                found[part][k].append(value)
    return tuple([torch.stack(rows) for rows in part] for part in found)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
def test_a_level_hears_blocks_of_any_width_beside_its_own_experts(
    gate: GateSpec, last: bool
) -> None:
    level, x, blocks = hybrid(gate, last), normal(BATCH, DIM_IN), drawn(*BLOCKS)
    found, experts = level(x, blocks)
    mixed, weights, scores = in_loops(level, x, blocks)
    assert [w.shape[1] for w in weights] == [6, 5, 8, 9][: 4 - last]
    close(list(found[:2]), [mixed, weights])
    leaves = [x, *blocks, *level.parameters()]
    close(gradients(found[:2], leaves), gradients((mixed, weights), leaves))
    asked = [0.01 * balance(gate, own.T) for own in scores]
    wanted = sum(asked) / len(asked) if gate.asks else torch.zeros(()).double()
    close(found.penalty, wanted)
    assert {expert.shape for expert in experts} == {(BATCH, DIM)}


def test_a_block_as_wide_as_an_expert_is_heard_as_it_is() -> None:
    level, blocks = hybrid(), drawn(*BLOCKS)
    _, experts = level(normal(BATCH, DIM_IN), blocks)
    assert [bool(list(adapter.parameters())) for adapter in level.adapters] == [
        width != DIM for width in BLOCKS
    ]
    assert experts[-2] is blocks[1]


def test_gates_read_the_blocks_and_nothing_else() -> None:
    level, blocks, x = hybrid(), drawn(*BLOCKS), normal(BATCH, DIM_IN)
    (mixed, weights, _), _ = level(x, blocks)
    torch.stack([(w * w).sum() for w in weights]).sum().backward(retain_graph=True)
    assert x.grad is None or not x.grad.any()
    assert all(block.grad.any() for block in blocks)
    (other, same, _), _ = level(x + 1, blocks)
    close(same, weights)
    moved = [not torch.equal(*pair) for pair in zip(mixed, other, strict=True)]
    assert all(moved)


def test_with_blocks_private_experts_may_read_states_of_their_own() -> None:
    level, blocks, x = hybrid(last=False), drawn(*BLOCKS), normal(BATCH, DIM_IN)
    close(level([x] * 4, blocks), level(x, blocks))
    states = drawn(*[DIM_IN] * 4)
    _, before = level(states, blocks)
    states[2] = normal(BATCH, DIM_IN)
    _, after = level(states, blocks)
    moved = [not torch.equal(*pair) for pair in zip(before, after, strict=True)]
    assert moved == [owner == 2 for owner in (0, 2, 2, 2, 3, 3, 4, 4, 4)]


@pytest.mark.parametrize("last", [False, True])
def test_blocks_alone_are_enough(last: bool) -> None:
    level = CGCLayer(DIM_IN, (0, 0, 0), 0, EXPERT, blocks=BLOCKS, last=last).double()
    names = {name.split(".")[0] for name, _ in level.named_parameters()}
    assert names == {"adapters", "gate"}
    x, blocks = normal(BATCH, DIM_IN), drawn(*BLOCKS)
    (mixed, weights, _), experts = level(x, blocks)
    assert (len(mixed), len(experts), level.dim) == (4 - last, 3, DIM)
    close([mixed, weights], list(in_loops(level, x, blocks)[:2]))


def test_with_blocks_a_row_alone_is_that_row_and_permuted_rows_permute() -> None:
    level, x, blocks = hybrid(GATES["top 2"]), normal(BATCH, DIM_IN), drawn(*BLOCKS)
    (mixed, weights, _), _ = level(x, blocks)
    for rows in (*torch.eye(BATCH).nonzero()[:, 1:], torch.arange(BATCH).roll(2)):
        found, _ = level(x[rows], [block[rows] for block in blocks])
        close(found.mixed, [whole[rows] for whole in mixed])
        close(found.weights, [whole[rows] for whole in weights])


def test_ple_of_one_level_is_this_layer_and_towers_to_the_bit() -> None:
    spec = PLESpec(levels=1, private=COUNTS, shared=SHARED, expert=HIDDEN, tower=TOWER)
    model, batch = built(spec, BINARY), customers(BINARY)
    level = CGCLayer(batch.numeric.shape[1], COUNTS, SHARED, HIDDEN)
    towers = Towers(BINARY.tasks, level.dim, TOWER).eval()
    level.load_state_dict(model.get_submodule("levels.0").state_dict())
    towers.load_state_dict(model.get_submodule("towers").state_dict())
    (mixed, *_), experts = level.eval()(batch.numeric)
    output = model(batch)
    for name, logits in towers(mixed).items():
        assert torch.equal(output.logits[name], logits)
    for one, other in zip(output.experts, experts, strict=True):
        assert torch.equal(one, other)
