"""A search for the DAG of a linear structural equation model: named columns, effects.

That an edge found here is a cause is a hypothesis. The search assumes linear effects,
no cause outside the columns, and noise of one size in all of them: on columns that were
standardised it may do worse than no edge at all (``dag.varsortability``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool
from torch import Tensor

from ple_study.experts.causal.dag import Effects, prune
from ple_study.experts.causal.sem import LinearSEM, Rows
from ple_study.names import unique

Array = npt.NDArray[np.floating]
DOMAINS = (1.0, 0.9, 0.8, 0.7, 0.6)  # s for mu = 1, 0.1, 0.01, ...
CHECK_EVERY = 100


@dataclass(frozen=True, kw_only=True)
class Dagma:
    """Settings of a search for the DAG of a linear SEM.

    It minimises ``mu (|X - XW|^2 / 2n + sparsity |W|_1) - log det(sI - W o W)``, mu
    falling to zero, by Adam from W = 0, so that W moves from a sparse regression to the
    nearest DAG. Bello et al. (2022), "DAGMA: learning DAGs via M-matrices and a
    log-determinant acyclicity characterization", algorithm 1. Effects below
    ``threshold`` are then dropped, weaker ones still if a cycle is left, and those that
    stay are fitted by least squares.
    """

    sparsity: float = 0.03
    threshold: float = 0.3
    iterations: int = 3000  # for each mu; twice as many for the last
    lr: float = 3e-3
    tolerance: float = 1e-6  # of the objective's relative change in CHECK_EVERY steps

    def __post_init__(self) -> None:
        numbers = self.sparsity, self.threshold, self.lr, self.tolerance
        least = min(numbers) >= 0 and min(self.iterations, self.lr) > 0
        if not (all(map(math.isfinite, numbers)) and least):
            raise ValueError(
                "sparsity, threshold and tolerance must be 0 or more, iterations and "
                f"lr above 0, all finite. Found {self}."
            )

    def fit(self, rows: Rows, names: Sequence[str]) -> LinearSEM:
        """Learn edges and effects.

        Raises ValueError for names that are not one a column and unique, a value that
        is not finite, a constant column, and fewer rows than columns.
        """
        check(rows, names)
        centred = rows.double() - rows.double().mean(0)
        covariance = centred.mT @ centred / len(rows)
        weights: Array = np.zeros(covariance.shape)
        for stage, s in enumerate(DOMAINS):
            steps = self.iterations * (2 if s == DOMAINS[-1] else 1)
            weights = descend(self, weights, covariance.numpy(), 0.1**stage, s, steps)
        kept = prune(torch.from_numpy(weights), self.threshold)
        return LinearSEM(tuple(names), least_squares(covariance, kept != 0))


def descend(
    how: Dagma, weights: Array, covariance: Array, mu: float, s: float, steps: int
) -> Array:
    """Adam on the objective at this mu; a step that leaves the domain is halved."""
    one = np.eye(len(weights))
    first, second, before, lr = 0.0 * one, 0.0 * one, math.inf, how.lr
    while (inverse := inverse_within(weights, s)) is None:
        s += 0.1  # where the last stage ended is not yet in this one's domain
    for step in range(1, steps + 1):
        fit = covariance @ (weights - one)
        slope = mu * (fit + how.sparsity * np.sign(weights))
        slope = (slope + 2 * weights * inverse.T) * (1 - one)  # no self-loops
        first = 0.99 * first + 0.01 * slope
        second = 0.999 * second + 0.001 * slope**2
        scale = np.sqrt(second / (1 - 0.999**step)) + 1e-8
        move = first / (1 - 0.99**step) / scale
        while (found := inverse_within(weights - lr * move, s)) is None:
            lr /= 2
        weights, inverse = weights - lr * move, found
        if step % CHECK_EVERY == 0:
            score = ((weights - one) * fit).sum() / 2
            score += how.sparsity * np.abs(weights).sum()
            value = mu * score + np.linalg.slogdet(s * inverse)[1]
            if abs(before - value) <= how.tolerance * abs(value):
                break
            before = value
    return weights


def inverse_within(weights: Array, s: float) -> Array | None:
    """(sI - W o W)^-1; None where the spectral radius of W o W is not below s."""
    try:
        inverse = np.linalg.inv(s * np.eye(len(weights)) - weights**2)
    except np.linalg.LinAlgError:
        return None
    # An entry that is zero may be a little less by rounding.
    return inverse if inverse.min() >= -1e-12 * inverse.max() else None


def check(rows: Rows, names: Sequence[str]) -> None:
    """What can be learned from."""
    samples, variables = rows.shape
    unique("Names of variables", names)
    if len(names) != variables:
        raise ValueError(
            f"{variables} columns need a name each. Found {len(names)} names."
        )
    if samples < variables:
        raise ValueError(
            f"{variables} columns need as many rows or more. Found {samples}."
        )
    for name, column in zip(names, rows.unbind(1), strict=True):
        if not column.isfinite().all():
            raise ValueError(f"Column {name!r} must be finite. Found NaN or infinity.")
        if column.min() == column.max():
            raise ValueError(
                f"Column {name!r} must vary. Found {float(column[0])} alone."
            )


def least_squares(
    covariance: Effects, graph: Bool[Tensor, "variable variable"]
) -> Effects:
    """Each variable regressed on those with an edge to it."""
    weights = torch.zeros_like(covariance)
    for effect, caused in enumerate(graph.unbind(1)):
        causes = caused.nonzero().squeeze(1)
        if len(causes):
            among = covariance[causes][:, causes]
            weights[causes, effect] = torch.linalg.solve(
                among, covariance[causes, effect]
            )
    return weights
