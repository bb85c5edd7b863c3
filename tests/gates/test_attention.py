"""Block scaling in loops, option by option: who is heard, how loud, from where."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from ple_study.gates.attention import (
    CGCAttention,
    CGCAttentionSpec,
    entropy_penalty,
    prior_table,
)
from ple_study.gates.gate import Mixture
from ple_study.schema import TaskSpec
from tests.sizes import BATCH, DIMS, EXPERTS, TASKS

WIDTHS = (*DIMS, 5)
SEVEN = ("deepfm", "lightgcn", "unified_hgcn", "temporal", "perslay", "causal", "ot")
WIDE = (64, 64, 128, 64, 64, 64, 64)
CHOICES = {
    "dim_normalize": (True, False),
    "rescale": (True, False),
    "block_norm": ("none", "layer"),
    "missing": ("mask", "default"),
    "scaled": (True, False),
}
EVERY = [
    dict(zip(CHOICES, choice, strict=True)) for choice in product(*CHOICES.values())
]
PRESENT = torch.tensor(
    [
        [True, True, True, True],
        [False, True, True, False],
        [False, False, True, False],
        [False, False, False, False],  # about whom nobody can speak
        [True, False, True, True],
    ]
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def close(found: object, wanted: object, within: float = 1e-6) -> None:
    """Constants of the library are float32."""
    torch.testing.assert_close(found, wanted, atol=within, rtol=within)


def attention(*widths: int, **options: object) -> CGCAttention:
    """A gate in float64 whose weights are anything."""
    prior = torch.zeros(TASKS, len(widths))
    gate = CGCAttention(widths, prior, CGCAttentionSpec(**options)).double()
    for parameter in gate.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return gate


def drawn(*widths: int, batch: int = BATCH) -> list[Tensor]:
    return [
        (3 * torch.randn(batch, width).double() + 1).requires_grad_()
        for width in widths
    ]


def by_hand(
    gate: CGCAttention, blocks: list[Tensor], present: Tensor | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """[c_1 w_k1 h_1, .., c_E w_kE h_E] and w_k, customer by customer, task by task."""
    spec, widths, weight = gate.spec, [b.shape[1] for b in blocks], gate.linear.weight
    experts, tasks = len(widths), len(weight) // len(widths)
    mean = sum(widths) / experts
    factor = sum(widths) ** -0.5 if spec.scaled else 1.0
    mixed: list[list[Tensor]] = [[] for _ in range(tasks)]
    weights: list[list[Tensor]] = [[] for _ in range(tasks)]
    for customer in range(len(blocks[0])):
        own = [block[customer] for block in blocks]
        if spec.block_norm == "layer":
            centred = [h - h.mean() for h in own]
            own = [h / (h.square().mean() + 1e-5).sqrt() for h in centred]
        silent = [False] * experts
        if present is not None and spec.missing == "mask" and present[customer].any():
            silent = [not seen for seen in present[customer]]
        for task in range(tasks):
            raw, parts = [], []
            for i in range(experts):
                row = weight[task * experts + i]
                score = factor * (row @ torch.cat(own))
                score = score + gate.linear.bias[task * experts + i]
                raw.append(0 * score if silent[i] else score.exp())
            for i in range(experts):
                c = math.sqrt(mean / widths[i]) if spec.dim_normalize else 1.0
                c = c * experts if spec.rescale else c
                parts.append(c * raw[i] / sum(raw) * own[i])
            mixed[task].append(torch.cat(parts))
            weights[task].append(torch.stack(raw) / sum(raw))
    return [torch.stack(m) for m in mixed], [torch.stack(w) for w in weights]


def gradients(answer: object, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(1)
    weighed = [
        (part * torch.randn(part.shape, generator=draw)).sum()
        for parts in answer
        for part in parts
    ]
    return torch.autograd.grad(torch.stack(weighed).sum(), leaves)


@pytest.mark.parametrize("present", [None, PRESENT], ids=["all", "some"])
@pytest.mark.parametrize("options", EVERY, ids=lambda options: str([*options.values()]))
def test_an_attention_is_its_formula(
    present: Tensor | None, options: dict[str, object]
) -> None:
    gate, blocks = attention(*WIDTHS, **options), drawn(*WIDTHS)
    found, wanted = gate(blocks, present), by_hand(gate, blocks, present)
    close(list(found[:2]), list(wanted))
    close(found.weights, wanted[1], 1e-12)
    for weights in found.weights:
        close(weights.sum(1), torch.ones(BATCH).double(), 1e-12)
    leaves = [*blocks, *gate.parameters()]
    close(gradients(found[:2], leaves), gradients(wanted, leaves), 1e-5)


def test_who_cannot_speak_is_not_heard_unless_nobody_can() -> None:
    gate, blocks = attention(*WIDTHS), drawn(*WIDTHS)
    silent = ~PRESENT
    silent[3] = False
    for weights in gate(blocks, PRESENT).weights:
        assert torch.equal(weights == 0, silent)
    everybody = gate(blocks, torch.ones_like(PRESENT))
    nobody = gate(blocks, torch.zeros_like(PRESENT))
    assert torch.equal(nobody.mixed[0], everybody.mixed[0])
    assert torch.equal(gate(blocks).mixed[2], everybody.mixed[2])


def test_a_row_alone_is_that_row_and_permuted_rows_permute_answers() -> None:
    gate, blocks = attention(*WIDTHS), drawn(*WIDTHS)
    together = gate(blocks, PRESENT)
    for rows in (*torch.eye(BATCH).nonzero()[:, 1:], torch.arange(BATCH).roll(2)):
        found = gate([block[rows] for block in blocks], PRESENT[rows])
        for part, whole in zip(found[:2], together[:2], strict=True):
            close(part, [x[rows] for x in whole], 1e-12)


def test_each_task_has_weights_of_its_own() -> None:
    gate, blocks = attention(*WIDTHS), drawn(*WIDTHS)
    before = gate(blocks)
    with torch.no_grad():
        gate.linear.weight[EXPERTS : 2 * EXPERTS] *= -2
    after = gate(blocks)
    for one, other in zip(before[:2], after[:2], strict=True):
        moved = [not torch.equal(*pair) for pair in zip(one, other, strict=True)]
        assert moved == [False, True, False]


def entropy(weights: list[Tensor], floor: float = 0.0) -> Tensor:
    """-mean H, or the mean of what is missing to ``floor`` log E."""
    asked = []
    for own in weights:
        for row in own:
            nats = -sum(w * max(w, w.new_tensor(1e-6)).log() for w in row)
            missing = floor * math.log(len(row)) - nats
            asked.append(missing.clamp(min=0) if floor else -nats)
    return torch.stack(asked).mean()


@pytest.mark.parametrize("floor", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("strength", [0.01, 0.5])
def test_a_gate_in_training_is_paid_for_its_entropy(
    floor: float, strength: float
) -> None:
    gate = attention(*WIDTHS, entropy=strength, entropy_floor=floor)
    blocks = drawn(*WIDTHS)
    weights = by_hand(gate, blocks, PRESENT)[1]
    wanted, found = strength * entropy(weights, floor), gate(blocks, PRESENT).penalty
    close(found.double(), wanted)
    assert bool(found < 0) != bool(floor)
    leaves = [*blocks, *gate.parameters()]
    grads = [torch.autograd.grad(loss, leaves) for loss in (found, wanted)]
    close(*grads)
    assert all(part.isfinite().all() and part.any() for part in grads[0])


def test_above_the_floor_nothing_is_charged() -> None:
    gate, blocks = attention(*WIDTHS, entropy_floor=0.5), drawn(*WIDTHS)
    with torch.no_grad():
        gate.linear.weight.zero_()
        gate.linear.bias.zero_()
    assert gate(blocks).penalty == 0
    gate.linear.bias.data[0] = 30.0  # one task of three hears one expert alone
    charged = 0.01 * 0.5 * math.log(EXPERTS) / TASKS
    close(gate(blocks).penalty, torch.tensor(charged))


def test_entropy_goes_from_zero_to_the_logarithm_of_the_number() -> None:
    even = torch.full((TASKS, 7, BATCH), 1 / 7)
    close(entropy_penalty(even), torch.tensor(-1.9459), 1e-4)
    alone = torch.zeros(TASKS, 7, BATCH)
    alone[:, 2] = 1
    assert entropy_penalty(alone) == 0


def test_nothing_is_asked_in_evaluation_when_frozen_or_without_a_weight() -> None:
    blocks, gate = drawn(*WIDTHS), attention(*WIDTHS)
    assert gate(blocks).penalty < 0
    assert gate.eval()(blocks).penalty == 0
    gate.train().freeze()
    assert gate(blocks).penalty == 0
    assert attention(*WIDTHS, entropy=0.0)(blocks).penalty == 0


def tasks(*preferred: tuple[str, ...]) -> list[TaskSpec]:
    return [TaskSpec(name=f"t{i}", experts=own) for i, own in enumerate(preferred)]


def start(prior: float, *preferred: tuple[str, ...]) -> Mixture:
    table = prior_table(tasks(*preferred), SEVEN)
    gate = CGCAttention(WIDE, table, CGCAttentionSpec(prior=prior))
    return gate([torch.randn(BATCH, width) for width in WIDE])


@pytest.mark.parametrize(
    ("named", "high", "low"),
    [(1, 0.5519, 0.0747), (2, 0.3736, 0.0506), (3, 0.2824, 0.0382)],
)
def test_a_gate_starts_at_the_prior(named: int, high: float, low: float) -> None:
    weights = start(1.0, SEVEN[2 : 2 + named], ()).weights
    wanted = torch.full((BATCH, 7), low)
    wanted[:, 2 : 2 + named] = high
    torch.testing.assert_close(weights[0], wanted, atol=6e-5, rtol=0)
    close(weights[1], torch.full((BATCH, 7), 1 / 7))


@pytest.mark.parametrize("prior", [0.0, 2.0, -1.0])
def test_a_prior_may_be_strong_none_or_wrong(prior: float) -> None:
    (weights,) = start(prior, ("temporal",)).weights
    high, low = math.exp(prior), math.exp(-prior)
    wanted = torch.full((BATCH, 7), low / (high + 6 * low))
    wanted[:, 3] = high / (high + 6 * low)
    close(weights, wanted)


def test_a_prior_table_has_a_sign_for_every_expert_of_a_task_with_an_opinion() -> None:
    table = prior_table(tasks(("b",), (), ("c", "a")), ("a", "b", "c", "d"))
    assert table.tolist() == [[-1, 1, -1, -1], [0, 0, 0, 0], [1, -1, 1, -1]]


def test_scores_are_divided_unless_told_otherwise() -> None:
    blocks, weights = drawn(*WIDTHS), {}
    for scaled in (None, True, False):
        options = {} if scaled is None else {"scaled": scaled}
        torch.manual_seed(0)
        weights[scaled] = torch.stack(attention(*WIDTHS, **options)(blocks)[1])
    assert torch.equal(weights[None], weights[True])
    assert not torch.allclose(weights[None], weights[False])


def test_the_sources_number_of_parameters() -> None:
    gate = CGCAttention(WIDE, torch.zeros(16, 7))
    assert sum(p.numel() for p in gate.parameters()) == 57_456


def test_without_rescaling_a_task_hears_less_by_its_weights() -> None:
    gate = attention(*WIDTHS, dim_normalize=False, rescale=False)
    blocks = drawn(*WIDTHS)
    before, (mixed, weights, _) = torch.cat(blocks, dim=1).norm(dim=1), gate(blocks)
    for own, weight in zip(mixed, weights, strict=True):
        ratio = own.norm(dim=1) / before
        assert (weight.min(1).values < ratio).all()
        assert (ratio < weight.max(1).values).all()


@pytest.mark.parametrize(
    ("rescale", "widths", "factor"),
    [(False, WIDE, 1 / 7), (True, WIDE, 1.0), (True, (64,) * 7, 1.0)],
)
def test_even_weights(rescale: bool, widths: tuple[int, ...], factor: float) -> None:
    spec = CGCAttentionSpec(dim_normalize=widths != WIDE, rescale=rescale)
    blocks = [torch.randn(BATCH, width) for width in widths]
    for mixed in CGCAttention(widths, torch.zeros(TASKS, 7), spec)(blocks).mixed:
        close(mixed, factor * torch.cat(blocks, dim=1))


def test_width_is_corrected_and_the_whole_stays_as_loud() -> None:
    spec = CGCAttentionSpec(rescale=False)
    scale = CGCAttention(WIDE, torch.zeros(TASKS, 7), spec).scale
    wanted = torch.full((7,), 1.0690)
    wanted[2] = 0.7559
    close(scale, wanted, 1e-4)
    close((scale**2 * torch.tensor(WIDE)).sum(), torch.tensor(512.0), 1e-5)


@pytest.mark.plain
@pytest.mark.parametrize("missing", ["mask", "default"])
def test_the_compiled_form_is_the_same(missing: str) -> None:
    gate, blocks = attention(*WIDTHS, missing=missing), drawn(*WIDTHS)
    compiled = torch.compile(gate, fullgraph=True, backend="aot_eager")
    found, wanted = compiled(blocks, PRESENT), gate(blocks, PRESENT)
    close(found, wanted, 1e-12)
    leaves = [*blocks, *gate.parameters()]
    both = [gradients((*x[:2], [x.penalty]), leaves) for x in (found, wanted)]
    close(*both, 1e-12)


def test_nobody_gets_no_answers() -> None:
    found = attention(*WIDTHS).eval()(drawn(*WIDTHS, batch=0), PRESENT[:0])
    assert {x.shape for x in found.mixed} == {(0, sum(WIDTHS))}
    assert {x.shape for x in found.weights} == {(0, EXPERTS)}


@pytest.mark.plain
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_norm": "layr"}, "block_norm must be .*Found 'layr'.*mean 'layer'"),
        ({"missing": "drop"}, r"missing must be one of \('mask', 'default'\).*'drop'"),
        ({"entropy": -0.1}, r"entropy must be 0 or more.*Found entropy=-0\.1"),
        ({"entropy": math.nan}, "entropy must be 0 or more.*Found entropy=nan"),
        ({"entropy_floor": 1.5}, r"floor lie in \[0, 1\].*entropy_floor=1\.5"),
        ({"entropy_floor": -0.5}, r"floor lie in \[0, 1\].*entropy_floor=-0\.5"),
        ({"prior": math.inf}, "prior must be finite. Found inf"),
    ],
)
def test_options_out_of_range_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CGCAttentionSpec(**options)


@pytest.mark.parametrize("shape", [(TASKS, EXPERTS), (0, 3)])
def test_a_prior_of_another_shape_is_refused(shape: tuple[int, int]) -> None:
    wanted = rf"column a block. Found \({shape[0]}, {shape[1]}\) for 3 blocks"
    with pytest.raises(ValueError, match=wanted):
        CGCAttention(DIMS, torch.zeros(shape))


def test_a_preferred_expert_must_be_there_and_be_named_once() -> None:
    with pytest.raises(
        ValueError, match=r"'t1' prefers the expert 'temporl'. .* mean 'temporal'\?"
    ):
        prior_table(tasks((), ("temporl",)), SEVEN)
    with pytest.raises(ValueError, match=r"Experts of task 't0' must be .*\['perslay"):
        tasks(("perslay", "causal", "perslay"))


@pytest.mark.plain
def test_preferred_experts_are_a_list_and_no_word() -> None:
    with pytest.raises(ValueError, match=r"'t' are a list of names. .* word 'causal'"):
        TaskSpec(name="t", experts="causal")
