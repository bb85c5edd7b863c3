"""How near the tasks' gradients are to each other, and the transfer weights it gives.

Constants and formulas are those of the thread's adaptive task transfer.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ple_study.schema import TaskSpec

Pairs = Float[Tensor, "task task"]
Blocked = Bool[Tensor, "task task"]
Present = Bool[Tensor, " task"]

MEMORY = 0.9  # of the running mean
CONFLICT = -0.1  # a pair of tasks with a smaller affinity is in conflict
TEMPERATURE = 1.0
STRENGTHS = {"engagement": 0.8, "lifecycle": 0.7, "value": 0.6, "consumption": 0.7}
WITHIN, BETWEEN = 0.7, 0.3  # inside a group without a strength; across groups


def prior_matrix(tasks: Sequence[TaskSpec], within: Mapping[str, float]) -> Pairs:
    """P: whose losses each task is expected to profit from; every row sums to one.

    Before a row is divided by its sum, a pair of tasks of one group has the group's
    strength ``within``, or 0.7 where it names none, a pair across groups 0.3, and a
    task itself zero. A task that is alone has a row of zeros.
    """
    groups = [task.group for task in tasks]
    strengths = [
        [within.get(own, WITHIN) if own == other else BETWEEN for other in groups]
        for own in groups
    ]
    prior = torch.tensor(strengths).fill_diagonal_(0.0)
    total = prior.sum(1, keepdim=True)
    return prior / total.where(total > 0, 1.0)


def running_mean(affinity: Pairs, seen: Blocked, cosines: Pairs) -> Pairs:
    """0.9 A + 0.1 C within [-1, 1]; C for a pair not ``seen`` yet; A where C is NaN."""
    mean = MEMORY * affinity + (1 - MEMORY) * cosines
    mean = mean.where(seen, cosines).clamp(-1.0, 1.0)
    return mean.where(~cosines.isnan(), affinity)


def source_weights(scores: Pairs, blocked: Blocked, present: Present) -> Pairs:
    """w_i = softmax_j(R_ij / T), with R zero where blocked; absent tasks get no weight.

    Since exp(0) = 1, a blocked pair keeps a weight. A row does not sum to one any more
    once an absent task's weight is taken from it.
    """
    weights = torch.softmax(scores.masked_fill(blocked, 0.0) / TEMPERATURE, dim=1)
    return weights * present * present[:, None]


def masked_weights(scores: Pairs, blocked: Blocked, present: Present) -> Pairs:
    """w_i = softmax_j(R_ij / T), with R minus infinity where blocked or absent.

    A row sums to one; it is zero if all is blocked, and for an absent task.
    """
    closed = blocked | ~present | ~present[:, None]
    scores = scores.masked_fill(closed, -torch.inf)
    # A row that is closed is NaN here; the second mask clears it, and its gradient.
    return torch.softmax(scores / TEMPERATURE, dim=1).masked_fill(closed, 0.0)
