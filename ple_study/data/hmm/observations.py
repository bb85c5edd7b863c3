"""What a hidden Markov model sees of a customer's purchases: three numbers a step."""

import numpy as np
import torch
from jaxtyping import Int64

from ple_study.batch import Events
from ple_study.data.graphs.visits import Visits

CHANNELS = ("amount", "events", "categories")


def observations(
    visits: Visits,
    categories: Int64[np.ndarray, " merchant"],
    *,
    cutoff: int,
    days: int,
    period: int = 1,
) -> Events:
    """One series a customer: the ``days`` before day ``cutoff``, by ``period`` days.

    The channels are log(1 + sum of amounts), log(1 + number of events) and the number
    of distinct ``categories[merchant]``, of which a negative one is not known and not
    counted. An event that is given twice counts twice. The last step ends the day
    before the cut-off; what lies before the first is left out. A step is real from the
    customer's first event in the window on: a step without events after that is
    observed, as zeros, and one before it is padding. A customer without an event in the
    window has no real step.

    Raises ValueError for days that are not one or more whole periods, for another
    number of categories than merchants, and for an event on the cut-off day or later.
    """
    _check(visits, categories, cutoff, days, period)
    steps = days // period
    inside = visits.day >= cutoff - days
    step = (visits.day[inside] - (cutoff - days)) // period
    cell = visits.customer[inside] * steps + step
    size = visits.num_customers * steps
    amount = np.bincount(cell, visits.amount[inside], size)
    events = np.bincount(cell, minlength=size)
    known = categories[visits.merchant[inside]]
    num = int(known.max(initial=0)) + 1
    pairs = np.unique(cell[known >= 0] * num + known[known >= 0])
    distinct = np.bincount(pairs // num, minlength=size)
    channels = [np.log1p(amount), np.log1p(events), distinct]
    values = np.stack(channels, axis=1).astype(np.float32)
    shape = visits.num_customers, steps
    begun = np.maximum.accumulate(events.reshape(shape) > 0, axis=1)
    return Events(torch.from_numpy(values).view(*shape, 3), torch.from_numpy(begun))


def _check(
    visits: Visits, categories: np.ndarray, cutoff: int, days: int, period: int
) -> None:
    if period < 1 or days < period or days % period:
        raise ValueError(
            "days must be one or more whole periods of one day or more. "
            f"Found days={days}, period={period}."
        )
    if len(categories) != visits.num_merchants:
        raise ValueError(
            f"Each of {visits.num_merchants} merchants needs a category. "
            f"Found {len(categories)}."
        )
    if len(visits) and visits.day.max() >= cutoff:
        raise ValueError(
            f"Events must lie before the cut-off, day {cutoff}. "
            f"Found one on day {visits.day.max()}."
        )
