"""Six coordinates of an event, and the units in which the population varies.

Log-amount, the category's percentile rank, sine and cosine of the day of the week, sine
and cosine of the hour. What is learned, is learned from the training customers.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Float64, Int64

from ple_study.data.diagrams.clouds import Clouds, check_start
from ple_study.data.rows import check_rows

DAYS, HOURS = 7, 24


@dataclass(frozen=True)
class EventColumns:
    """Events of all customers, one customer after the other, each in order of time.

    amount: in units of money, zero or more. category: any whole number with an order,
    such as a merchant category code. day: a whole number; its remainder by seven is the
    day of the week. hour: from 0 to less than 24. start: as in ``Clouds``.

    Raises ValueError for columns of unequal length, amounts that are negative or not
    finite, hours out of range, borders that do not fit and days that go backwards.
    """

    amount: Float64[np.ndarray, " event"]
    category: Int64[np.ndarray, " event"]
    day: Int64[np.ndarray, " event"]
    hour: Float64[np.ndarray, " event"]
    start: Int64[np.ndarray, " border"]

    def __post_init__(self) -> None:
        columns = (self.amount, self.category, self.day, self.hour)
        if len({column.shape for column in columns}) > 1:
            found = [list(column.shape) for column in columns]
            raise ValueError(f"Columns must be of one length. Found {found}.")
        check_start(self.start, len(self.amount))
        check_rows(
            np.isfinite(self.amount) & (self.amount >= 0),
            self.amount,
            "Amounts must be finite and zero or more.",
        )
        inside = (self.hour >= 0) & (self.hour < HOURS)
        check_rows(inside, self.hour, f"Hours must lie in 0 to less than {HOURS}.")
        forward = np.diff(self.day, prepend=self.day[:1]) >= 0
        forward[self.start[self.start < len(self.day)]] = True
        check_rows(forward, self.day, "Each customer's days must not go back.")

    def events_of(
        self, customers: Int64[np.ndarray, " row"]
    ) -> Int64[np.ndarray, " event"]:
        """The places of these customers' events."""
        return events_of(self.start, customers)


@dataclass(frozen=True)
class Ranks:
    """Categories in order, and the share of training events in each."""

    category: Int64[np.ndarray, " category"]
    share: Float64[np.ndarray, " category"]

    @classmethod
    def fit(cls, events: EventColumns, train: Int64[np.ndarray, " row"]) -> "Ranks":
        """Learn from these customers. Raises ValueError when they have no event."""
        known = events.category[events.events_of(train)]
        _check_some(known)
        category, count = np.unique(known, return_counts=True)
        return cls(category, count / count.sum())

    def of(
        self, category: Int64[np.ndarray, " event"]
    ) -> Float64[np.ndarray, " event"]:
        """Percentile rank in 0..1: the share of events below and half of those equal.

        A category without training events stands between its neighbours.
        """
        upto = np.concatenate([[0.0], self.share.cumsum()])
        left, right = (
            upto[np.searchsorted(self.category, category, side)]
            for side in ("left", "right")
        )
        return (left + right) / 2


def cloud(events: EventColumns, ranks: Ranks) -> Clouds:
    """The six coordinates of each event, not yet scaled.

    log(1 + amount), the category's percentile rank, and the day of the week and the
    hour each as a point on the unit circle, (sine, cosine).
    """
    week, clock = (
        2 * np.pi * angle for angle in (events.day % DAYS / DAYS, events.hour / HOURS)
    )
    columns = [np.log1p(events.amount), ranks.of(events.category)]
    columns += [turn(angle) for angle in (week, clock) for turn in (np.sin, np.cos)]
    return Clouds(np.stack(columns, 1), events.start)


@dataclass(frozen=True)
class Scale:
    """Mean and deviation of each coordinate over the events of training customers.

    One scale serves the whole population: scaled by its own events, every customer
    would look equally spread, and how far behaviour ranges would be lost.
    """

    mean: Float64[np.ndarray, " coordinate"]
    std: Float64[np.ndarray, " coordinate"]

    @classmethod
    def fit(cls, clouds: Clouds, train: Int64[np.ndarray, " row"]) -> "Scale":
        """Learn from these customers. Raises ValueError when they have no event.

        A coordinate that never varies keeps its unit.
        """
        points = clouds.points[events_of(clouds.start, train)]
        _check_some(points)
        std = points.std(0)
        # A constant coordinate's deviation is rounding noise, never a unit.
        constant = std <= 1e-7 * np.abs(points).max(0)
        return cls(points.mean(0), np.where(constant, 1.0, std))

    def standard(self, clouds: Clouds) -> Clouds:
        """The clouds in these units. Raises ValueError for another number of them."""
        if clouds.points.shape[1] != len(self.mean):
            raise ValueError(
                f"The scale was fitted on {len(self.mean)} coordinates. Found "
                f"{clouds.points.shape[1]}."
            )
        return Clouds((clouds.points - self.mean) / self.std, clouds.start)


def events_of(
    start: Int64[np.ndarray, " border"], customers: Int64[np.ndarray, " row"]
) -> Int64[np.ndarray, " event"]:
    """The places of these customers' events. Raises ValueError for unknown ones."""
    num_customers = len(start) - 1
    inside = (customers >= 0) & (customers < num_customers)
    check_rows(inside, customers, f"Customers must lie in 0..{num_customers - 1}.")
    parts = [np.arange(start[i], start[i + 1]) for i in customers]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _check_some(events: npt.NDArray[np.generic]) -> None:
    if not len(events):
        raise ValueError("Training customers need an event between them. Found none.")
