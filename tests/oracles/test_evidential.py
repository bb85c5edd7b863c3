"""Evidence against torch.distributions, edl-pytorch 0.0.2 and random draws."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Dirichlet, StudentT, kl_divergence
from torch.nn import functional as F

from ple_study.objective.evidence import (
    dirichlet_kl,
    dirichlet_risk,
    evidence_losses,
    nig_error,
    nig_nll,
    opinion,
    penalised,
)
from ple_study.schema import TaskSpec
from ple_study.tasks.evidential import TINY, EvidentialHeads, EvidentialSpec
from tests.sizes import BATCH, DIMS

HINT = "the peer is not installed: pip install edl-pytorch==0.0.2"
peer = pytest.importorskip("edl_pytorch", reason=HINT, exc_type=ImportError)
terms = pytest.importorskip("edl_pytorch.loss", reason=HINT, exc_type=ImportError)
SCALES = (0.01, 1.0, 300.0)
ROWS = 50
scales = pytest.mark.parametrize("scale", SCALES)
kinds = pytest.mark.parametrize("classes", [2, 3, 7])


def close(found: Tensor, wanted: Tensor, within: float = 1e-12) -> None:
    torch.testing.assert_close(found, wanted, atol=within, rtol=within)


def classes_of(classes: int, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Alpha, labels, and the labels as zeros and a one."""
    draw = torch.Generator().manual_seed(classes)
    evidence = torch.rand(ROWS, classes, generator=draw, dtype=torch.float64)
    label = torch.randint(classes, (ROWS,), generator=draw)
    return 1 + scale * evidence, label, F.one_hot(label, classes).double()


def values(scale: float) -> tuple[Tensor, ...]:
    """Labels, and mu, nu, alpha, beta."""
    draw = torch.Generator().manual_seed(3)
    y, mu = torch.randn(2, ROWS, generator=draw, dtype=torch.float64) * 3
    rest = torch.rand(3, ROWS, generator=draw, dtype=torch.float64) * scale + 0.01
    return y, mu, rest[0], rest[1] + 1, rest[2]


@scales
@kinds
def test_the_divergence_is_that_of_torch(classes: int, scale: float) -> None:
    alpha, _, y = classes_of(classes, scale)
    even = Dirichlet(torch.ones_like(alpha))
    for own in (alpha, penalised(alpha, y, "sensoy")):
        wanted = kl_divergence(Dirichlet(own), even)
        close(dirichlet_kl(own), wanted, 1e-12 * max(1.0, scale))


@scales
def test_the_likelihood_is_a_students(scale: float) -> None:
    y, mu, nu, alpha, beta = values(scale)
    spread = (beta * (1 + nu) / (nu * alpha)).sqrt()
    wanted = -StudentT(2 * alpha, mu, spread).log_prob(y)
    close(nig_nll(y, mu, nu, alpha, beta), wanted, 1e-12 * max(1.0, scale))


@scales
@kinds
def test_classes_cost_what_they_cost_the_peer(classes: int, scale: float) -> None:
    alpha, label, y = classes_of(classes, scale)
    close(dirichlet_risk(alpha, y).mean(), terms.dirichlet_mse(alpha, y))
    wrong = dirichlet_kl(penalised(alpha, y, "sensoy")).mean()
    close(wrong, terms.dirichlet_reg(alpha, y), 1e-11)
    task = TaskSpec(name="stage", kind="multiclass", classes=classes)
    spec = EvidentialSpec(kl=0.4, anneal=10)
    found = evidence_losses(
        [task], {"stage": alpha}, {"stage": label.double()}, spec=spec, epoch=5
    )
    wanted = peer.evidential_classification(alpha, label, lamb=0.2)
    close(found.values, wanted[None], 1e-11)


@scales
def test_values_cost_what_they_cost_the_peer(scale: float) -> None:
    y, *own = values(scale)
    close(nig_nll(y, *own).mean(), terms.nig_nll(*own, y), 1e-11)
    close(nig_error(y, *own[:3]).mean(), terms.nig_reg(*own, y))
    task = TaskSpec(name="spend", kind="regression", scale=(20.0, 4.0))
    spec = EvidentialSpec(error=0.5, anneal=10)
    evidence, labels = {"spend": torch.stack(own, 1)}, {"spend": 20 + 4 * y}
    found = evidence_losses([task], evidence, labels, spec=spec, epoch=4)
    wanted = peer.evidential_regression(own, y, lamb=0.2)
    close(found.values, wanted[None], 1e-11)


def test_heads_with_the_peers_weights_answer_as_it_does() -> None:
    tasks = (
        TaskSpec(name="spend", kind="regression"),
        TaskSpec(name="stage", kind="multiclass", classes=3),
    )
    torch.manual_seed(0)
    one = peer.NormalInvGamma(DIMS[0], 1).double()
    other = peer.Dirichlet(DIMS[0], 3).double()
    heads = EvidentialHeads(tasks, DIMS[0]).double()
    with torch.no_grad():
        for own, theirs in zip(heads.maps, (other, one), strict=True):
            own.weight[0] = theirs.dense.weight
            own.bias[0] = theirs.dense.bias
    inputs = [torch.randn(BATCH, DIMS[0]).double() for _ in tasks]
    found = heads(inputs)
    close(found["stage"], other(inputs[1]))
    floor = torch.tensor([0.0, TINY, TINY, TINY]).double()
    close(found["spend"], torch.cat(one(inputs[0]), dim=1) + floor, 1e-13)


def test_risks_and_entropies_are_means_over_draws() -> None:
    alpha = torch.tensor([4.0, 2.5, 1.2], dtype=torch.float64)
    y = torch.tensor([0.0, 1, 0], dtype=torch.float64)
    torch.manual_seed(0)
    p = Dirichlet(alpha).sample((200_000,))
    entropy = torch.special.entr(p).sum(1)
    task = TaskSpec(name="stage", kind="multiclass", classes=3)
    said = opinion(task, alpha[None])
    whole = torch.special.entr(p.mean(0)).sum()
    for found, wanted in (
        (dirichlet_risk(alpha, y, "squared"), (y - p).square().sum(1).mean()),
        (dirichlet_risk(alpha, y, "digamma"), -p[:, 1].log().mean()),
        (dirichlet_risk(alpha, y, "likelihood"), -p[:, 1].mean().log()),
        (said.aleatoric[0], entropy.mean()),
        (said.epistemic[0], whole - entropy.mean()),
    ):
        assert abs(found - wanted) < 0.004
