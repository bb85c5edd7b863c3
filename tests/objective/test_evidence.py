"""What evidence says and costs, against its definitions in loops and integrals."""

import math
from dataclasses import replace
from functools import partial

import mpmath
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor
from torch.nn import functional as F

from ple_study.objective.evidence import (
    annealing,
    dirichlet_kl,
    dirichlet_risk,
    evidence_losses,
    nig_error,
    nig_nll,
    opinion,
    penalised,
)
from ple_study.schema import TaskSpec
from ple_study.tasks.evidential import EvidentialSpec
from tests.sizes import BATCH

TASKS = (
    TaskSpec(name="stage", kind="multiclass", classes=4, weight=3.0),
    TaskSpec(name="spend", kind="regression", scale=(40.0, 7.0)),
    TaskSpec(name="click", weight=0.5),
    TaskSpec(name="brand", kind="contrastive", classes=9),
    TaskSpec(name="pair", kind="multiclass", classes=2),
    TaskSpec(name="visits", kind="regression"),
    TaskSpec(name="churn", loss="focal"),
)
TOLD = [task for task in TASKS if task.kind != "contrastive"]
SPEC = EvidentialSpec(kl=0.3, error=0.2, anneal=5)
psi = mpmath.digamma


def tensor(*numbers: object) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def close(found: Tensor, wanted: object, within: float = 1e-12) -> None:
    wanted = torch.as_tensor(wanted, dtype=found.dtype)
    torch.testing.assert_close(found, wanted, atol=within, rtol=within)


def drawn(seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Evidence and labels of ``BATCH`` customers; one label in five is not known."""
    draw = torch.Generator().manual_seed(seed)
    evidence, labels = {}, {}
    for place, task in enumerate(TASKS):
        width = {"binary": 2, "regression": 4}.get(task.kind, task.classes)
        found = torch.rand(BATCH, width, generator=draw).double() * 6 + 1.1
        evidence[task.name] = found.requires_grad_()
        size = max(task.classes, 2)
        label = torch.randint(size, (BATCH,), generator=draw).double()
        if task.kind == "regression":
            label = task.scale[0] + task.scale[1] * torch.randn(BATCH, generator=draw)
        label[place % BATCH] = torch.nan
        labels[task.name] = label.double()
    return {t.name: evidence[t.name] for t in TOLD}, labels


def kl_by_hand(alpha: list[float]) -> float:
    total, found = sum(alpha), mpmath.mpf(0)
    found += mpmath.loggamma(total) - mpmath.loggamma(len(alpha))
    for a in alpha:
        found += (a - 1) * (psi(a) - psi(total)) - mpmath.loggamma(a)
    return float(found)


def risk_by_hand(alpha: list[float], place: int, risk: str) -> float:
    total, found = sum(alpha), 0.0
    if risk == "likelihood":
        return -math.log(alpha[place] / total)
    if risk == "digamma":
        return float(psi(total) - psi(alpha[place]))
    for k, a in enumerate(alpha):
        found += ((k == place) - a / total) ** 2
        found += a * (total - a) / (total**2 * (total + 1))  # the variance of p_k
    return found


def nll_by_hand(y: float, mu: float, nu: float, alpha: float, beta: float) -> float:
    """Of a Student-t, from its density."""
    with mpmath.workdps(30):
        df, spread = 2 * alpha, mpmath.sqrt(beta * (1 + nu) / (nu * alpha))
        top, low = mpmath.gamma((df + 1) / 2), mpmath.gamma(df / 2)
        norm = top / (low * mpmath.sqrt(df * mpmath.pi) * spread)
        base = 1 + ((y - mu) / spread) ** 2 / df
        return float(-mpmath.log(norm * base ** (-(df + 1) / 2)))


def test_numbers_of_a_dirichlet() -> None:
    found = dirichlet_kl(tensor([1.0, 1, 1], [10, 10, 10], [100, 1, 1]))
    assert found.tolist() == pytest.approx([0, 1.576, 6.557], abs=5e-4)


@pytest.mark.parametrize("alpha", [(1.2, 3.4), (7.0, 2.5, 1.1), (2.0, 9.1, 4.4, 1.0)])
def test_a_divergence_and_risks_are_their_formulas(alpha: tuple[float, ...]) -> None:
    own = tensor(*alpha)
    close(dirichlet_kl(own), kl_by_hand(list(alpha)))
    for place in range(len(alpha)):
        y = F.one_hot(torch.tensor(place), len(alpha)).double()
        for risk in ("squared", "digamma", "likelihood"):
            wanted = risk_by_hand(list(alpha), place, risk)
            close(dirichlet_risk(own, y, risk), wanted)
    assert (dirichlet_risk(own, y) == dirichlet_risk(own, y, "squared")).all()


def test_an_opinion_is_its_formulas() -> None:
    alpha, own = [1.4, 3.0, 2.2, 1.1], tensor([1.4, 3.0, 2.2, 1.1])
    found, total = opinion(TASKS[0], own), sum(alpha)
    p = [a / total for a in alpha]
    mean = float(psi(total + 1) - sum(a / total * psi(a + 1) for a in alpha))
    whole = -sum(q * math.log(q) for q in p)
    close(found.answer[0], p)
    close(torch.cat(found[1:]), [4 / total, mean, whole - mean])
    amount = opinion(TASKS[1], tensor([0.3, 2.0, 3.0, 4.0]))
    close(amount.answer, [[40 + 7 * 0.3]])
    close(torch.cat(amount[2:]), [4.0 / 2 * 49, 4.0 / 2 * 49 / 2])


@pytest.mark.parametrize(
    ("tilde", "wanted"),
    [
        ("sensoy", (0.125, 0.31, 0.50, 0.625)),
        ("full", (0.31, 0.78, 1.25, 1.56)),
        ("source", (0.33, 0.55, 0.33, 0.0)),
    ],
)
def test_the_annealed_divergence_of_each_variant(tilde: str, wanted: tuple) -> None:
    alpha, y = tensor(8, 3, 1), tensor(1, 0, 0)
    for epoch, value in zip((2, 5, 8, 10), wanted, strict=True):
        a = annealing(epoch, 10)
        found = a * dirichlet_kl(penalised(alpha, y, tilde, a))
        assert found.item() == pytest.approx(value, abs=6e-3)


@pytest.mark.parametrize(
    ("tilde", "right", "wrong"),
    [("sensoy", False, True), ("full", True, True), ("source", True, False)],
)
def test_whose_evidence_is_drawn_to_none(tilde: str, right: bool, wrong: bool) -> None:
    """Claim 68: only Sensoy's variant spares what is right and draws what is wrong."""
    alpha = tensor(4, 3, 1.5).requires_grad_()
    cost = dirichlet_kl(penalised(alpha, tensor(1, 0, 0), tilde, 0.5))
    (pull,) = torch.autograd.grad(cost, alpha)
    assert [bool(pull[0] > 0), bool(pull[1] > 0)] == [right, wrong]
    assert pull.ne(0).tolist() == [right, wrong, wrong]


def test_annealing_grows_and_ends() -> None:
    assert [annealing(e, 4) for e in (0, 1, 3, 4, 9)] == [0, 0.25, 0.75, 1, 1]
    assert annealing(0, 0) == 1


def test_the_likelihood_of_a_value() -> None:
    y, rest = tensor(1.0), (0.3, 1.7, 2.5, 0.8)
    own = [tensor(x) for x in rest]
    assert nig_nll(y, *own).item() == pytest.approx(1.159185, abs=5e-7)
    close(nig_nll(y, *own), [nll_by_hand(1.0, *rest)], 1e-13)
    close(nig_error(y, *own[:3]), [0.7 * (2 * 1.7 + 2.5)])
    close(nig_error(-y, *own[:3]), [1.3 * (2 * 1.7 + 2.5)])


@pytest.mark.parametrize("rest", [(0.3, 1.7, 2.5, 0.8), (-2.0, 0.4, 1.2, 3.0)])
def test_a_likelihood_integrates_to_one(rest: tuple[float, ...]) -> None:
    own = [tensor(x) for x in rest]
    total, _ = quad(
        lambda y: math.exp(-nig_nll(tensor(y), *own).item()), -math.inf, math.inf
    )
    assert total == pytest.approx(1, abs=1e-7)


def test_noise_and_doubt_cannot_be_told_apart() -> None:
    """Claim 70: along beta (1 + nu) / nu no value of y tells one from the other."""
    y, nu = torch.linspace(-9, 9, 41).double(), tensor(0.01, 0.3, 2, 50)[:, None]
    alpha = tensor(1.8)
    found = nig_nll(y, tensor(0.2), nu, alpha, 3 * nu / (1 + nu))
    close(found, found[:1].expand_as(found))
    parts = [3 * nu / (1 + nu) / (alpha - 1), 3 / (1 + nu) / (alpha - 1)]
    assert all((part.max() / part.min()) > 30 for part in parts)
    other = nig_nll(y, tensor(0.2), nu, alpha, tensor(3.0))
    assert (other[0] - other[3]).abs().max() > 0.5


def test_the_sources_signs_reward_error() -> None:
    draw = torch.Generator().manual_seed(0)
    y = 2 + 0.5 * torch.randn(200, generator=draw).double()
    ends = {}
    for nll in ("amini", "source"):
        raw = torch.zeros(4, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.Adam([raw], lr=0.05)
        for _ in range(300):
            optimiser.zero_grad()
            nu, above, beta = F.softplus(raw[1:]) + 1e-6
            nig_nll(y, raw[0], nu, above + 1, beta, nll).mean().backward()
            optimiser.step()
        ends[nll] = raw[0].item()
    assert ends["amini"] == pytest.approx(2, abs=0.1)
    assert abs(ends["source"] - 2) > 6


@pytest.mark.parametrize("tilde", ["sensoy", "full", "source"])
@pytest.mark.parametrize("risk", ["squared", "digamma", "likelihood"])
def test_losses_are_means_over_those_observed(risk: str, tilde: str) -> None:
    spec = replace(SPEC, risk=risk, tilde=tilde)
    evidence, labels = drawn()
    weights = {"click": tensor(0.5, 0, 2, 1, 3), "spend": tensor(1, 2, 3, 0, 4)}
    found = evidence_losses(TASKS, evidence, labels, weights, spec=spec, epoch=2)
    wanted = []
    for task in TOLD:
        top = low = 0.0
        for row in range(BATCH):
            e = evidence[task.name][row].tolist()
            y, w = labels[task.name][row].item(), 1.0
            if task.name in weights:
                w = weights[task.name][row].item()
            if math.isnan(y):
                continue
            if task.kind == "regression":
                y = (y - task.scale[0]) / task.scale[1]
                cost = nll_by_hand(y, *e)
                cost += 0.4 * 0.2 * abs(y - e[0]) * (2 * e[1] + e[2])
            else:
                place = 1 - int(y) if task.kind == "binary" else int(y)
                cost = risk_by_hand(e, place, risk)
                if tilde == "sensoy":
                    e[place] = 1.0
                elif tilde == "source":
                    e = [1 + (a - 1) * 0.6 * (k == place) for k, a in enumerate(e)]
                cost += 0.4 * 0.3 * kl_by_hand(e)
            top, low = top + w * cost, low + w
        wanted.append(top / low)
    close(found.values, wanted, 1e-11)
    assert found.present.all()


def test_a_weight_of_the_task_and_its_own_loss_change_nothing() -> None:
    evidence, labels = drawn()
    plain = [replace(t, weight=1.0, loss="default") for t in TASKS]
    one, other = (
        evidence_losses(tasks, evidence, labels, spec=SPEC, epoch=3).values
        for tasks in (TASKS, plain)
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize("weighed", [False, True])
def test_a_task_that_nobody_observed_is_absent(weighed: bool) -> None:
    evidence, labels = drawn()
    gone, weights = ("click", "spend"), {}
    if weighed:
        weights = {name: torch.zeros(BATCH) for name in gone}
    else:
        labels |= {name: torch.full((BATCH,), torch.nan) for name in gone}
    found = evidence_losses(TASKS, evidence, labels, weights, spec=SPEC, epoch=9)
    names = [task.name for task in TOLD]
    assert dict(zip(names, found.present.tolist(), strict=True)) == {
        name: name not in gone for name in names
    }
    found.values.sum().backward()
    for name, value in zip(names, found.values, strict=True):
        pull = evidence[name].grad
        assert pull.isfinite().all()
        unknown = labels[name].isnan()
        assert not pull[unknown].any()
        assert pull[~unknown].any() == (name not in gone)
        assert (value == 0) == (name in gone)


def test_what_is_missing_is_named() -> None:
    evidence, labels = drawn()
    ask = partial(evidence_losses, TASKS, spec=SPEC, epoch=0)
    lost = {k: v for k, v in evidence.items() if k not in ("click", "pair")}
    with pytest.raises(ValueError, match=r"need evidence. None: \['click', 'pair'\]"):
        ask(lost, labels)
    with pytest.raises(ValueError, match=r"need labels. None: \['stage'"):
        ask(evidence, {"brand": labels["brand"], "spend": labels["spend"]})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("much", [1e-7, 1.0, 1e6])
def test_evidence_of_any_size_has_a_finite_pull(
    much: float, dtype: torch.dtype
) -> None:
    """In float32 too it is near what it is with fifty digits."""
    evidence, labels = drawn()
    for task in TOLD:
        with torch.no_grad():
            own = evidence[task.name] * much
            own = own + torch.tensor([0.0, 0, 1, 0]) if own.shape[1] == 4 else own + 1
        evidence[task.name] = own.to(dtype).requires_grad_()
    for risk in ("squared", "digamma", "likelihood"):
        spec = EvidentialSpec(kl=1.0, risk=risk, tilde="full")
        found = evidence_losses(TASKS, evidence, labels, spec=spec, epoch=10)
        assert found.values.dtype == dtype
        assert found.values.isfinite().all()
        pulls = torch.autograd.grad(found.values.sum(), list(evidence.values()))
        assert all(pull.isfinite().all() for pull in pulls)
    known = ~labels["stage"].isnan()
    rows = evidence["stage"][known].double().tolist()
    with mpmath.workdps(50):
        divergence = sum(map(kl_by_hand, rows)) / len(rows)
    places = labels["stage"][known].int().tolist()
    pairs = zip(rows, places, strict=True)
    risks = sum(risk_by_hand(e, place, "likelihood") for e, place in pairs) / len(rows)
    assert found.values[0].item() == pytest.approx(divergence + risks, rel=1e-6)
