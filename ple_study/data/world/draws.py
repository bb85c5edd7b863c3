"""Events drawn for many customers at once."""

import numpy as np
from jaxtyping import Float, Int

from ple_study.data.log import Log
from ple_study.data.world.sizes import HISTORY, MONTH

Rng = np.random.Generator
Codes = Int[np.ndarray, " event"]


def days(counts: Int[np.ndarray, "customer day"]) -> tuple[Codes, Codes]:
    """Customer and day of each event, from how many there are."""
    cell = np.repeat(np.arange(counts.size), counts.ravel())
    return cell // counts.shape[1], cell % counts.shape[1]


def bursts(customers: int, rng: Rng) -> Float[np.ndarray, "customer day"]:
    """How much likelier a day is for a burst, one a month; 1 on average in each."""
    day = np.arange(MONTH)
    centre = rng.integers(0, MONTH, (customers, HISTORY // MONTH, 1))
    near = np.exp(-0.5 * ((day - centre) / 0.7) ** 2)
    return (near / near.mean(2, keepdims=True)).reshape(customers, HISTORY)


def choices(
    logits: Float[np.ndarray, "customer choice"], customer: Codes, rng: Rng
) -> Codes:
    """One choice an event, by the softmax of its customer's logits."""
    odds = np.exp(logits - logits.max(1, keepdims=True))
    limits = np.cumsum(odds / odds.sum(1, keepdims=True), axis=1)[:, :-1]
    # Shifted by its customer, each row's limits lie in their own unit of one long line.
    line = (limits + np.arange(len(limits))[:, None]).ravel()
    place = np.searchsorted(line, customer + rng.random(len(customer)))
    return place - customer * limits.shape[1]


def log(num_customers: int, num_places: int, columns: tuple[np.ndarray, ...]) -> Log:
    """Customer, day, hour, amount and place of events, put in order."""
    customer, day, hour, amount, place = columns
    order = np.lexsort((hour, day, customer))
    return Log(
        customer[order],
        day[order],
        hour[order],
        amount[order],
        place[order],
        num_customers,
        num_places,
        cutoff=HISTORY,
    )
