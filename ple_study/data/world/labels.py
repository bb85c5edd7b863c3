"""What is to be predicted: scores from the planted lenses, and labels from scores."""

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from ple_study.data.world.customers import Customers
from ple_study.data.world.plan import Plan
from ple_study.data.world.signal import Signal
from ple_study.data.world.tasks import CATEGORIES, MODES, Task

Rng = np.random.Generator
Values = Float[np.ndarray, " customer"]
Scores = Float[np.ndarray, "customer task 2"]
CHAIN = 0.4  # how much of a target its source decides
WORTH = 3.0  # of a conversion, in deviations of the lifetime value


def parts(
    plan: Plan, signal: Signal, who: Customers
) -> Float[np.ndarray, "customer task source 2"]:
    """Each lens's part of each task's score, then regime's and cluster's.

    Every part has mean 0 and variance 1; ``scores`` weighs them.
    """
    effects = []
    for row, task in enumerate(signal.tasks):
        mode = MODES[task.spec.group]
        state = who.regimes[mode][:, -1]
        both = (
            plan.regime_effect[mode][row, state],
            plan.cluster_effect[row, who.cluster],
        )
        effects.append(np.concatenate([who.factors, np.stack(both, 1)], axis=1))
    source = np.stack(effects, axis=1)
    cos, sin = np.cos(signal.angle)[:, None], np.sin(signal.angle)[:, None]
    first, second = source[..., 0], source[..., 1]
    return np.stack([cos * first + sin * second, cos * second - sin * first], axis=3)


def scores(plan: Plan, signal: Signal, who: Customers, rng: Rng) -> Scores:
    """Two numbers a task, each of mean 0 and variance 1."""
    weight = np.sqrt(np.concatenate([signal.shares, signal.context], axis=1))
    score = np.einsum("ntsf,ts->ntf", parts(plan, signal, who), weight)
    return score + np.sqrt(signal.noise) * rng.normal(size=score.shape)


def labels(
    plan: Plan, signal: Signal, score: Scores, rng: Rng, *, chained: bool = True
) -> dict[str, Values]:
    """A label a task, in the order of the table; NaN where it is not observed.

    Unless ``chained``, no task decides a part of another.
    """
    own = {
        task.spec.name: _own(task, score[:, row], plan.classes.get(task.spec.name))
        for row, task in enumerate(signal.tasks)
    }
    told = _chained(own, rng)
    drawn = told if chained else own
    for task in signal.tasks:
        unseen = rng.random(len(score)) >= task.observed
        drawn[task.spec.name] = np.where(unseen, np.nan, drawn[task.spec.name])
    return drawn


def _own(
    task: Task,
    score: Float[np.ndarray, "customer 2"],
    shares: Float[np.ndarray, " class"] | None,
) -> Values:
    """What the score says: above a border, a part of the circle, or a number."""
    if task.spec.kind == "binary":
        return (score[:, 0] > ndtri(1 - task.rate)).astype(np.float64)
    if shares is None:
        return score[:, 0]
    turn = np.arctan2(score[:, 1], score[:, 0]) / (2 * np.pi) + 0.5
    return np.searchsorted(np.cumsum(shares)[:-1], turn).astype(np.float64)


def _chained(own: dict[str, Values], rng: Rng) -> dict[str, Values]:
    """The same where one task decides a part of another.

    Only a click converts; of those who churn some are lost for good; a conversion is
    worth something; the next best action often is the category of spending, and that
    the category of the brand, which is its number modulo the number of categories.
    """
    said = dict(own)
    follows = rng.random((3, len(own["ctr"]))) < CHAIN
    said["cvr"] = own["cvr"] * said["ctr"]
    said["retention"] = own["retention"] * (1 - said["churn"] * follows[0])
    said["ltv"] = np.sqrt(1 - CHAIN**2) * own["ltv"] + WORTH * said["cvr"]
    said["spending_category"] = np.where(
        follows[1], said["nba"], own["spending_category"]
    )
    brand = own["brand_prediction"]
    other = brand - brand % CATEGORIES + said["spending_category"]
    said["brand_prediction"] = np.where(follows[2], other, brand)
    return said
