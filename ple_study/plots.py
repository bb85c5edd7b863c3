"""Figures from plain tensors, with one palette: one colour an expert throughout."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from cycler import cycler
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from torch import Tensor

# Paul Tol's bright scheme, told apart with any colour vision.
EXPERTS = {
    "unified_hgcn": "#4477AA",
    "perslay": "#EE6677",
    "deepfm": "#228833",
    "temporal": "#CCBB44",
    "lightgcn": "#66CCEE",
    "causal": "#AA3377",
    "optimal_transport": "#EE7733",
}
COLOURS = tuple(EXPERTS.values())
MODELS = {
    "single-task": "#7A7A7A",
    "shared-bottom": "#4477AA",
    "mmoe": "#EE6677",
    "ple": "#228833",
}
GREY = "#8A8A8A"
INK = "#6A6A6A"  # reads on a white page and on a black one

STYLE: Any = {  # rcParams
    "axes.edgecolor": GREY,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.figsize": (7.0, 3.4),
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.transparent": True,
    "font.size": 9,
    "grid.color": "#D0D0D0",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "path.simplify": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "ple_study",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
}


def style() -> None:
    """Draw in the palette, on no background, and the same bytes each time."""
    plt.rcParams.update(STYLE)


def matrix(
    axes: Axes,
    values: Float[Tensor, "row column"],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    limits: tuple[float, float] = (-1.0, 1.0),
    colours: str = "RdBu",
) -> QuadMesh:
    """A table of numbers as colours; NaN is left blank."""
    image = axes.pcolormesh(
        values.numpy(), vmin=limits[0], vmax=limits[1], cmap=colours, linewidth=0
    )
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=90)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    return image


def intervals(
    axes: Axes,
    estimates: Mapping[str, tuple[float, float, float]],
    *,
    colour: str = COLOURS[0],
    label: str | None = None,
    shift: float = 0.0,
) -> None:
    """A row a name: (mean, low, high) as a dot on a bar, against a line at zero.

    ``shift`` moves the rows up or down, so that several models can share them.
    """
    means, lows, highs = np.array(list(estimates.values())).T
    rows = np.arange(len(means)) + shift
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    axes.hlines(rows, lows, highs, color=colour, linewidth=1.6)
    axes.plot(means, rows, "o", color=colour, markersize=4, label=label)
    axes.set_yticks(np.arange(len(means)), list(estimates))
    axes.set_ylim(len(means) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def ribbons(
    axes: Axes,
    weights: Float[Tensor, "task expert"],
    experts: Sequence[str],
    tasks: Sequence[str],
    *,
    colours: Sequence[str] = COLOURS,
) -> None:
    """Whom each task hears: a ribbon from expert to task, as wide as its gate weight.

    Rows of ``weights`` sum to one. An expert's bar is as long as all tasks together
    hear it.
    """
    share = weights.numpy().astype(np.float64) / len(tasks)
    right = _stack(share.sum(1), gap=0.012)
    left = _stack(share.sum(0), gap=0.036)
    tops, bottoms = right.copy(), left.copy()
    for task, expert in np.ndindex(*share.shape):
        narrow, wide = (
            _room(side) * float(share[task, expert]) for side in (left, right)
        )
        start, end = bottoms[expert, 0], tops[task, 0]
        axes.add_patch(_ribbon(start, end, narrow, wide, colours[expert]))
        bottoms[expert, 0] -= narrow
        tops[task, 0] -= wide
    for (high, low), name, colour in zip(left, experts, colours, strict=False):
        axes.fill_between([-0.02, 0], low, high, color=colour, linewidth=0)
        axes.text(-0.035, (high + low) / 2, name, color=INK, ha="right", va="center")
    for (high, low), name in zip(right, tasks, strict=True):
        axes.text(1.02, (high + low) / 2, name, color=INK, ha="left", va="center")
    axes.set(xlim=(-0.25, 1.3), ylim=(-0.01, 1.01))
    axes.axis("off")


def _stack(shares: npt.NDArray[np.float64], gap: float) -> npt.NDArray[np.float64]:
    """Intervals (high, low) from one down to zero, in proportion, with gaps between."""
    room = 1 - gap * (len(shares) - 1)
    lows = 1 - np.cumsum(shares * room) - gap * np.arange(len(shares))
    return np.stack([lows + shares * room, lows], axis=1)


def _room(stack: npt.NDArray[np.float64]) -> float:
    return float((stack[:, 0] - stack[:, 1]).sum())


def _ribbon(
    start: float, end: float, narrow: float, wide: float, colour: str
) -> PathPatch:
    """A band from height ``start`` at the left to ``end`` at the right."""
    corners = [
        *((0, start), (0.5, start), (0.5, end), (1, end)),
        *((1, end - wide), (0.5, end - wide), (0.5, start - narrow)),
        *((0, start - narrow), (0, start)),
    ]
    curve = [Path.CURVE4] * 3
    codes = [Path.MOVETO, *curve, Path.LINETO, *curve, Path.CLOSEPOLY]
    return PathPatch(Path(corners, codes), facecolor=colour, alpha=0.55, linewidth=0)
