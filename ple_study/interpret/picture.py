"""One answer as a picture: from all experts at their average to it, a bar an expert.

::

    with plt.rc_context(plots.STYLE):
        axes = plt.subplots()[1]
        waterfall(axes, found, 0, "churn")
    alt(found, 0, "churn")  # for who cannot see it
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes

from ple_study.interpret.contributions import Contributions
from ple_study.interpret.margins import logit
from ple_study.interpret.wording import PLAIN, SOURCES, Case, Wording, case, shown
from ple_study.plots import COLOURS, EXPERTS, GREY, INK

LOW = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
TICKS = (*LOW, *(1 - p for p in reversed(LOW[:-1])))
MOST = 6  # ticks


def waterfall(
    axes: Axes,
    found: Contributions,
    row: int,
    task: str,
    *,
    wording: Wording = PLAIN,
    sources: Mapping[str, str] = SOURCES,
) -> None:
    """Bars from the answer to averages to the answer itself, the strongest first.

    A bar is as long as the Shapley value: log-odds, which the axis names by their
    probabilities, or the unit of a regression. Experts have the palette's colours; one
    that had nothing to read is hatched. Raises ValueError as ``wording.case`` does.
    """
    one = case(found, row, task, sources)
    said = partial(shown, one.task, unit=wording.unit)
    at, ends = one.base, [one.base]
    for height, i in enumerate(one.order):
        look: dict[str, Any] = {
            "color": EXPERTS.get(found.experts[i], COLOURS[i % len(COLOURS)]),
            "hatch": None if one.present[i] else "////",
        }
        axes.barh(height, one.raw[i], left=at, height=0.7, **look)
        at += one.raw[i]
        ends.append(at)
        axes.plot((at, at), (height - 0.35, height + 1.35), color=GREY, lw=0.7)
    _scale(axes, one, ends, wording.unit)
    last = len(one.raw)
    _end(axes, -1, one.base, f"every source at its average: {said(one.base)}")
    _end(axes, last, one.full, f"answer: {said(one.full)}")
    axes.axvline(one.base, color=GREY, lw=0.7, zorder=0)
    axes.set_yticks(range(last), [one.names[i] for i in one.order])
    axes.set_ylim(last + 0.7, -1.7)
    axes.tick_params(axis="both", labelcolor=INK)
    axes.tick_params(axis="y", length=0)
    axes.set_title(wording.subject(one.task, one.chosen), color=INK)


def _end(axes: Axes, height: int, value: float, text: str) -> None:
    """A dot, and its words on the side where there is room."""
    right = value > sum(axes.get_xlim()) / 2
    axes.plot(value, height, "o", color=INK, ms=4)
    axes.annotate(
        text,
        (value, height),
        (-6 if right else 6, 0),
        textcoords="offset points",
        color=INK,
        ha="right" if right else "left",
        va="center",
    )


def _scale(axes: Axes, one: Case, ends: Sequence[float], unit: str) -> None:
    room = (max(ends) - min(ends)) or one.task.scale[1]
    low, high = min(ends) - 0.08 * room, max(ends) + 0.08 * room
    axes.set_xlim(low, high)
    if one.task.kind == "regression":
        axes.set_xlabel(unit, color=INK)
        return
    kept: list[float] = []
    for p in TICKS:
        far = not kept or logit(p) - kept[-1] >= (high - low) / MOST
        if low <= logit(p) <= high and far:
            kept.append(logit(p))
    places = kept if len(kept) > 1 else [one.base, one.full]
    axes.set_xticks(places, [shown(one.task, place) for place in places])
    axes.set_xlabel("probability", color=INK)


def alt(
    found: Contributions,
    row: int,
    task: str,
    *,
    wording: Wording = PLAIN,
    sources: Mapping[str, str] = SOURCES,
) -> str:
    """What ``waterfall`` shows, in words."""
    one = case(found, row, task, sources)
    base, full = (shown(one.task, z, wording.unit) for z in (one.base, one.full))
    bars = [
        f"{one.names[i]}{'' if one.present[i] else ' (nothing available)'} "
        f"{'up' if one.raw[i] > 0 else 'down' if one.raw[i] < 0 else 'nowhere'}, "
        f"{round(100 * one.share[i])} %"
        for i in one.order
    ]
    return (
        f"Bars for {wording.subject(one.task, one.chosen)}, from {base} with every "
        f"source at its average to the answer, {full}. Direction and share of all "
        f"pushes, the strongest first: {'; '.join(bars)}."
    )
