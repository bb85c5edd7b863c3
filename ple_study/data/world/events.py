"""What customers do: card payments, deposits and app sessions, day by day.

Each lens that is not read from columns is planted here, where other inputs do not look.
In the whole months before the days that the payments' series shows, payments come in
bursts (perslay); on all days before them categories are chosen by taste (unified_hgcn).
On the days that it shows, brands are chosen by taste (lightgcn), and amounts swing
within each month (temporal). A customer of the other sign does the same with the days
of each month in reverse, so no sum over whole months tells which of the two it is.
Sessions swing (temporal) and come to rest. Their hours and screens lie around a hole
(perslay), but both are spread alike for every customer, and which screen it was only
the diagram knows. There are so many screens that a day hardly sees one of them twice:
how many different ones it saw tells no more than how many sessions it had.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import ndtr

from ple_study.data.log import Log
from ple_study.data.world.customers import STEPS, Customers
from ple_study.data.world.draws import bursts, choices, days, log
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
TASTE, TREND, DRIFT = 1.0, 1.2, 1.4  # how loudly the factors speak
DORMANT, OFFLINE = 0.01, 0.05  # shares of customers without cards, without the app
SCREENS, SOURCES = 960, 6


def cards(plan: Plan, size: Size, who: Customers, rng: Rng) -> Log:
    """Payments: calm ones and, in the early months, bursts at one time of day."""
    begin = first_shown(size)
    customer, day, inside = _payments(who, begin, rng)
    usual_hour = rng.normal(size=(len(who), HISTORY // MONTH))[customer, day // MONTH]
    size_of, time_of = rng.normal(size=(2, len(day)))
    time_of = np.where(inside, usual_hour + 0.05 * time_of, time_of)
    trend = TREND * who.lens(TEMPORAL)[customer, 0] * payment_swing(size)[day]
    usual = rng.normal(3.0, 0.3, len(who))[customer]
    usual += AMOUNT[who.regimes["behavior"][customer, day // MONTH]]
    amount = np.exp(usual + trend + 0.6 * size_of)
    hour = np.clip(14 + 4 * time_of, 0, 23.99)
    place = _merchants(plan, size, who, customer, day < begin, rng)
    return log(len(who), len(plan.leaves), (customer, day, hour, amount, place))


def sessions(size: Size, who: Customers, rng: Rng) -> Log:
    """App sessions: more of them early or late, around a hole of hours and screens."""
    count, steps = len(who), STEPS["journey"]
    online = rng.random(count) >= OFFLINE
    rate = PER_DAY["session"] * rng.lognormal(-0.03, 0.25, count) * online
    place = session_swing(size)[-steps:]
    drift = np.exp(DRIFT * who.lens(TEMPORAL)[:, 1, None] * place)
    level = COUNT["journey"][who.regimes["journey"]]
    daily = rate[:, None] * level * drift / drift.mean(1, keepdims=True)
    customer, day = days(rng.poisson(daily))
    hour, depth = around_a_hole(blur(who)[customer], rng)
    screen = 1 + np.minimum(SCREENS * depth, SCREENS - 1).astype(np.int64)
    minutes = np.exp(rng.normal(1.3, 0.75, len(day)))
    columns = (customer, day + HISTORY - steps, 6 + 14 * hour, minutes, screen)
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


def first_shown(size: Size) -> int:
    """The first day that the payments' series shows."""
    return HISTORY - size.steps[0]


def payment_swing(size: Size) -> Float[np.ndarray, " day"]:
    """How payments swing: up and then down in each whole month that is shown."""
    day = np.arange(HISTORY)
    shown = day // MONTH * MONTH >= first_shown(size)
    return shown * np.sin(2 * np.pi * (day % MONTH + 0.5) / MONTH)


def session_swing(size: Size) -> Float[np.ndarray, " day"]:
    """How the number of sessions swings over the days that their series shows.

    Up and then down in the first half of them, and at rest in the second.
    """
    steps = size.steps[1]
    length = steps - steps // 2
    wave = np.zeros(HISTORY)
    turn = 2 * np.pi * (np.arange(length) + 0.5) / length
    wave[HISTORY - steps : HISTORY - steps + length] = np.sin(turn)
    return wave


def around_a_hole(blur: Values, rng: Rng) -> tuple[Values, Values]:
    """Points on the edge of a diamond in the unit square, and as far off as ``blur``.

    Whatever the blur, each coordinate alone is uniform: it is on the diamond, and
    a step that is reflected at the borders leaves it so.
    """
    first = rng.random(len(blur))
    side = rng.choice([-1.0, 1.0], len(blur))
    second = 0.5 + side * (0.5 - np.abs(first - 0.5))
    moved = np.stack([first, second]) + blur * rng.normal(size=(2, len(blur)))
    x, y = 1 - np.abs(1 - moved % 2)
    return x, y


def blur(who: Customers) -> Float[np.ndarray, " customer"]:
    """How far a customer's sessions stray from the diamond around the hole."""
    far: Float[np.ndarray, " customer"] = 0.02 + 0.3 * ndtr(-who.lens(PERSLAY)[:, 0])
    return far


def burst_share(who: Customers) -> Float[np.ndarray, " customer"]:
    """The share of the payments of the early months that come in bursts."""
    share: Float[np.ndarray, " customer"] = ndtr(2.0 * who.lens(PERSLAY)[:, 1])
    return share


def _payments(
    who: Customers, begin: int, rng: Rng
) -> tuple[Codes, Codes, Bool[np.ndarray, " event"]]:
    """Customer and day of each payment, and whether it is in its month's burst.

    Bursts move payments within their month, which has as many on average as it had.
    """
    active = rng.random(len(who)) >= DORMANT
    rate = PER_DAY["card"] * rng.lognormal(-0.03, 0.25, len(who)) * active
    month = COUNT["lifecycle"][who.regimes["lifecycle"]]
    level = np.repeat(month, MONTH, axis=1) * rate[:, None]
    share = burst_share(who)[:, None] * (np.arange(HISTORY) < begin // MONTH * MONTH)
    calm, burst = level * (1 - share), level * share * bursts(len(who), rng)
    customer, day = days(rng.poisson(calm + burst))
    part = burst[customer, day] / (calm + burst)[customer, day]
    return customer, day, rng.random(len(day)) < part


def _merchants(
    plan: Plan,
    size: Size,
    who: Customers,
    customer: Codes,
    early: Bool[np.ndarray, " event"],
    rng: Rng,
) -> Codes:
    """Early a top category by the one taste, later a brand in any by the other."""
    _, middles, brands = size.branches
    top = choices(TASTE * who.lens(HGCN) @ plan.branch.T, customer, rng)
    brand = choices(TASTE * who.lens(LIGHTGCN) @ plan.taste.T, customer, rng)
    top = np.where(early, top, rng.integers(0, size.branches[0], len(customer)))
    brand = np.where(early, rng.integers(0, brands, len(customer)), brand)
    category = top * middles + rng.integers(0, middles, len(customer))
    return 1 + category * brands + brand
