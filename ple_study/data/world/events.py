"""What customers do: card payments, deposits and app sessions, day by day.

Each lens that is not read from columns is planted here, in a property of the events
that nothing else tells: where the amounts go and when sessions are (temporal), whether
payments come in bursts and sessions around a hole (perslay), which categories are
chosen (unified_hgcn), and which brands within them (lightgcn).
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import ndtr

from ple_study.data.log import Log
from ple_study.data.world.customers import STEPS, Customers
from ple_study.data.world.draws import choices, days, kernel, log
from ple_study.data.world.plan import Plan
from ple_study.data.world.sizes import HISTORY, MONTH, Size
from ple_study.data.world.tasks import HGCN, LIGHTGCN, PERSLAY, TEMPORAL

Rng = np.random.Generator
Values = Float[np.ndarray, " event"]
Codes = Int[np.ndarray, " event"]
COUNT = {  # events a day by state, in multiples of the customer's own rate
    "journey": np.array([0.1, 0.4, 0.9, 1.6, 3.0]),
    "lifecycle": np.array([0.2, 0.7, 1.2, 0.5, 2.0]),
}
AMOUNT = np.array([-1.2, -0.6, 0.0, 0.4, 0.8, 1.3])  # by state of behavior, in log
PER_DAY = {"card": 0.35, "session": 0.7, "deposit": 0.12}
BURSTS = 6
TASTE, TREND, DRIFT = 0.7, 2.5, 1.4  # how loudly the factors speak
DORMANT, OFFLINE = 0.01, 0.05  # shares of customers without cards, without the app
SCREENS, SOURCES = 12, 6


def cards(plan: Plan, size: Size, who: Customers, rng: Rng) -> Log:
    """Payments: calm ones, and bursts at one time of day and one level of amounts."""
    customer, day, burst, inside = _payments(who, rng)
    spread = np.where(inside, 0.1, 1.0)
    clump = rng.normal(size=(2, len(who), BURSTS))[:, customer, burst] * inside
    size_of, time_of = clump + spread * rng.normal(size=(2, len(day)))
    # Half a trend below to half above, over the days that the series shows.
    shown = np.clip((day - HISTORY) / size.steps[0] + 0.5, -0.5, 0.5)
    trend = TREND * who.lens(TEMPORAL)[customer, 0] * shown
    usual = rng.normal(3.0, 0.3, len(who))[customer]
    usual += AMOUNT[who.regimes["behavior"][customer, day // MONTH]]
    amount = np.exp(usual + trend + 0.6 * size_of)
    hour = np.clip(14 + 4 * time_of, 0, 23.99)
    place = _merchants(plan, size, who, customer, rng)
    return log(len(who), len(plan.leaves), (customer, day, hour, amount, place))


def sessions(size: Size, who: Customers, rng: Rng) -> Log:
    """App sessions: more of them early or late, around a hole of hours and minutes."""
    count, steps = len(who), STEPS["journey"]
    online = rng.random(count) >= OFFLINE
    rate = PER_DAY["session"] * rng.lognormal(-0.03, 0.25, count) * online
    # Over the days that the series shows, as with the trend of payments.
    place = np.clip((np.arange(steps) - steps) / size.steps[1] + 0.5, -0.5, 0.5)
    drift = np.exp(DRIFT * who.lens(TEMPORAL)[:, 1, None] * place)
    level = COUNT["journey"][who.regimes["journey"]]
    daily = rate[:, None] * level * drift / drift.mean(1, keepdims=True)
    customer, day = days(rng.poisson(daily))
    hole = hole_radius(who)[customer]
    # Even over the ring from hole * R to R, whose mean square is one for any hole.
    area = hole**2 + (1 - hole**2) * rng.random(len(day))
    radius = np.sqrt(2 * area / (1 + hole**2))
    turn = 2 * np.pi * rng.random(len(day))
    hour, minutes = 13 + 5 * radius * np.cos(turn), np.exp(1 + radius * np.sin(turn))
    screen = rng.integers(1, SCREENS + 1, len(day))
    columns = (customer, day + HISTORY - steps, hour, minutes, screen)
    return log(count, SCREENS, columns)


def deposits(who: Customers, rng: Rng) -> Log:
    """A salary each month, and now and then something else."""
    count = len(who)
    counts = np.zeros((2, count, HISTORY), dtype=np.int64)
    payday = np.arange(0, HISTORY, MONTH) + rng.integers(0, MONTH, (count, 1))
    counts[0, np.arange(count)[:, None], payday] = 1
    counts[1] = rng.poisson(PER_DAY["deposit"], (count, HISTORY))
    row, day = days(counts.reshape(2 * count, HISTORY))
    customer, salary = row % count, row < count
    level = rng.normal(7.5, 0.4, count)[customer] - 3.0 * ~salary
    amount = np.exp(level + 0.3 * rng.normal(size=len(day)))
    place = np.where(salary, 1, rng.integers(2, SOURCES + 1, len(day)))
    hour = 24 * rng.random(len(day))
    return log(count, SOURCES, (customer, day, hour, amount, place))


def hole_radius(who: Customers) -> Float[np.ndarray, " customer"]:
    """Inner over outer radius of the ring that a customer's sessions leave empty."""
    radius: Float[np.ndarray, " customer"] = ndtr(who.lens(PERSLAY)[:, 0])
    return radius


def burst_share(who: Customers) -> Float[np.ndarray, " customer"]:
    """The share of a customer's payments that come in bursts."""
    share: Float[np.ndarray, " customer"] = ndtr(1.5 * who.lens(PERSLAY)[:, 1])
    return share


def _payments(
    who: Customers, rng: Rng
) -> tuple[Codes, Codes, Codes, Bool[np.ndarray, " event"]]:
    """Customer and day of each payment, the nearest burst, and whether it is in it."""
    active = rng.random(len(who)) >= DORMANT
    rate = PER_DAY["card"] * rng.lognormal(-0.03, 0.25, len(who)) * active
    month = COUNT["lifecycle"][who.regimes["lifecycle"]]
    level = np.repeat(month, MONTH, axis=1) * rate[:, None]
    centre: Int[np.ndarray, "customer burst"]
    centre = rng.integers(0, HISTORY, (len(who), BURSTS))
    share = burst_share(who)[:, None]
    calm, burst = level * (1 - share), level * share * kernel(centre)
    customer, day = days(rng.poisson(calm + burst))
    part = burst[customer, day] / (calm + burst)[customer, day]
    nearest = np.abs(day[:, None] - centre[customer]).argmin(1)
    return customer, day, nearest, rng.random(len(day)) < part


def _merchants(
    plan: Plan, size: Size, who: Customers, customer: Codes, rng: Rng
) -> Codes:
    """A top category by the one taste, a brand in any category by the other."""
    top = choices(TASTE * who.lens(HGCN) @ plan.branch.T, customer, rng)
    brand = choices(TASTE * who.lens(LIGHTGCN) @ plan.taste.T, customer, rng)
    _, middles, brands = size.branches
    category = top * middles + rng.integers(0, middles, len(customer))
    return 1 + category * brands + brand
