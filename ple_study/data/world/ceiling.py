"""The ceiling: the best that can be answered about the customers of a bank.

::

    metrics.evaluate(bank.schema, best_logits(bank), bank.study().rows.labels)

Whoever knows the hidden factors, the regime and the cluster of a customer still does
not know the noise in her scores, and what that leaves open of a label is known exactly.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import ndtr, ndtri
from torch import Tensor

from ple_study.data.world.bank import Bank
from ple_study.data.world.labels import CHAIN, WORTH, parts
from ple_study.data.world.tasks import CATEGORIES, LENSES

Chances = Float[np.ndarray, "customer _"]
NODES = 64  # of Gauss-Legendre quadrature in a class
STEPS = 50  # of a bisection
TINY = 1e-12


def best_logits(
    bank: Bank, reliability: Float[np.ndarray, " lens"] | None = None
) -> dict[str, Float[Tensor, "customer outputs"]]:
    """By active task, the logits of the true probabilities; of an amount, the median.

    ``reliability`` is the share of each lens's variance that its input tells, in the
    order of ``LENSES``, if that is not all: the answers are then the best of one who
    knows that share, drawn with the bank's seed.

    Raises ValueError for a bank without noise, where nothing is left open, and for a
    reliability that is no number from 0 to 1 a lens.
    """
    told = np.ones(len(LENSES)) if reliability is None else np.asarray(reliability)
    if told.shape != (len(LENSES),) or not ((told >= 0) & (told <= 1)).all():
        raise ValueError(
            f"A reliability is a number from 0 to 1 for each of {LENSES}. "
            f"Found {reliability}."
        )
    if bank.noise <= 0:
        raise ValueError(f"A ceiling needs noise above 0. Found {bank.noise}.")
    shares = bank.signal.shares
    spread = np.sqrt(bank.noise + shares @ (1 - told))
    own = _own(bank, _known(bank, told), spread)
    best = _chained(own, spread[_row(bank, "ltv")]) if bank.chained else own
    logits = {}
    for task in bank.schema.tasks:
        chance = best[task.name]
        if task.kind == "binary":
            chance = np.log(chance + TINY) - np.log1p(TINY - chance)
        elif task.classes > 1:
            chance = np.log(chance + TINY)
        logits[task.name] = torch.from_numpy(chance).float()
    return logits


def _row(bank: Bank, name: str) -> int:
    return [task.spec.name for task in bank.signal.tasks].index(name)


def _known(
    bank: Bank, told: Float[np.ndarray, " lens"]
) -> Float[np.ndarray, "customer task 2"]:
    """What is known of each score: its mean over all that is not."""
    who = bank.truth().customers
    rng = np.random.default_rng((bank.seed, len(LENSES)))
    share = np.sqrt(told)[:, None]
    blur = np.sqrt(1 - told)[:, None] * rng.normal(size=who.factors.shape)
    # Of seen = sqrt(r) factor + sqrt(1 - r) blur, the factor's mean is sqrt(r) seen.
    guess = replace(who, factors=share * (share * who.factors + blur))
    weight = np.sqrt(np.concatenate([bank.signal.shares, bank.signal.context], axis=1))
    known: Float[np.ndarray, "customer task 2"]
    known = np.einsum("ntsf,ts->ntf", parts(bank.plan, bank.signal, guess), weight)
    return known


def _own(
    bank: Bank,
    known: Float[np.ndarray, "customer task 2"],
    spread: Float[np.ndarray, " task"],
) -> dict[str, Chances]:
    """Each task by its own score: probabilities, or the mean of an amount."""
    found = {}
    for row, task in enumerate(bank.signal.tasks):
        name, mean = task.spec.name, known[:, row]
        found[name] = mean[:, :1]
        if task.spec.kind == "binary":
            found[name] = ndtr((mean[:, :1] - ndtri(1 - task.rate)) / spread[row])
        elif task.spec.classes > 1:
            found[name] = wedges(mean / spread[row], bank.plan.classes[name])
    return found


def wedges(
    mean: Float[np.ndarray, "customer 2"], shares: Float[np.ndarray, " class"]
) -> Chances:
    """How likely a point of N(mean, 1) lies in each wedge of the plane.

    The wedges follow each other from the angle -pi on, each of its share of the circle.
    The angle's density is that of a projected normal (Mardia and Jupp 2000, section
    3.5.6).
    """
    ends = 2 * np.pi * (np.concatenate([[0.0], np.cumsum(shares)]) - 0.5)
    node, weight = np.polynomial.legendre.leggauss(NODES)
    half = np.diff(ends)[:, None] / 2
    angle = ends[:-1, None] + half * (1 + node)
    length = (mean**2).sum(1)[:, None, None]
    along = mean[:, 0, None, None] * np.cos(angle) + mean[:, 1, None, None] * np.sin(
        angle
    )
    across = np.exp((along**2 - length) / 2) / np.sqrt(2 * np.pi)
    density = np.exp(-length / 2) / (2 * np.pi) + along * ndtr(along) * across
    chance: Chances = (density * half * weight).sum(2)
    return chance / chance.sum(1, keepdims=True)


def _chained(own: dict[str, Chances], spread: float) -> dict[str, Chances]:
    """What ``labels`` makes of them where one task decides a part of another."""
    best = dict(own)
    best["cvr"] = own["cvr"] * own["ctr"]
    best["retention"] = own["retention"] * (1 - CHAIN * own["churn"])
    best["ltv"] = _median(own["ltv"], best["cvr"], spread)
    category = CHAIN * own["nba"] + (1 - CHAIN) * own["spending_category"]
    best["spending_category"] = category
    brand = own["brand_prediction"]
    shelves = brand.reshape(len(brand), -1, CATEGORIES).sum(2)
    moved = shelves[:, :, None] * category[:, None]
    best["brand_prediction"] = CHAIN * moved.reshape(brand.shape) + (1 - CHAIN) * brand
    return best


def _median(mean: Chances, chance: Chances, spread: float) -> Chances:
    """Of an amount that a conversion, of this chance, adds to."""
    scale = np.sqrt(1 - CHAIN**2)
    low, high = scale * mean, scale * mean + WORTH
    for _ in range(STEPS):
        middle = (low + high) / 2
        beyond = (middle - scale * mean) / (scale * spread)
        with_it = (middle - scale * mean - WORTH) / (scale * spread)
        below = (1 - chance) * ndtr(beyond) + chance * ndtr(with_it) < 0.5
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2
