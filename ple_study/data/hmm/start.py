"""Where a hidden Markov model's states begin, and the order in which they end."""

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from ple_study.batch import Events
from ple_study.data.hmm.baum_welch import Parameters

ROWS_FOR_KMEANS = 50_000  # more rows move the centres by less than EM does


def kmeans_start(
    events: Events, num_states: int, variance_floor: float, seed: int
) -> Parameters:
    """Means and variances of k-means clusters, all moves equally likely.

    At most 50,000 steps, drawn by ``seed``, are clustered; channels should have one
    scale. Raises ValueError when there are fewer distinct steps than states.
    """
    values = events.values[events.mask].double()
    drawn = torch.Generator().manual_seed(seed)
    picked = torch.randperm(len(values), generator=drawn)[:ROWS_FOR_KMEANS]
    rows = values.cpu()[picked]
    distinct = len(torch.unique(rows, dim=0))
    if distinct < num_states:
        raise ValueError(
            f"num_states={num_states} needs as many distinct steps. Found {distinct}."
        )
    labels = KMeans(num_states, n_init=4, random_state=seed).fit_predict(rows.numpy())
    member = torch.nn.functional.one_hot(torch.from_numpy(labels).long(), num_states)
    weight = member.T.double() / member.sum(0)[:, None]
    mean = weight @ rows
    variance = (weight @ rows**2 - mean**2).clamp(min=variance_floor)
    even = torch.full((num_states,), 1 / num_states, dtype=torch.float64)
    start = Parameters(even, even.repeat(num_states, 1), mean, variance)
    return Parameters(*(part.to(values.device) for part in start))


def sort_states(parameters: Parameters, order_by: int | None) -> Parameters:
    """States by their mean in one channel, or by the sum of their means."""
    start, transition, mean, variance = parameters
    key = mean.sum(1) if order_by is None else mean[:, order_by]
    order = key.argsort(stable=True)
    moves = transition[order][:, order]
    return Parameters(start[order], moves, mean[order], variance[order])


def check_order(order_by: int | None, channels: int) -> None:
    """Raise ValueError unless ``order_by`` is None or the index of a channel."""
    if order_by is not None and not 0 <= order_by < channels:
        raise ValueError(
            f"order_by must be None or one of {channels} channels. Found {order_by}."
        )


def check_parameters(given: Parameters, num_states: int, channels: int) -> None:
    """Raise ValueError unless these are probabilities and proper Gaussians."""
    wide = (num_states, channels)
    expected = [(num_states,), (num_states, num_states), wide, wide]
    found = [tuple(part.shape) for part in given]
    if found != expected:
        raise ValueError(
            f"Initial start, transition, mean, variance must be {expected}. "
            f"Found {found}."
        )
    for name, rows in (("start", given.start), ("transition", given.transition)):
        if not _is_distribution(rows):
            raise ValueError(
                f"Initial {name} must be 0 or more and sum to one. "
                f"Found {rows.tolist()}."
            )
    if not (given.variance > 0).all() or not given.mean.isfinite().all():
        raise ValueError(
            "Initial means must be finite and variances above 0. "
            f"Found {given.mean.tolist()} and {given.variance.tolist()}."
        )


def _is_distribution(rows: Tensor) -> bool:
    return bool((rows >= 0).all() and ((rows.sum(-1) - 1).abs() < 1e-6).all())
