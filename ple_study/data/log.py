"""Events of customers in order of time: what lenses of events begin with."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int64

from ple_study.data.graphs.visits import Visits
from ple_study.data.rows import check_rows

COLUMNS = ("customer", "day", "hour", "amount", "place")


@dataclass(frozen=True)
class Log:
    """Events sorted by customer, day and hour, all of them before the cut-off day.

    customer: 0 to ``num_customers - 1``. day: a whole number. hour: of the day, 0 to
    less than 24. amount: zero or more, of money or of time. place: where the event
    happened, 1 to ``num_places``, or 0 where that is unknown.

    A customer may have one event or none. Raises ValueError for an event on the cut-off
    day or later, events out of order, an event that is there twice, an amount that is
    negative or not finite, and a customer, hour or place out of range.
    """

    customer: Int64[np.ndarray, " event"]
    day: Int64[np.ndarray, " event"]
    hour: Float64[np.ndarray, " event"]
    amount: Float64[np.ndarray, " event"]
    place: Int64[np.ndarray, " event"]
    num_customers: int
    num_places: int
    cutoff: int

    def __post_init__(self) -> None:
        last = self.num_customers - 1
        inside = (self.customer >= 0) & (self.customer <= last)
        known = (self.place >= 0) & (self.place <= self.num_places)
        daily = (self.hour >= 0) & (self.hour < 24)
        good = np.isfinite(self.amount) & (self.amount >= 0)
        before = f"Events must lie before the cut-off, day {self.cutoff}."
        check_rows(self.day < self.cutoff, self.day, before)
        check_rows(good, self.amount, "Amounts must be finite and zero or more.")
        check_rows(inside, self.customer, f"Customers must lie in 0..{last}.")
        check_rows(known, self.place, f"Places must lie in 0..{self.num_places}.")
        check_rows(daily, self.hour, "Hours must lie in 0 to less than 24.")
        self._check_order()

    def _check_order(self) -> None:
        step = [np.diff(part) for part in (self.customer, self.day, self.hour)]
        later = (step[0] > 0) | ((step[0] == 0) & (step[1] > 0))
        later |= (step[0] == 0) & (step[1] == 0) & (step[2] >= 0)
        if not later.all():
            raise ValueError(
                "Events must be sorted by customer, day and hour. "
                f"Found row {later.argmin() + 1} below one that comes after it."
            )
        order = np.lexsort(self._columns())
        again = np.ones(max(len(self) - 1, 0), dtype=bool)
        for part in self._columns():
            again &= np.diff(part[order]) == 0
        if again.any():
            row = int(again.argmax())
            raise ValueError(
                "An event must be there once. "
                f"Found rows {order[row]} and {order[row + 1]} equal."
            )

    def _columns(self) -> tuple[np.ndarray, ...]:
        return (self.amount, self.place, self.hour, self.day, self.customer)

    def __len__(self) -> int:
        return len(self.customer)

    @property
    def start(self) -> Int64[np.ndarray, " border"]:
        """Customer i has the events ``start[i]`` up to ``start[i + 1]``."""
        return np.searchsorted(self.customer, np.arange(self.num_customers + 1))

    @property
    def visits(self) -> Visits:
        """The events as the graphs take them."""
        return Visits(
            self.customer,
            self.place,
            self.day,
            self.amount,
            self.num_customers,
            self.num_places + 1,
        )

    def since(self, day: int) -> "Log":
        """The events from this day on."""
        return self._only(self.day >= day)

    def until(self, day: int) -> "Log":
        """The events before this day."""
        return self._only(self.day < day)

    def _only(self, kept: Bool[np.ndarray, " event"]) -> "Log":
        return replace(self, **{k: getattr(self, k)[kept] for k in COLUMNS})

    def rows(self, index: Int64[np.ndarray, " row"]) -> "Log":
        """The events of the customers at ``index``, which must rise."""
        check_rows(np.diff(index, prepend=-1) > 0, index, "Customers must rise.")
        place = np.full(self.num_customers, -1)
        place[index] = np.arange(len(index))
        kept = place[self.customer] >= 0
        parts = {k: getattr(self, k)[kept] for k in COLUMNS}
        parts["customer"] = place[parts["customer"]]
        return replace(self, num_customers=len(index), **parts)

    def frame(self) -> pd.DataFrame:
        """The events as a table, a column each."""
        return pd.DataFrame({name: getattr(self, name) for name in COLUMNS})


class CodedLog(NamedTuple):
    """A log, and who and what its codes stand for.

    ``customers[i]`` is customer i, ``places[i - 1]`` is place i; place 0 is unknown.
    """

    log: Log
    customers: pd.Index
    places: pd.Index


def log_from_frame(events: pd.DataFrame, *, cutoff: int) -> CodedLog:
    """A table of events, in any order, with any keys, as a log.

    events: customer and place (any keys; a missing place is unknown), day (whole
    numbers), hour and amount (numbers).

    Raises ValueError for an empty table, a missing column, a column of another type, a
    missing customer, and for what ``Log`` refuses.
    """
    absent = [name for name in COLUMNS if name not in events]
    if absent or events.empty:
        raise ValueError(
            f"Events need the columns {COLUMNS} and at least one row. Found "
            f"{len(events)} rows; absent are {absent}."
        )
    who = events["customer"].to_numpy(object)
    check_rows(~pd.isna(who), who, "Each event needs a customer.")
    for name, numbers in (("day", "whole numbers"), ("hour", ""), ("amount", "")):
        kind = events[name].dtype
        good = pd.api.types.is_integer_dtype(kind) if numbers else _is_number(kind)
        if not good:
            raise ValueError(
                f"Column {name!r} must hold {numbers or 'numbers'}. Found {kind}."
            )
    customers = pd.Index(events["customer"].unique()).sort_values()
    places = pd.Index(events["place"].dropna().unique()).sort_values()
    coded = events.assign(
        customer=customers.get_indexer(events["customer"]),
        place=places.get_indexer(events["place"]) + 1,
    ).sort_values(["customer", "day", "hour"], kind="stable")
    log = Log(
        coded["customer"].to_numpy(np.int64),
        coded["day"].to_numpy(np.int64),
        coded["hour"].to_numpy(np.float64),
        coded["amount"].to_numpy(np.float64),
        coded["place"].to_numpy(np.int64),
        num_customers=len(customers),
        num_places=len(places),
        cutoff=cutoff,
    )
    return CodedLog(log, customers, places)


def _is_number(kind: object) -> bool:
    boolean = pd.api.types.is_bool_dtype(kind)
    return bool(pd.api.types.is_numeric_dtype(kind)) and not boolean
