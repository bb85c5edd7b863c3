"""Is what a model reads, and what it makes of it, as it was? No label is asked for.

::

    monitor = Monitor.of(fitted, study.part("val").batch)
    report = monitor.check(batch)  # of a later day
    report.moved, report.silent

Rows of either batch must be customers drawn one by one: of a customer who stands in
many rows, or of one bad day in a quiet week, the tests here know nothing.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
from torch import Tensor

from ple_study.batch import Batch
from ple_study.data.checks import check_batch, check_shapes
from ple_study.drift import Counts, Edges, chance, counts, holm, quantile_edges
from ple_study.drift import stability_index as index_of
from ple_study.fitted import Fitted
from ple_study.signals import deviations, signals_of

DEAD = 1e-3  # a deviation that is none
SILENT = 0.1  # of the deviation that an expert had


class Kept(NamedTuple):
    """Of a signal: its bins, and how many of the first rows fell into each."""

    edges: Edges
    counts: Counts


@dataclass(frozen=True)
class Report:
    """What ``Monitor.check`` found.

    ``signals`` has a row a signal: its ``kind`` and ``name``, the stability ``index``,
    and ``p``, the chance of so large a difference between rows of one distribution,
    corrected for the number of signals (Holm's rule). ``deviations`` is by expert how
    much its block varies, over how much it did.
    """

    signals: pd.DataFrame
    deviations: dict[str, float]
    alpha: float
    least: float

    @property
    def moved(self) -> pd.DataFrame:
        """The signals whose p is below ``alpha`` and whose index reaches ``least``."""
        far = self.signals["index"] >= self.least
        return self.signals[far & (self.signals["p"] < self.alpha)]

    @property
    def silent(self) -> list[str]:
        """The experts that vary by less than a tenth of what they did, or never.

        No chance is reckoned: among a handful of rows an expert may well seem silent.
        """
        return [name for name, own in self.deviations.items() if own < SILENT]


@dataclass(frozen=True)
class Monitor:
    """What a model read and said of some rows, in counts, to hold later rows against.

    Signals (``signals_of``) are what is read, what experts and gates make of it, and
    what is answered. ``centres`` are the experts' mean blocks, ``spread`` how much each
    varies. Of single customers nothing is kept but the values at which bins meet.
    """

    fitted: Fitted
    kept: dict[tuple[str, str], Kept]
    centres: list[Tensor]
    spread: dict[str, float]

    @classmethod
    def of(cls, fitted: Fitted, batch: Batch, *, bins: int = 10) -> "Monitor":
        """Raises ValueError for a batch of another schema or of fewer rows than bins.

        The rows should be none that the model was trained on: of those it is surer.
        """
        _check_rows(fitted, batch, bins)
        output = fitted.output(batch)
        centres, found = [block.mean(0) for block in output.experts], {}
        for place, values in signals_of(fitted, batch, output, centres):
            edges = quantile_edges(values, bins)
            found[place] = Kept(edges, counts(values, edges))
        return cls(fitted, found, centres, deviations(fitted, output))

    def check(self, batch: Batch, *, alpha: float = 0.01, least: float = 0.1) -> Report:
        """Raises ValueError for a batch of another schema or of fewer than ten rows."""
        _check_rows(self.fitted, batch, 10)
        output = self.fitted.output(batch)
        rows = []
        for place, values in signals_of(self.fitted, batch, output, self.centres):
            edges, had = self.kept[place]
            has = counts(values, edges)
            rows.append((*place, index_of(had, has), chance(had, has)))
        table = pd.DataFrame(rows, columns=["kind", "name", "index", "p"])
        table["p"] = holm(table["p"].tolist())
        now, before = deviations(self.fitted, output), self.spread
        varies = {k: _ratio(now[k], had) for k, had in before.items()}
        return Report(table, varies, alpha, least)


def _ratio(now: float, before: float) -> float:
    """Of an expert that never varied: 0 while it does not, infinity once it does."""
    if before > DEAD:
        return now / before
    return math.inf if now > DEAD else 0.0


def _check_rows(fitted: Fitted, batch: Batch, least: int) -> None:
    if len(batch) < least:
        raise ValueError(
            f"A distribution needs {least} rows or more. Found {len(batch)}."
        )
    check_batch(fitted.schema, batch)
    check_shapes(fitted.schema, batch)
