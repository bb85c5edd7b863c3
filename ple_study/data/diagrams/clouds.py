"""Clouds of points, one a customer, and which points stand for a cloud too large."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Float64, Int64

Points = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Clouds:
    """All customers' events, one customer after the other, each in order of time.

    Customer ``i`` has ``points[start[i]:start[i + 1]]``, which may be none. Raises
    ValueError for points that are not a table of finite float64 numbers, and for
    borders that do not lead from 0 to the last point without a step back.
    """

    points: Float64[np.ndarray, "event coordinate"]
    start: Int64[np.ndarray, " border"]

    def __post_init__(self) -> None:
        check_points(self.points)
        check_start(self.start, len(self.points))

    def __len__(self) -> int:
        return len(self.start) - 1

    def of(self, customer: int) -> Float64[np.ndarray, "event coordinate"]:
        """The cloud of one customer."""
        return self.points[self.start[customer] : self.start[customer + 1]]

    def rows(self, index: Int64[np.ndarray, " row"]) -> "Clouds":
        """The customers at ``index``, in that order."""
        parts = [self.of(int(customer)) for customer in index]
        sizes = np.array([len(part) for part in parts], np.int64)
        return Clouds(np.concatenate([self.points[:0], *parts]), borders(sizes))


def borders(sizes: Int64[np.ndarray, " customer"]) -> Int64[np.ndarray, " border"]:
    """Where each customer's events begin, and where the last one's end."""
    return np.concatenate([np.zeros(1, np.int64), sizes.cumsum(dtype=np.int64)])


def stratified(num_events: int, at_most: int, seed: int) -> Int64[np.ndarray, " event"]:
    """Which of a customer's events are kept: one from each of ``at_most`` stretches.

    Stretches follow each other in time and hold equally many events, as nearly as can
    be. The draw follows from the seed and the number of events alone. So neither other
    customers nor the values of the points change it, and a cloud that is scaled or
    rotated keeps the same events. Where there are not too many, all of them are kept.
    """
    if num_events <= at_most:
        return np.arange(num_events)
    edges = np.arange(at_most + 1) * num_events // at_most
    draw = np.random.default_rng((seed, num_events))
    return draw.integers(edges[:-1], edges[1:])


def check_points(points: Points) -> None:
    if points.ndim != 2 or points.shape[1] == 0 or points.dtype != np.float64:
        raise ValueError(
            "Points must be float64 numbers [event, coordinate], with at least one "
            f"coordinate. Found {points.dtype} of shape {list(points.shape)}."
        )
    # Inside gudhi a number that is not finite ends the process without an exception.
    broken = np.flatnonzero(~np.isfinite(points).all(1))
    if len(broken):
        raise ValueError(
            "Coordinates must be finite. Found NaN or infinity in "
            f"{len(broken)} events, first {broken[:5].tolist()}."
        )


def check_start(start: Places, num_events: int) -> None:
    if start.ndim != 1 or len(start) == 0 or start.dtype != np.int64:
        raise ValueError(
            "Borders must be int64 numbers [customer + 1], at least one. Found "
            f"{start.dtype} of shape {list(start.shape)}."
        )
    if start[0] != 0 or start[-1] != num_events or (np.diff(start) < 0).any():
        raise ValueError(
            f"Borders must rise from 0 to {num_events}, the number of events. Found "
            f"{start[0]} to {start[-1]} with {(np.diff(start) < 0).sum()} steps back."
        )
