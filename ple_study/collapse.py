"""Do the gates use their experts, and do the experts say different things?

Gates are read per customer and per task; entropies are in nats. Slots are a task's own
numbering of the experts that it hears, so what compares tasks first lays the weights
out by expert (``by_expert``).
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Weights = Float[Tensor, "batch task expert"]
PerTask = Float[Tensor, " task"]
NAN = float("nan")


def by_expert(
    weights: Float[Tensor, "batch task slot"], slots: Sequence[Sequence[int]]
) -> Weights:
    """Gate weights laid out by expert; zero for an expert that a task does not hear.

    ``slots[k]`` names the experts of task k's slots by their place; slots beyond them
    are padding and left out. Raises ValueError when a task has more experts than slots,
    and when the tasks' counts disagree.
    """
    _, tasks, width = weights.shape
    if len(slots) != tasks or max(map(len, slots)) > width:
        raise ValueError(
            f"Slots name at most {width} experts for each of {tasks} tasks. Found "
            f"counts {[len(places) for places in slots]}."
        )
    experts = 1 + max(place for places in slots for place in places)
    laid = weights.new_zeros(len(weights), tasks, experts)
    for task, places in enumerate(slots):
        laid[:, task, list(places)] = weights[:, task, : len(places)]
    return laid


def entropy(shares: Float[Tensor, "*axes slot"]) -> Float[Tensor, "*axes"]:
    """H(p) = -sum_i p_i log p_i; an expert of weight zero adds nothing."""
    return torch.special.entr(shares).sum(-1)


def sample_entropy(weights: Weights) -> PerTask:
    """mean_b H(w_b): how sharply single customers are routed."""
    return entropy(weights).mean(0)


def mean_entropy(weights: Weights) -> PerTask:
    """H(mean_b w_b): how evenly the experts are used over all customers."""
    return entropy(weights.mean(0))


def routing_information(weights: Weights) -> PerTask:
    """H(mean_b w_b) - mean_b H(w_b) >= 0: how much the routing depends on the input."""
    return mean_entropy(weights) - sample_entropy(weights)


def entropy_ratio(entropies: PerTask, counts: Sequence[int]) -> PerTask:
    """H / log E, in [0, 1], with the count of experts each task hears; NaN for one."""
    most = entropies.new_tensor([math.log(c) if c > 1 else NAN for c in counts])
    return entropies / most


def effective_experts(entropies: PerTask) -> PerTask:
    """exp(H): as many experts, used evenly, would have this entropy."""
    return entropies.exp()


def load(weights: Weights) -> Float[Tensor, " expert"]:
    """mean_bk w_bk: each expert's share of all routing; the shares sum to one."""
    return weights.mean((0, 1))


def load_variation(loads: Float[Tensor, " expert"]) -> float:
    """Standard deviation of the loads over their mean; zero when all are equal."""
    return (loads.std(correction=0) / loads.mean()).item()


def task_separation(weights: Weights) -> float:
    """Mean Jensen-Shannon distance between the mean gates of two tasks, in [0, 1].

    sqrt(H((p + q) / 2) - (H(p) + H(q)) / 2), entropies in bits: 0 when all tasks route
    alike, 1 when no two share an expert. NaN for a single task.
    """
    gates = weights.mean(0)
    first, second = torch.triu_indices(len(gates), len(gates), 1).to(gates.device)
    apart = (entropy(gates[first]) + entropy(gates[second])) / 2
    mixed = entropy((gates[first] + gates[second]) / 2)
    # Rounding may leave two equal gates a hair below zero.
    return ((mixed - apart).clamp(min=0) / math.log(2)).sqrt().mean().item()


def private_share(
    weights: Float[Tensor, "batch task slot"], private: Sequence[int]
) -> PerTask:
    """mean_b of the weight on a task's own experts, its first ``private[k]`` slots."""
    own = [weights[:, k, :count].sum(-1).mean() for k, count in enumerate(private)]
    return torch.stack(own)


def gradient_shares(
    total: Float[Tensor, ""], experts: Sequence[Float[Tensor, "batch _"]]
) -> Float[Tensor, " expert"]:
    """``|dL / dh_i|`` of each expert's answers h_i, over the sum of all.

    ``total`` is a sum of losses of an ``Output`` whose ``experts`` these are.
    """
    slopes = torch.autograd.grad(
        total, list(experts), retain_graph=True, materialize_grads=True
    )
    sizes = torch.stack([slope.norm() for slope in slopes])
    return sizes / sizes.sum()


def starved(shares: Float[Tensor, " expert"]) -> Bool[Tensor, " expert"]:
    """Whose share of the gradient is below a hundredth of an even one."""
    return shares < 0.01 / len(shares)


def dead_experts(
    experts: Sequence[Float[Tensor, "batch _"]], floor: float = 1e-3
) -> Bool[Tensor, " expert"]:
    """Whose output hardly varies: its deviation over the batch is below ``floor``.

    The deviation is the mean over the expert's coordinates.
    """
    return torch.stack([x.std(0, correction=0).mean() for x in experts]) < floor


def cka(
    experts: Sequence[Float[Tensor, "batch _"]],
) -> Float[Tensor, "expert expert"]:
    """Linear centred kernel alignment of every pair of experts, all in one product.

    ``|X'Y|^2 / (|X'X| |Y'Y|)`` with columns centred (Kornblith et al., ICML 2019): 1
    for outputs equal up to rotation and scale, near 0 for unrelated ones; NaN for an
    expert that is constant.
    """
    centred = torch.cat([_centred(x) for x in experts], dim=1)
    widths = [x.shape[1] for x in experts]
    owner = torch.arange(len(widths)).repeat_interleave(torch.tensor(widths))
    member = torch.eye(len(widths)).double()[owner].to(centred)
    shared = member.T @ (centred.T @ centred).square() @ member
    size = shared.diagonal().sqrt()
    return shared / torch.outer(size, size)


def _centred(x: Float[Tensor, "batch _"]) -> Float[Tensor, "batch _"]:
    """In double precision; a column that does not vary is zero, and no rounding."""
    x = x.double()
    centred = x - x.mean(0)
    return centred * (centred.norm(dim=0) > 1e-9 * x.norm(dim=0))


def canonical_correlations(
    x: Float[Tensor, "batch _"], y: Float[Tensor, "batch _"]
) -> Float[Tensor, " pair"]:
    """Correlations of the best matched directions of two experts, largest first.

    The singular values of U_x' U_y, orthonormal bases of the centred outputs;
    directions that do not vary are left out.
    """
    bases = []
    for part in (x, y):
        u, s, _ = torch.linalg.svd(_centred(part), full_matrices=False)
        kept = s > s.max() * max(part.shape) * torch.finfo(part.dtype).eps
        bases.append(u[:, kept])
    return torch.linalg.svdvals(bases[0].T @ bases[1]).clamp(max=1)


def correlations(
    experts: Sequence[Float[Tensor, "batch _"]], first: int = 10
) -> Float[Tensor, "expert expert"]:
    """Mean of the ``first`` canonical correlations of every pair; ones with itself.

    Read against chance: of few customers even unrelated experts correlate somewhere.
    """
    found = torch.eye(len(experts), dtype=torch.float64)
    for one, other in combinations(range(len(experts)), 2):
        top = canonical_correlations(experts[one], experts[other])[:first].mean()
        found[one, other] = found[other, one] = top
    return found


def redundancy_level(correlation: float) -> str:
    """The sources' words for a mean canonical correlation: low, mid, high."""
    if math.isnan(correlation):
        raise ValueError("A level needs a correlation. Found NaN: no expert varies.")
    return "high" if correlation > 0.7 else "mid" if correlation > 0.4 else "low"


def redundancy(pairs: Float[Tensor, "expert expert"]) -> float:
    """Mean over the pairs of different experts; NaN when there is no pair."""
    first, second = torch.triu_indices(len(pairs), len(pairs), 1)
    return pairs[first, second].nanmean().item()


class Collapse(NamedTuple):
    """The panel: gates one by one, the load they make, and the experts' outputs."""

    sample_entropy: PerTask
    mean_entropy: PerTask
    information: PerTask
    ratio: PerTask
    effective: PerTask
    load: Float[Tensor, " expert"]
    load_variation: float
    separation: float
    dead: Bool[Tensor, " expert"]
    redundancy: float


@torch.no_grad()
def panel(
    weights: Float[Tensor, "batch task slot"],
    experts: Sequence[Float[Tensor, "batch _"]],
    slots: Sequence[Sequence[int]],
) -> Collapse:
    """All readings of one level; ``slots`` as in ``by_expert``.

    The ratio and the effective number are those of the mean gate.
    """
    laid = by_expert(weights, slots)
    used = mean_entropy(laid)
    return Collapse(
        sample_entropy=sample_entropy(laid),
        mean_entropy=used,
        information=routing_information(laid),
        ratio=entropy_ratio(used, [len(places) for places in slots]),
        effective=effective_experts(used),
        load=load(laid),
        load_variation=load_variation(load(laid)),
        separation=task_separation(laid),
        dead=dead_experts(experts),
        redundancy=redundancy(cka(experts)),
    )
