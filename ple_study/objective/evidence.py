"""What evidence says, and what it costs to learn (``ple_study.tasks.evidential``).

::

    opinion(task, output.evidence[task.name]).epistemic
    evidence_losses(tasks, output.evidence, labels, spec=EvidentialSpec(), epoch=3)

A class costs risk + a kl KL(Dir(alpha~) || Dir(1)), a regression NLL + a error R, with
a = min(1, epoch / anneal). The functions of a formula work on the last axis and in the
type that they are given; the others compute in float64.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ple_study.objective.losses import Labels, TaskLosses, mean_over_rows
from ple_study.schema import TaskSpec
from ple_study.tasks.evidential import (
    NLL,
    EvidentialSpec,
    Risk,
    Tilde,
    parameters_of,
    to_logits,
)

Evidence = Mapping[str, Float[Tensor, "batch _"]]
Alpha = Float[Tensor, "*rows k"]


class Opinion(NamedTuple):
    """An answer and how sure it is; entropies in nats, variances in the label's unit^2.

    answer: probabilities alpha / S, S = sum alpha, of a binary task those of label 1
    and of label 0; of a regression the value, ``[batch, 1]``.
    vacuity: K / S, one where there is no evidence; NaN for a regression.
    aleatoric: the noise that it expects, the mean entropy of the probabilities, or
    E[sigma^2] = beta / (alpha - 1).
    epistemic: what it does not know, the mutual information of class and probabilities,
    or Var[mu] = beta / (nu (alpha - 1)).

    Of nu and beta a likelihood knows beta (1 + nu) / nu alone: a regression's two parts
    are scores to rank by, not amounts. Nothing makes evidence small far from the data.
    """

    answer: Float[Tensor, "batch _"]
    vacuity: Float[Tensor, " batch"]
    aleatoric: Float[Tensor, " batch"]
    epistemic: Float[Tensor, " batch"]


def opinion(task: TaskSpec, evidence: Float[Tensor, "batch k"]) -> Opinion:
    """What a task's evidence says.

    With p = alpha / S and psi the digamma function, a Dirichlet's mean entropy is
    psi(S + 1) - sum_k p_k psi(alpha_k + 1), and the mutual information what the entropy
    of p has above it.
    """
    e = evidence.double()
    if task.kind == "regression":
        _, nu, alpha, beta = e.unbind(1)
        noise = beta / (alpha - 1) * task.scale[1] ** 2
        found = to_logits(task, e), torch.full_like(nu, torch.nan), noise, noise / nu
    else:
        total = e.sum(1)
        p = e / total[:, None]
        mean = torch.digamma(total + 1) - (p * torch.digamma(e + 1)).sum(1)
        found = p, e.shape[1] / total, mean, torch.special.entr(p).sum(1) - mean
    return Opinion(*(part.to(evidence.dtype) for part in found))


def annealing(epoch: int, anneal: int) -> float:
    """a = min(1, epoch / anneal), epochs counted from zero; one where anneal is 0."""
    return min(1.0, epoch / anneal) if anneal else 1.0


def dirichlet_kl(alpha: Alpha) -> Float[Tensor, "*rows"]:
    """KL(Dir(alpha) || Dir(1)): how far evidence is from none.

    log Gamma(S) - log Gamma(K) - sum_k log Gamma(alpha_k)
    + sum_k (alpha_k - 1) (psi(alpha_k) - psi(S)), S = sum_k alpha_k.
    """
    total = alpha.sum(-1)
    norm = torch.lgamma(total) - torch.lgamma(alpha).sum(-1)
    drift = torch.digamma(alpha) - torch.digamma(total)[..., None]
    return norm - math.lgamma(alpha.shape[-1]) + ((alpha - 1) * drift).sum(-1)


def dirichlet_risk(
    alpha: Alpha, y: Alpha, risk: Risk = "squared"
) -> Float[Tensor, "*rows"]:
    """What probabilities p ~ Dir(alpha) cost of a label y, given as zeros and a one.

    "squared" (Sensoy et al. 2018, equation 5): E sum_k (y_k - p_k)^2
    = sum_k (y_k - m_k)^2 + m_k (1 - m_k) / (S + 1), m = alpha / S;
    "digamma" (equation 4): E -log p_y = psi(S) - psi(alpha_y);
    "likelihood" (equation 3): -log E p_y = log S - log alpha_y.
    """
    total = alpha.sum(-1, keepdim=True)
    if risk == "squared":
        mean = alpha / total
        return ((y - mean).square() + mean * (1 - mean) / (total + 1)).sum(-1)
    of = {"digamma": torch.digamma, "likelihood": torch.log}[risk]
    return (y * (of(total) - of(alpha))).sum(-1)


def penalised(alpha: Alpha, y: Alpha, tilde: Tilde, a: float = 1.0) -> Alpha:
    """alpha~, the evidence whose divergence from none is a cost.

    "sensoy": y + (1 - y) alpha, that of the wrong classes; "full": alpha, the right
    class's too; "source": y (alpha - 1) (1 - a) + 1, the right class's alone.
    """
    if tilde == "source":
        return y * (alpha - 1) * (1 - a) + 1
    return {"sensoy": y + (1 - y) * alpha, "full": alpha}[tilde]


def nig_nll(
    y: Tensor, mu: Tensor, nu: Tensor, alpha: Tensor, beta: Tensor, nll: NLL = "amini"
) -> Tensor:
    """-log p(y) of a normal-inverse-gamma (Amini et al. 2020, equation 8).

    With O = 2 beta (1 + nu): 1/2 log(pi / nu) - alpha log O
    + (alpha + 1/2) log(nu (y - mu)^2 + O) + log Gamma(alpha) - log Gamma(alpha + 1/2),
    a Student-t of 2 alpha degrees of freedom, location mu and scale^2
    beta (1 + nu) / (nu alpha). "source" turns the signs of the second and third term:
    the farther y, the less it costs.
    """
    sign = {"amini": 1, "source": -1}[nll]
    omega = 2 * beta * (1 + nu)
    far = (alpha + 0.5) * torch.log(nu * (y - mu).square() + omega)
    norm = torch.lgamma(alpha) - torch.lgamma(alpha + 0.5)
    return (math.pi / nu).log() / 2 + sign * (far - alpha * omega.log()) + norm


def nig_error(y: Tensor, mu: Tensor, nu: Tensor, alpha: Tensor) -> Tensor:
    """R = (2 nu + alpha) times the absolute error (Amini et al. 2020, equation 9)."""
    return (y - mu).abs() * (2 * nu + alpha)


def evidence_losses(
    tasks: Sequence[TaskSpec],
    evidence: Evidence,
    labels: Labels,
    weights: Labels | None = None,
    *,
    spec: EvidentialSpec,
    epoch: int,
    ranks: bool = False,
) -> TaskLosses:
    """Each task's mean over the rows that observed it, as in ``task_losses``.

    In the tasks' order, without those that are contrastive. A regression's label counts
    in deviations. In float64 (on MPS, which has none, float32), since logarithms of the
    gamma function cancel where evidence is large.

    Raises ValueError when a task that should has no evidence, or no labels.
    """
    told, weights = [task for task in tasks if parameters_of(task)], weights or {}
    for what, given in (("evidence", evidence), ("labels", labels)):
        if lost := [task.name for task in told if task.name not in given]:
            raise ValueError(f"Tasks with evidential heads need {what}. None: {lost}.")
    groups: dict[tuple[str, int], list[TaskSpec]] = {}
    for task in told:
        groups.setdefault((task.kind, parameters_of(task)), []).append(task)
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for (kind, _), members in groups.items():
        e = torch.stack([evidence[t.name] for t in members])
        wide = torch.float32 if e.device.type == "mps" else torch.float64
        # of what is no regression, the scale is 0 and 1
        own = [(labels[t.name].to(wide) - t.scale[0]) / t.scale[1] for t in members]
        y = torch.stack(own)
        ones = torch.ones_like(y[0])
        weight = torch.stack([weights.get(t.name, ones).to(wide) for t in members])
        weight = weight * ~y.isnan()
        rows = _row_costs(kind, e.to(wide), y.nan_to_num(0.0), spec, epoch)
        mean, known = mean_over_rows((weight * rows).sum(1), weight.sum(1), ranks)
        pairs = zip(mean.to(e.dtype).unbind(), known.unbind(), strict=True)
        found |= zip([t.name for t in members], pairs, strict=True)
    values, present = zip(*(found[task.name] for task in told), strict=True)
    return TaskLosses(torch.stack(values), torch.stack(present))


def _row_costs(
    kind: str, e: Tensor, label: Tensor, spec: EvidentialSpec, epoch: int
) -> Float[Tensor, "task batch"]:
    a = annealing(epoch, spec.anneal)
    if kind == "regression":
        mu, nu, alpha, beta = e.unbind(-1)
        likely = nig_nll(label, mu, nu, alpha, beta, spec.nll)
        return likely + a * spec.error * nig_error(label, mu, nu, alpha)
    place = 1 - label if kind == "binary" else label  # whose first class is label 1
    y = F.one_hot(place.long(), e.shape[-1]).to(e.dtype)
    wrong = dirichlet_kl(penalised(e, y, spec.tilde, a))
    return dirichlet_risk(e, y, spec.risk) + a * spec.kl * wrong
