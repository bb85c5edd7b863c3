"""Regression tasks whose truth is planted, so that one dial sets how alike they are.

The generator of MMoE (Ma et al., KDD 2018, section 3): x has standard normal elements,
and the label of task k is y = w_k.x + sum_i sin(alpha_i w_k.x + beta_i) + noise. Every
task has the same sines; what tasks share is the angle between their weights. The paper
leaves the sines open: here there are five, alpha and beta standard normal.

The weights do not depend on the rows, nor the rows on the weights: studies of one seed
and size have the same x, sines and noise, whatever their correlation.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ple_study.batch import Batch, Rows
from ple_study.data.loader import Study, random_split
from ple_study.schema import Feature, Schema, TaskSpec

SINES = 5


def regression_pair(
    *,
    num_rows: int = 10_000,
    dim: int = 100,
    correlation: float = 0.5,
    noise: float = 0.1,
    seed: int = 0,
) -> Study:
    """Two tasks whose weights (``pair_weights``) have the cosine ``correlation``.

    The correlation of the labels is not the same number, but grows with it. ``noise``
    is a standard deviation, 0.1 in the paper.
    """
    weights = pair_weights(dim=dim, correlation=correlation, seed=seed)
    return planted(weights, num_rows=num_rows, noise=noise, seed=seed)


def shared_and_private(
    *,
    num_tasks: int = 4,
    num_rows: int = 10_000,
    dim: int = 100,
    shared: float | tuple[float, ...] = 0.5,
    noise: float = 0.1,
    seed: int = 0,
) -> Study:
    """Any number of tasks, each with a part of a common signal and a part of its own.

    See ``shared_weights``. This is our own extension of the pair to the setting of PLE
    (Tang et al., RecSys 2020): more tasks than two, alike in part.
    """
    weights = shared_weights(num_tasks=num_tasks, dim=dim, shared=shared, seed=seed)
    return planted(weights, num_rows=num_rows, noise=noise, seed=seed)


def pair_weights(
    *, dim: int, correlation: float, scale: float = 1.0, seed: int = 0
) -> Float[Tensor, "2 {dim}"]:
    """w1 = c u1, w2 = c (rho u1 + sqrt(1 - rho^2) u2): u orthonormal, c ``scale``."""
    if not -1 <= correlation <= 1 or dim < 2:
        raise ValueError(
            "A pair needs a correlation in -1..1 and dim >= 2. Found correlation="
            f"{correlation} and dim={dim}."
        )
    rest = (1 - correlation**2) ** 0.5
    mix = torch.tensor([[1.0, 0.0], [correlation, rest]], dtype=torch.float64)
    return scale * mix @ _orthonormal(2, dim, seed)


def shared_weights(
    *, num_tasks: int, dim: int, shared: float | tuple[float, ...], seed: int = 0
) -> Float[Tensor, "{num_tasks} {dim}"]:
    """w_k = sqrt(a_k) u_0 + sqrt(1 - a_k) u_k, all u orthonormal.

    So a_k of task k's linear variance is common to all tasks, and the cosine of tasks j
    and k is sqrt(a_j a_k). ``shared`` gives a_k: one number for all tasks, or one each.
    """
    parts = shared if isinstance(shared, tuple) else (shared,) * num_tasks
    if len(parts) != num_tasks or not 2 <= num_tasks < dim:
        raise ValueError(
            "Weights need 2 tasks or more, dim > num_tasks and one share a task. Found "
            f"{num_tasks} tasks, dim={dim} and {len(parts)} shares."
        )
    if min(parts) < 0 or max(parts) > 1:
        raise ValueError(f"Shares must lie in 0..1. Found {parts}.")
    basis = _orthonormal(num_tasks + 1, dim, seed)
    common = torch.tensor(parts, dtype=torch.float64)[:, None]
    return common.sqrt() * basis[:1] + (1 - common).sqrt() * basis[1:]


def signal(
    x: Float[Tensor, "batch dim"], weights: Float[Tensor, "task dim"], seed: int = 0
) -> Float[Tensor, "batch task"]:
    """The labels without their noise: the best that any model can predict."""
    score = x.to(weights) @ weights.T
    alpha, beta = _normal(2, SINES, _stream(seed, 1))
    # w.x + sum_i sin(alpha_i w.x + beta_i)
    return score + torch.sin(score[..., None] * alpha + beta).sum(-1)


def planted(
    weights: Float[Tensor, "task dim"],
    *,
    num_rows: int = 10_000,
    noise: float = 0.1,
    seed: int = 0,
) -> Study:
    """A study of these weights, one task ``task_k`` a row, split at random."""
    num_tasks, dim = weights.shape
    x = _normal(num_rows, dim, _stream(seed, 2)).float()
    error = _normal(num_rows, num_tasks, _stream(seed, 3))
    label = (signal(x, weights, seed) + noise * error).float()
    names = [f"task_{k}" for k in range(num_tasks)]
    schema = Schema(
        features=tuple(Feature(name=f"x_{i}") for i in range(dim)),
        tasks=tuple(TaskSpec(name=name, kind="regression") for name in names),
    )
    nothing = torch.zeros(num_rows, 0, dtype=torch.int64)
    labels = dict(zip(names, label.unbind(1), strict=True))
    rows = Rows(Batch(numeric=x, categorical=nothing), labels)
    return Study(schema, rows, random_split(num_rows, seed=seed))


def _stream(seed: int, purpose: int) -> torch.Generator:
    """A generator of its own for each purpose: no draw moves another."""
    return torch.Generator().manual_seed(4 * seed + purpose)


def _orthonormal(num: int, dim: int, seed: int) -> Float[Tensor, "{num} {dim}"]:
    square = _normal(dim, num, _stream(seed, 0))
    basis: Tensor = torch.linalg.qr(square).Q
    return basis.T


def _normal(
    rows: int, columns: int, generator: torch.Generator
) -> Float[Tensor, "{rows} {columns}"]:
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)
