"""What evidence says, against integrals and fifty digits."""

import math

import mpmath
import torch
from mpmath import digamma as psi
from scipy.integrate import quad

from ple_study.objective.evidence import opinion
from ple_study.schema import TaskSpec
from ple_study.tasks.evidential import EvidentialHeads
from tests.objective.test_evidence import close, tensor
from tests.sizes import DIMS


def test_an_opinion_of_classes_is_its_integrals() -> None:
    """A Beta, where both entropies are one integral over the probability."""
    a, b = 3.2, 1.7
    task = TaskSpec(name="click")
    found = opinion(task, tensor([a, b], [1.0, 1.0]))

    def entropy(p: float) -> float:
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    def density(p: float) -> float:
        return p ** (a - 1) * (1 - p) ** (b - 1) / float(mpmath.beta(a, b))

    mean, _ = quad(lambda p: entropy(p) * density(p), 0, 1)
    close(found.answer, [[a / (a + b), b / (a + b)], [0.5, 0.5]])
    close(found.vacuity, [2 / (a + b), 1.0])
    close(found.aleatoric, [mean, 0.5], 1e-9)
    doubt = [entropy(a / (a + b)) - mean, math.log(2) - 0.5]
    close(found.epistemic, doubt, 1e-9)


def test_an_opinion_of_many_classes() -> None:
    task = TaskSpec(name="stage", kind="multiclass", classes=3)
    alpha = [[8.0, 3, 1], [1, 1, 1], [1e6, 1, 1], [1e6, 1e6, 1e6]]
    found = opinion(task, tensor(*alpha))
    for row, own in enumerate(alpha):
        total = sum(own)
        with mpmath.workdps(50):
            mean = sum(a / total * (psi(total + 1) - psi(a + 1)) for a in own)
            whole = -sum(a / total * mpmath.log(a / total) for a in own)
        close(found.answer[row], [a / total for a in own])
        close(found.vacuity[row], 3 / total)
        close(found.aleatoric[row], float(mean))
        close(found.epistemic[row], float(whole - mean))
    assert (found.epistemic > 0).all()
    half = opinion(task, tensor(*alpha).float())
    torch.testing.assert_close(
        half.epistemic, found.epistemic.float(), rtol=1e-5, atol=1e-9
    )


def test_an_opinion_of_a_value_is_in_the_labels_unit() -> None:
    task = TaskSpec(name="spend", kind="regression", scale=(40.0, 7.0))
    found = opinion(task, tensor([0.5, 2.0, 3.0, 1.5], [-1.0, 0.5, 1.5, 2.0]))
    close(found.answer, [[43.5], [33.0]])
    close(found.aleatoric, [49 * 0.75, 49 * 4.0])
    close(found.epistemic, [49 * 0.375, 49 * 8.0])
    assert found.vacuity.isnan().all()


def test_far_from_all_data_evidence_is_never_small() -> None:
    """Claim 67: along a ray a linear head's evidence grows, and its doubt goes."""
    task = TaskSpec(name="stage", kind="multiclass", classes=3)
    torch.manual_seed(0)
    heads, x = EvidentialHeads([task], DIMS[0]).double(), torch.randn(40, DIMS[0])
    doubt = []
    for far in (1.0, 100.0, 1e5):
        evidence = heads([far * x.double()])["stage"]
        found = opinion(task, evidence)
        sure = evidence.amax(1) > 2  # some class has numbers above zero there
        doubt.append((found.vacuity[sure].max().item(), sure.float().mean().item()))
    assert doubt[0][0] > 0.4
    assert doubt[2][0] < 0.01
    assert doubt[2][1] > 0.8
