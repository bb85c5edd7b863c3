"""Tasks, losses and affinities to transfer between, and weights made by loops."""

import math

import torch
from torch import nn

from ple_study.data.journey.tasks import LABELS
from ple_study.objective.losses import TaskLosses
from ple_study.schema import TaskSpec

THREAD = [label.spec for label in LABELS]
PLACE = {task.name: place for place, task in enumerate(THREAD)}
SAME = torch.tensor([[a.group == b.group for b in THREAD] for a in THREAD])
OWN = torch.eye(len(THREAD), dtype=torch.bool)
EVERYONE = torch.ones(len(THREAD), dtype=torch.bool)
GROUPS, WEIGHTS = ("value", "value", "lifecycle", "other"), (0.8, 1.5, 1.0, 2.0)
TASKS = [
    TaskSpec(name=f"task{i}", group=group, weight=weight)
    for i, (group, weight) in enumerate(zip(GROUPS, WEIGHTS, strict=True))
]
DIM = 7


def by_loops(mode, scores, blocked, present):
    """The weights as the thread's text states them, cell by cell."""
    size = len(scores)
    weights = torch.zeros(size, size, dtype=torch.float64)
    for i in range(size):
        parts = []
        for j in range(size):
            score = float(scores[i, j])
            if mode == "source":
                parts.append(math.exp(0.0 if blocked[i, j] else score))
            else:
                shut = blocked[i, j] or not present[j]
                parts.append(0.0 if shut else math.exp(score))
        for j in range(size):
            if present[i] and present[j] and sum(parts):
                weights[i, j] = parts[j] / sum(parts)
    return weights


def example():
    """Affinities 0.4 inside groups, 0.05 across, and ctr in conflict with churn."""
    affinity = torch.full((16, 16), 0.05, dtype=torch.float64)
    affinity = affinity.masked_fill(SAME, 0.4).masked_fill(OWN, 1.0)
    ctr, churn = PLACE["ctr"], PLACE["churn"]
    affinity[ctr, churn] = affinity[churn, ctr] = -0.6
    return affinity


def directions(tasks=4, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(tasks, DIM, generator=draw, dtype=torch.float64)


def step(weighting, values=(2.0, 3.0, 5.0, 1.0), seed=0, absent=()):
    """The terms of losses whose gradients in one shared vector are ``directions``."""
    shared = nn.Parameter(torch.zeros(DIM, dtype=torch.float64))
    present = torch.tensor([place not in absent for place in range(len(values))])
    loss = directions(len(values), seed) @ shared + torch.tensor(values).double()
    return weighting.terms(TaskLosses(loss * present, present), [shared])
