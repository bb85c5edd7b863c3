"""A span of days, and sums over it by household."""

import numpy as np
import pandas as pd

from ple_study.data.journey.tables import Array, Codes, Purchases


class Window:
    """What households did from day ``start`` up to, not including, day ``stop``."""

    def __init__(self, purchases: Purchases, start: int, stop: int) -> None:
        self.purchases, self.start, self.stop = purchases, start, stop
        self.size = purchases.num_households
        self.lines = between(purchases.lines, start, stop)
        self.baskets = between(purchases.baskets, start, stop)

    def last(self, days: int) -> "Window":
        """The last ``days`` days of this window."""
        return Window(self.purchases, max(self.start, self.stop - days), self.stop)

    def lines_sum(self, column: str = "") -> Array:
        """A column of the lines summed by household; their number without one."""
        return total(self.lines, self.size, column)

    def baskets_sum(self, column: str = "") -> Array:
        """A column of the baskets summed by household; their number without one."""
        return total(self.baskets, self.size, column)

    def last_day(self) -> Array:
        """Day of each household's last basket; -1 where there is none."""
        day = np.full(self.size, -1.0)
        day[self.baskets["household"]] = self.baskets["day"]  # the last one stays
        return day

    def first_basket(self) -> Codes:
        """Place in ``baskets`` of each household's first; -1 where there is none."""
        row = np.full(self.size, -1)
        order = np.arange(len(self.baskets))[::-1]
        row[self.baskets["household"].to_numpy()[::-1]] = order
        return row


def total(
    frame: pd.DataFrame,
    size: int,
    column: str = "",
    key: Codes | None = None,
    num: int = 1,
) -> Array:
    """Sum by household, ``[size]``, or by household and key, ``[size, num]``.

    Rows whose key is negative are left out.
    """
    household = frame["household"].to_numpy()
    weight = frame[column].to_numpy(np.float64) if column else None
    if key is None:
        return np.bincount(household, weight, size).astype(np.float64)
    known = key >= 0
    index = household[known] * num + key[known]
    summed = np.bincount(index, None if weight is None else weight[known], size * num)
    return summed.reshape(size, num).astype(np.float64)


def between(frame: pd.DataFrame, start: int, stop: int) -> pd.DataFrame:
    """The rows from day ``start`` to before day ``stop`` of a frame sorted by day."""
    low, high = np.searchsorted(frame["day"].to_numpy(), [start, stop])
    return frame.iloc[low:high]
