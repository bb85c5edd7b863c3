"""Seventy numbers that stand for a customer's diagrams where PersLay cannot read them.

Made once, offline, of four diagrams: the short and the long window, and the recent part
of each. The study's source names the numbers; where it does not say how they are
computed, the definition here is ours and says so.

24: short, H0 and H1, six statistics each of the whole window and of its recent part.
36: long, H0, H1 and H2, likewise.
10: how the long window's recent part differs from the whole (``transition``).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ple_study.batch import Diagrams

STATISTICS = ("entropy", "mean", "deviation", "least", "greatest", "median")
DISTANCES = ("W1 of H0", "W1 of H1", "total change", "greatest move")
TRANSITION = (
    "probability",
    "imminence",
    "frequency",
    "direction",
    "magnitude",
    "confidence",
)
WINDOWS = {"short": (0, 1), "long": (0, 1, 2)}
SIZE = 70


def features(
    whole: Mapping[str, Diagrams], recent: Mapping[str, Diagrams]
) -> Float[Tensor, "batch 70"]:
    """All numbers of each customer, float32; a row of NaN where she has no point.

    ``whole`` and ``recent`` are named ``short`` and ``long``. The source's two scopes,
    global and local, are read as these two; it does not define them. Raises ValueError
    for other names.
    """
    for what in (whole, recent):
        if set(what) != set(WINDOWS):
            raise ValueError(
                f"Diagrams of the windows {list(WINDOWS)} are needed. Found "
                f"{list(what)}."
            )
    scopes = [
        summary(scope[name], kinds)
        for name, kinds in WINDOWS.items()
        for scope in (whole, recent)
    ]
    found = torch.cat([*scopes, transition(whole["long"], recent["long"])], 1)
    every = [d.mask.any(1) for d in (*whole.values(), *recent.values())]
    seen = torch.stack(every).any(0)
    return torch.where(seen[:, None], found, torch.nan).float()


def summary(
    diagrams: Diagrams, kinds: Sequence[int]
) -> Float[Tensor, "batch statistic"]:
    """Entropy, mean, deviation, least, greatest and median of lives, by homology.

    Lives are l = death - birth. The entropy is -sum p log p over shares p = l / sum l,
    the deviation that of the population, the median the mean of the two in the middle.
    All are zero where there is no point.
    """
    return torch.cat([_six(*lives(diagrams, kind)) for kind in kinds], 1)


def lives(
    diagrams: Diagrams, kind: int
) -> tuple[Float[Tensor, "batch point"], Bool[Tensor, "batch point"]]:
    """Death - birth, zero where no point of this homology is, and where one is."""
    birth, death, index = diagrams.points.double().unbind(2)
    there = diagrams.mask & (index == kind)
    return (death - birth).masked_fill(~there, 0.0), there


def _six(life: Tensor, there: Tensor) -> Tensor:
    num, total = there.sum(1), life.sum(1, keepdim=True)
    count = num.clamp_min(1)
    share = life / torch.where(total > 0, total, 1.0)
    mean = life.sum(1) / count
    spread = (life - mean[:, None]).square().masked_fill(~there, 0.0).sum(1) / count
    order = life.masked_fill(~there, torch.inf).sort(1).values
    middle = [((num - 1).clamp_min(0)) // 2, num // 2]
    places = torch.stack([*middle, count - 1, torch.zeros_like(num)], 1)
    places = places.clamp_max(life.shape[1] - 1)
    low, high, last, first = order.gather(1, places).unbind(1)
    median = (low + high) / 2
    parts = [
        -torch.xlogy(share, share).sum(1),
        mean,
        spread.sqrt(),
        first,
        last,
        median,
    ]
    return torch.stack(parts, 1).masked_fill((num == 0)[:, None], 0.0)


def transition(before: Diagrams, after: Diagrams) -> Float[Tensor, "batch 10"]:
    """How far each customer's diagram has moved, and six readings of it.

    Distances: W1 of H0, W1 of H1 (``moves``), their sum D, the greatest move. Then, of
    the source, probability = sigmoid(2 (D - 1 / 2)); and, ours, with T the sum of all
    lives of H0 and H1: imminence = greatest move / D, frequency = the share of moves
    above the mean move, direction = 1 if T has not fallen, else -1, magnitude =
    ``|T' - T| / (T' + T)``, confidence = 1 - 1 / sqrt(1 + points of both).
    """
    rows = [_moved(before, after, row) for row in range(len(before.mask))]
    distances = torch.tensor(rows, dtype=torch.float64).reshape(-1, 5)
    change, greatest, frequency = distances[:, 2], distances[:, 3], distances[:, 4]
    both = [lives(diagrams, k) for diagrams in (before, after) for k in (0, 1)]
    sums = torch.stack([life.sum(1) for life, _ in both])
    one, other = sums[:2].sum(0), sums[2:].sum(0)
    count = torch.stack([there.sum(1) for _, there in both]).sum(0)
    either = torch.where(one + other > 0, one + other, 1.0)
    readings = [
        torch.sigmoid(2 * (change - 0.5)),
        greatest / torch.where(change > 0, change, 1.0),
        frequency,
        torch.where(other >= one, 1.0, -1.0).double(),
        (other - one).abs() / either,
        1 - (1 + count).double().rsqrt(),
    ]
    return torch.cat([distances[:, :4], torch.stack(readings, 1)], 1)


def _moved(before: Diagrams, after: Diagrams, row: int) -> list[float]:
    found = []
    for kind in (0, 1):
        pair = []
        for diagrams in (before, after):
            points = diagrams.points[row][diagrams.mask[row]].double().numpy()
            pair.append(points[points[:, 2] == kind, :2])
        found.append(moves(*pair))
    every = np.concatenate(found)
    often = float((every > every.mean()).mean()) if len(every) else 0.0
    sums = [float(part.sum()) for part in found]
    return [*sums, sum(sums), float(every.max(initial=0.0)), often]


def moves(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far each point goes in the cheapest matching: their sum is W1.

    Points (birth, death) are matched to each other or to the diagonal, and distances
    are the greater of the two coordinates', so that to the diagonal is half a life. The
    W1 of Edelsbrunner and Harer (2010), VIII.2. Points that stay on the diagonal are
    left out.
    """
    apart = np.abs(one[:, None] - other).max(2, initial=0.0)
    ends = [(part[:, 1] - part[:, 0]) / 2 for part in (one, other)]
    # Beside the points stand as many places on the diagonal as the other side has.
    top = np.concatenate([apart, np.repeat(ends[0][:, None], len(one), 1)], 1)
    low = np.repeat(ends[1][None], len(other), 0)
    cost = np.concatenate(
        [top, np.concatenate([low, np.zeros((len(other), len(one)))], 1)]
    )
    rows, columns = linear_sum_assignment(cost)
    real = (rows < len(one)) | (columns < len(other))
    return cost[rows[real], columns[real]]
