"""What the tasks of a group share and what a cluster adds, against loops in float64."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ple_study.experts.mlp import MLPSpec, ParallelMLP
from ple_study.schema import TaskSpec
from ple_study.tasks.basket import BasketSpec, GroupTaskExpertBasket, PerCluster
from tests.sizes import BATCH, DIMS

DIM_IN, _, DIM = DIMS
CLUSTERS, EMBEDDING = 4, 3
GROUPS = ("value", "life", "value", "odd", "life", "value")  # 3, 2 and 1, interleaved
TASKS = tuple(TaskSpec(name=f"t{i}", group=name) for i, name in enumerate(GROUPS))
FORMS = ("A", "B", "per_cluster")
NORMED = MLPSpec(dims=(9, DIMS[1]), activation="silu", norm="layer")
ENCODERS = {
    "normed": NORMED,
    "plain": MLPSpec(dims=(9, DIMS[1]), activation="relu"),
    "shallow": replace(NORMED, dims=(9,)),
    "linear": MLPSpec(dims=()),
}
every = pytest.mark.parametrize("form", FORMS)
encoders = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
Basket = GroupTaskExpertBasket | PerCluster


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def close(found: object, wanted: object, within: float = 1e-12) -> None:
    torch.testing.assert_close(found, wanted, atol=within, rtol=within)


def basket(clusters: int = CLUSTERS, **options: object) -> Basket:
    """Every parameter is anything."""
    given = {"encoder": NORMED, "embedding": EMBEDDING, "dim": DIM} | options
    found = BasketSpec(**given).build(TASKS, DIM_IN, clusters).double()
    for parameter in found.parameters():
        nn.init.normal_(parameter, std=0.6)
    return found


def drawn() -> tuple[list[Tensor], Tensor]:
    """An input a task; customer 3 is of no cluster."""
    clusters = torch.randn(BATCH, CLUSTERS).softmax(1).double()
    clusters[3] = torch.nan
    return [torch.randn(BATCH, DIM_IN).double() for _ in TASKS], clusters


def hidden(encoder: ParallelMLP, lane: int, x: Tensor, first: Tensor | None) -> Tensor:
    """One customer through a lane; ``first`` stands for the first weights."""
    for depth in range(len(encoder.spec.dims)):
        layer, norm = encoder.layers[depth], encoder.norms[depth][lane]
        weight = layer.weight[lane] if depth or first is None else first
        x = weight @ x + layer.bias[lane]
        if encoder.spec.norm == "layer":
            deviation = ((x - x.mean()).square().mean() + 1e-5).sqrt()
            x = (x - x.mean()) / deviation * norm.weight + norm.bias
        if encoder.spec.activation == "relu":
            x = torch.where(x > 0, x, 0.0)
        else:
            x = x / (1 + (-x).exp())
    return x


def posterior(row: Tensor | None, routing: str, clusters: int) -> list[float]:
    if row is None or row.isnan().any():
        return [0.0] * clusters
    if routing == "hard":
        return [float(k == row.argmax()) for k in range(clusters)]
    return row.tolist()


def by_hand(model: Basket, inputs: Sequence[Tensor], clusters: Tensor | None):
    """h_k = MLP_g([x_k, e]) and its likes, task by task and customer by customer."""
    rows = [None] * len(inputs[0]) if clusters is None else list(clusters)
    one = alone if isinstance(model, PerCluster) else grouped
    return [
        torch.stack([one(model, place, *pair) for pair in zip(x, rows, strict=True)])
        for place, x in enumerate(inputs)
    ]


def grouped(
    model: GroupTaskExpertBasket, place: int, x: Tensor, row: Tensor | None
) -> Tensor:
    lane = next(i for i, own in enumerate(model.groups.values()) if place in own)
    encoder, head, e = model.encoder, model.head, x.new_zeros(0)
    if model.embedding:
        table = model.embedding.weight
        shares = posterior(row, model.spec.routing, len(table))
        e = sum((p * v for p, v in zip(shares, table, strict=True)), 0 * table[0])
    if model.spec.form == "B":
        both = torch.cat([hidden(encoder, lane, x, None), e])
        return head.weight[place] @ both + head.bias[place]
    if model.shift is None:
        return head.weight[lane] @ hidden(encoder, lane, x, None) + head.bias[lane]
    wide = torch.cat([x, e])
    if not encoder.spec.dims:
        both = torch.cat([head.weight[lane], model.shift[lane]], dim=1)
        return both @ wide + head.bias[lane]
    first = torch.cat([encoder.layers[0].weight[lane], model.shift[lane]], dim=1)
    return head.weight[lane] @ hidden(encoder, lane, wide, first) + head.bias[lane]


def alone(model: PerCluster, place: int, x: Tensor, row: Tensor | None) -> Tensor:
    x, answer = hidden(model.trunks, place, x, None), torch.zeros(model.dim).double()
    shares = posterior(row, model.routing, model.clusters)
    if not any(shares):
        shares = [1 / model.clusters] * model.clusters
    inner, outer = model.hidden[place], model.heads[place]
    relu = model.trunks.spec.activation == "relu"
    for k, share in enumerate(shares):
        said = inner.weight[k] @ x + inner.bias[k]
        said = said.clamp(min=0) if relu else said * said.sigmoid()
        answer = answer + share * (outer.weight[k] @ said + outer.bias[k])
    return answer


def gradients(answers: list[Tensor], leaves: list[Tensor]) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(1)
    weighed = [(x * torch.randn(x.shape, generator=draw)).sum() for x in answers]
    return torch.autograd.grad(torch.stack(weighed).sum(), leaves)


@every
@encoders
@pytest.mark.parametrize("routing", ["soft", "hard"])
def test_a_basket_is_its_formula(form: str, encoder: MLPSpec, routing: str) -> None:
    model = basket(form=form, encoder=encoder, routing=routing)
    inputs, clusters = drawn()
    leaves = [*model.parameters(), *(x.requires_grad_() for x in inputs)]
    found, wanted = model(inputs, clusters), by_hand(model, inputs, clusters)
    close(found, wanted)
    close(gradients(found, leaves), gradients(wanted, leaves), 1e-10)


@every
def test_without_posteriors_nobody_is_of_a_cluster(form: str) -> None:
    model, (inputs, clusters) = basket(form=form), drawn()
    found = model(inputs)
    close(found, by_hand(model, inputs, None))
    close(found, model(inputs, torch.full_like(clusters, torch.nan)))
    for one, other in zip(found, model(inputs, clusters), strict=True):
        assert (one == other).all(1).tolist() == [row == 3 for row in range(BATCH)]


@pytest.mark.parametrize("form", ["A", "B"])
@encoders
def test_a_schema_without_clusters_has_no_embedding(
    form: str, encoder: MLPSpec
) -> None:
    model, (inputs, clusters) = basket(0, form=form, encoder=encoder), drawn()
    found = model(inputs)
    close(found, by_hand(model, inputs, None))
    close(model(inputs, clusters), found)  # and reads none
    names = {name.split(".")[0] for name, p in model.named_parameters() if p.numel()}
    assert names == {"encoder", "head"} if encoder.dims else {"head"}


@every
def test_soft_is_hard_where_the_posterior_is_sure(form: str) -> None:
    soft, hard = (basket(form=form, routing=routing) for routing in ("soft", "hard"))
    hard.load_state_dict(soft.state_dict())
    (inputs, clusters), sure = drawn(), torch.eye(CLUSTERS).double()[[2, 0, 3, 3, 1]]
    close(soft(inputs, sure), hard(inputs, sure))
    close(hard(inputs, 0.7 * sure + 0.075), hard(inputs, sure))
    gap = (soft(inputs, clusters)[0] - hard(inputs, clusters)[0]).abs().amax(1)
    assert (gap > 1e-3).tolist() == [row != 3 for row in range(BATCH)]


@encoders
def test_form_a_is_an_mlp_that_reads_both(encoder: MLPSpec) -> None:
    """W [x, e] = W_x x + W_e e (claim 43): torch's own layers, weights side by side."""
    model, (inputs, clusters) = basket(encoder=encoder), drawn()
    e = clusters.nan_to_num(0.0) @ model.embedding.weight
    found = model(inputs, clusters)
    for lane, places in enumerate(model.groups.values()):
        plain: list[nn.Module] = []
        for depth, layer in enumerate([*model.encoder.layers, model.head]):
            weight = layer.weight[lane]
            if depth == 0:
                weight = torch.cat([weight, model.shift[lane]], dim=1)
            linear = nn.Linear(*weight.T.shape).double()
            linear.load_state_dict({"weight": weight, "bias": layer.bias[lane]})
            plain.append(linear)
            if layer is not model.head:
                plain += [model.encoder.norms[depth][lane]]
                plain += [nn.SiLU() if encoder.activation == "silu" else nn.ReLU()]
        for place in places:
            x = torch.cat([inputs[place], e], dim=1)
            close(found[place], nn.Sequential(*plain)(x))


def test_a_cluster_shifts_the_first_layer_and_no_more() -> None:
    """The same for every customer and task of a group, whatever their inputs."""
    model, (inputs, _) = basket(encoder=ENCODERS["plain"]), drawn()
    sums: list[Tensor] = []
    for norm in model.encoder.norms[0]:  # which is none, and reads the linear map
        norm.register_forward_hook(lambda _, args, __: sums.append(args[0]))
    for cluster in torch.eye(CLUSTERS).double()[:2]:
        model(inputs, cluster.expand(BATCH, -1))
    e, other = model.embedding.weight[:2]
    lanes = [lane for lane, own in enumerate(model.groups.values()) for _ in own]
    for lane, then, now in zip(lanes, sums, sums[len(TASKS) :], strict=False):
        close(now - then, (model.shift[lane] @ (other - e)).expand(BATCH, -1))


def reached(model: Basket, place: int) -> set[str]:
    """The rows of parameters that one task's answer trains."""
    inputs, clusters = drawn()
    model.zero_grad()
    model(inputs, clusters)[place].square().sum().backward()
    found = set()
    for name, p in model.named_parameters():
        grad = torch.zeros_like(p) if p.grad is None else p.grad
        found |= {f"{name} {place}" for place, own in enumerate(grad) if own.any()}
    return found


@every
def test_what_is_a_tasks_own(form: str) -> None:
    """Nothing in form A (claim 46); its head in B; in the baseline, everything."""
    model = basket(form=form)
    sets = [reached(model, place) for place in range(len(TASKS))]
    for place, own in enumerate(sets):
        peers = [other for other in range(len(TASKS)) if other != place]
        private = own - set().union(*(sets[other] for other in peers))
        if form == "per_cluster":
            assert private == own
            continue
        head = {f"head.{part} {place}" for part in ("weight", "bias")}
        if TASKS[place].group == "odd":
            assert any("encoder" in name for name in private)
        else:
            assert private == (head if form == "B" else set())
        group = [other for other in peers if TASKS[other].group == TASKS[place].group]
        for other in peers:
            shared = {name for name in own & sets[other] if "embedding" not in name}
            assert bool(shared) == (other in group)


@pytest.mark.parametrize("form", ["A", "B"])
def test_shared_parameters_are_those_of_the_groups_networks(form: str) -> None:
    model = basket(form=form)
    shared = {id(p) for p in model.shared_parameters()}
    names = {n.split(".")[0] for n, p in model.named_parameters() if id(p) in shared}
    assert names == ({"encoder", "shift", "head"} if form == "A" else {"encoder"})


@every
def test_one_row_alone_is_that_row_and_permuted_rows_permute_answers(form: str) -> None:
    model, (inputs, clusters) = basket(form=form), drawn()
    together = model(inputs, clusters)
    for rows in (*torch.eye(BATCH).nonzero()[:, 1:], torch.arange(BATCH).roll(2)):
        found = model([x[rows] for x in inputs], clusters[rows])
        close(found, [x[rows] for x in together])


@pytest.mark.plain
@pytest.mark.parametrize(
    ("form", "routing"), [("A", "soft"), ("B", "hard"), ("per_cluster", "soft")]
)
def test_the_compiled_form_is_the_same(form: str, routing: str) -> None:
    model, (inputs, clusters) = basket(form=form, routing=routing), drawn()
    leaves = list(model.parameters())
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    found, wanted = compiled(inputs, clusters), model(inputs, clusters)
    close(found, wanted)
    close(gradients(found, leaves), gradients(wanted, leaves))


@every
def test_half_precision_is_near_and_posteriors_may_be_of_another(form: str) -> None:
    model, (inputs, clusters) = basket(form=form).float(), drawn()
    inputs = [x.float() for x in inputs]
    wanted = model(inputs, clusters.float())
    close(model(inputs, clusters), wanted, 1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(inputs, clusters.float())
    close([x.float() for x in found], wanted, 0.3)
    torch.stack(found).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@every
def test_dropout_is_for_training_alone(form: str) -> None:
    model, (inputs, clusters) = basket(form=form, encoder=BasketSpec().encoder), drawn()
    one, other = (model(inputs, clusters) for _ in range(2))
    assert not any(map(torch.equal, one, other))
    model.eval()
    one, other = (model(inputs, clusters) for _ in range(2))
    assert all(map(torch.equal, one, other))


def test_a_task_alone_may_have_a_head_a_cluster() -> None:
    spec = BasketSpec(form="per_cluster", encoder=NORMED, dim=DIM)
    model, x = spec.build(TASKS[:1], DIM_IN, CLUSTERS), torch.randn(BATCH, DIM_IN)
    even = torch.full((BATCH, CLUSTERS), 1 / CLUSTERS)
    close(model([x]), model([x], even), within=1e-6)
