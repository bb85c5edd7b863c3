"""Pictures of one customer: events, barcode, diagram, graph and hidden states.

Every layout is computed, none is drawn by chance, so that a figure is the same each
time.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Complex, Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from ple_study.plots import GREY, INK


def events(
    axes: Axes,
    day: Int[np.ndarray, " event"],
    hour: Float[np.ndarray, " event"],
    amount: Float[np.ndarray, " event"],
    *,
    colour: str,
    label: str | None = None,
    largest: float = 60.0,
) -> None:
    """Events by day and hour; a dot's area grows with its amount, up to ``largest``."""
    area = largest * amount / max(float(amount.max(initial=0.0)), 1e-12)
    axes.scatter(day, hour, 3 + area, color=colour, alpha=0.75, lw=0, label=label)
    axes.set(ylim=(24.5, -0.5), yticks=(0, 6, 12, 18, 24))


def mirror(
    axes: Axes,
    up: Float[np.ndarray, " day"],
    down: Float[np.ndarray, " day"],
    *,
    colour: str,
) -> None:
    """Two daily series that end at the cut-off, each by its own largest value."""
    day = np.arange(-len(up), 0) + 0.5
    for values, sign, share in ((up, 1, 1.0), (down, -1, 0.55)):
        height = sign * values / max(float(values.max(initial=0)), 1e-12)
        axes.bar(day, height, width=1.0, color=tint(colour, share), lw=0)
    axes.axhline(0, color=GREY, lw=0.6)
    axes.set(yticks=(), xlim=(-len(up), 0), ylim=(-1.05, 1.05))
    axes.spines["left"].set_visible(False)


def histogram(
    axes: Axes,
    shares: Float[np.ndarray, " bin"],
    usual: Float[np.ndarray, " bin"],
    *,
    colour: str,
) -> None:
    """One customer's shares of bins as bars, and all customers' as a line."""
    bins = np.arange(len(shares))
    axes.bar(bins, shares, width=0.85, color=colour)
    axes.step(bins, usual, where="mid", color=INK, lw=1)
    axes.set(yticks=(), xticks=())
    axes.spines["left"].set_visible(False)


def crowd(
    axes: Axes,
    places: Float[np.ndarray, "customer 2"],
    alike: Bool[np.ndarray, " customer"],
    customer: int,
) -> None:
    """All customers in a plane: large who is ``alike``, ringed the one."""
    axes.plot(*places.T, "o", color=GREY, ms=1.8, alpha=0.5, mew=0)
    axes.plot(*places[alike].T, "o", color=GREY, ms=4.2, alpha=0.8, mew=0)
    axes.plot(*places[[customer]].T, "o", color=INK, ms=8, mew=1.5, mfc="none")
    axes.plot(*places[[customer]].T, "o", color=INK, ms=3)
    axes.set(xticks=(), yticks=())
    axes.spines[:].set_visible(False)


def barcode(
    axes: Axes, points: Float[np.ndarray, "point 3"], colours: Sequence[str]
) -> None:
    """A bar from birth to death each, by homology, and in it the shortest first.

    points: rows (birth, death, homology index), as in ``Diagrams`` without padding.
    """
    life = points[:, 1] - points[:, 0]
    row = np.lexsort((life, points[:, 2]))
    for height, (birth, death, kind) in enumerate(points[row].tolist()):
        axes.hlines(height, birth, death, color=colours[int(kind)], lw=1.1)
    axes.set(yticks=(), xlim=(0, None), ylim=(-1, max(len(points), 1)))
    axes.spines["left"].set_visible(False)


def diagram(
    axes: Axes, points: Float[np.ndarray, "point 3"], colours: Sequence[str]
) -> None:
    """Each class at its birth and death: the farther from the diagonal, the longer."""
    top = 1.05 * float(points[:, 1].max(initial=1e-6))
    axes.plot((0, top), (0, top), color=GREY, lw=0.8, zorder=0)
    for kind, colour in enumerate(colours):
        birth, death, _ = points[points[:, 2] == kind].T
        axes.plot(birth, death, "o", color=colour, ms=3.5, alpha=0.75, mew=0)
    axes.set(xlim=(-0.02 * top, top), ylim=(-0.02 * top, top), aspect="equal")


def regimes(
    axes: Axes, path: Int[np.ndarray, " step"], num_states: int, *, colour: str = INK
) -> None:
    """A ribbon of hidden states, 0 the lightest; -1, a step before all, is left out."""
    for state in range(num_states):
        shade = tint(colour, (state + 1) / num_states)
        steps = np.flatnonzero(path == state)
        runs = np.split(steps, np.flatnonzero(np.diff(steps) > 1) + 1)
        bars = [(float(run[0]), float(len(run))) for run in runs if len(run)]
        axes.broken_barh(bars, (0, 1), color=shade, lw=0)
        axes.broken_barh(bars, (1.3 + state, 1), color=shade, lw=0)
    axes.set(xlim=(0, len(path)), ylim=(-0.1, num_states + 1.4), yticks=())
    axes.spines["left"].set_visible(False)


def tint(colour: str, share: float) -> tuple[float, float, float]:
    """The colour mixed with a light grey, which has the other share."""
    red, green, blue = (share * own + (1 - share) * 0.86 for own in to_rgb(colour))
    return red, green, blue


def star(
    axes: Axes,
    counts: Float[np.ndarray, "customer merchant"],
    customer: int,
    *,
    colour: str,
    merchants: int = 24,
    others: int = 40,
) -> None:
    """One customer, the merchants around it, and outside those who share them.

    An edge is as wide as it is often used. ``merchants`` are the most used, ``others``
    the customers who share most of these, in order of the one that each uses most.
    """
    own = np.argsort(-counts[customer], kind="stable")[:merchants]
    own = own[counts[customer, own] > 0]
    near = _nearest(counts[:, own], customer, others)
    inner, outer = _ring(len(own)), 1.9 * _ring(len(near))
    for outside, row in zip(outer, near, strict=True):
        for at in inner[counts[row, own] > 0]:
            ways = (outside.real, at.real), (outside.imag, at.imag)
            axes.plot(*ways, color=GREY, lw=0.35, alpha=0.5, zorder=0)
    width = counts[customer, own] / counts[customer].max(initial=1.0)
    for at, often in zip(inner, width, strict=True):
        axes.plot((0, at.real), (0, at.imag), color=colour, lw=0.5 + 2.5 * often)
    axes.plot(outer.real, outer.imag, "o", color=GREY, ms=2.5, mew=0)
    axes.scatter(inner.real, inner.imag, 6 + 40 * width, color=colour, lw=0, zorder=3)
    axes.plot(0, 0, "o", color=INK, ms=6, zorder=4)
    axes.set(xlim=(-2, 2), ylim=(-2, 2), aspect="equal")
    axes.axis("off")


def _nearest(
    counts: Float[np.ndarray, "customer merchant"], customer: int, number: int
) -> Int[np.ndarray, " other"]:
    """Who shares most merchants, in order of the merchant that each uses most."""
    if not counts.shape[1]:
        return np.zeros(0, dtype=np.int64)
    shared = (counts > 0).sum(1)
    shared[customer] = 0
    near = np.argsort(-shared, kind="stable")[:number]
    near = near[shared[near] > 0]
    order = np.argsort(counts[near].argmax(1), kind="stable")
    return near[order]


def _ring(number: int) -> Complex[np.ndarray, " place"]:
    return np.exp(2j * np.pi * (np.arange(number) + 0.5) / max(number, 1))
