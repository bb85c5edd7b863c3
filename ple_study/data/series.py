"""What happened day by day, as a series that a sequence model reads."""

import numpy as np
import torch
from jaxtyping import Float32, Int64

from ple_study.batch import Events
from ple_study.data.log import Log

CHANNELS = (
    "count",
    "amount",
    "mean",
    "largest",
    "places",
    "hour_sin",
    "hour_cos",
    "days_since",
)


def daily_series(*logs: Log, steps: int) -> Events:
    """The last ``steps`` days before the cut-off; the ``CHANNELS`` of each log in turn.

    Of the day's events: log(1 + number), log(1 + sum of amounts), mean and largest of
    log(1 + amount), log(1 + number of places), mean sine and cosine of the hour; and
    log(1 + days since the last day with an event of that log, of these days or before
    them), all zero on a day without. A day is real from the customer's first event of
    these days on, so that a day on which nothing happened is seen.

    Raises ValueError without a log or a step, and for logs that differ in customers or
    cut-off.
    """
    kinds = {(log.num_customers, log.cutoff) for log in logs}
    if len(kinds) != 1 or steps < 1:
        raise ValueError(
            "A series needs one step or more, and logs of the same customers with one "
            f"cut-off. Found steps={steps} and (customers, cut-off) {sorted(kinds)}."
        )
    values = np.concatenate([_daily(log, steps) for log in logs], axis=2)
    seen = (values[..., :: len(CHANNELS)] > 0).any(2)
    mask = np.maximum.accumulate(seen, axis=1)
    return Events(torch.from_numpy(values), torch.from_numpy(mask))


def _daily(log: Log, steps: int) -> Float32[np.ndarray, "customer day 8"]:
    begin = log.cutoff - steps
    waited = _waited(log)[log.day >= begin]
    log = log.since(begin)
    values = np.zeros((log.num_customers * steps, len(CHANNELS)), dtype=np.float32)
    shape = (log.num_customers, steps, len(CHANNELS))
    if not len(log):
        return values.reshape(shape)
    cell = log.customer * steps + log.day - begin
    day, first, count = np.unique(cell, return_index=True, return_counts=True)
    size = np.log1p(log.amount)
    turn = 2 * np.pi * log.hour / 24
    values[day, 0] = np.log1p(count)
    values[day, 1] = np.log1p(np.add.reduceat(log.amount, first))
    values[day, 2] = np.add.reduceat(size, first) / count
    values[day, 3] = np.maximum.reduceat(size, first)
    pair = np.unique(cell * (log.num_places + 1) + log.place)
    places = np.unique(pair // (log.num_places + 1), return_counts=True)[1]
    values[day, 4] = np.log1p(places)
    values[day, 5] = np.add.reduceat(np.sin(turn), first) / count
    values[day, 6] = np.add.reduceat(np.cos(turn), first) / count
    values[day, 7] = np.log1p(waited[first])
    return values.reshape(shape)


def _waited(log: Log) -> Int64[np.ndarray, " event"]:
    """Days since the customer's event before; 0 for the first one."""
    gap = np.diff(log.day, prepend=log.day[:1])
    same = np.diff(log.customer, prepend=-1) == 0
    return np.where(same, gap, 0)
