"""What a model is shown of customers: every input derived from their events.

The code is the one that real purchases go through. Only the columns were drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from ple_study.batch import Batch, Diagrams, Events
from ple_study.data.clusters import FittedClusters, GaussianClusters
from ple_study.data.diagrams import Clouds, Persistence, Scale
from ple_study.data.hmm.model import FittedHMM
from ple_study.data.hmm.modes import fit_modes, mode_states
from ple_study.data.hmm.observations import observations
from ple_study.data.log import Log
from ple_study.data.series import CHANNELS, daily_series
from ple_study.data.world.customers import (
    STEPS,
    Columns,
    Customers,
    histogram_columns,
    places,
)
from ple_study.data.world.plan import CLUSTER_FIELDS, Plan
from ple_study.data.world.sizes import HISTORY, MONTH, Size
from ple_study.schema import Feature, Schema, Sequence, TaskSpec

STATES = 10
LONG_EVENTS = (
    64  # of a year that the long diagram looks at: cost grows faster than they
)
SHORT, LONG = "short", "long"


class Logs(NamedTuple):
    """All that customers did before the cut-off."""

    card: Log
    session: Log
    deposit: Log

    def rows(self, index: Int64[np.ndarray, " row"]) -> "Logs":
        """The events of the customers at ``index``, which must rise."""
        return Logs(*(log.rows(index) for log in self))


class Block(NamedTuple):
    """Some customers: their truth, their columns, what they did and what came of it."""

    who: Customers
    columns: Columns
    logs: Logs
    labels: dict[str, Float[np.ndarray, " customer"]]

    def rows(self, index: Int64[np.ndarray, " row"]) -> "Block":
        """The customers at ``index``, which must rise."""
        labels = {name: values[index] for name, values in self.labels.items()}
        logs = self.logs.rows(index)
        return Block(self.who.rows(index), self.columns[index], logs, labels)


@dataclass(frozen=True)
class Fitted:
    """What is learnt from training customers, once for the whole bank."""

    scales: Mapping[str, Scale]
    modes: Mapping[str, FittedHMM]
    clusters: FittedClusters


def schema(size: Size, tasks: tuple[TaskSpec, ...]) -> Schema:
    """Columns, series, diagrams, states and clusters of a bank of this size."""
    shares = set(histogram_columns(size))
    names = [(f, k) for f, width in size.fields.items() for k in range(width)]
    txn = tuple(f"{kind}_{name}" for kind in ("card", "deposit") for name in CHANNELS)
    return Schema(
        features=tuple(
            Feature(
                name=f"{field}_{k:02d}",
                kind="probability" if column in shares else "numeric",
                group=field,
            )
            for column, (field, k) in enumerate(names)
        ),
        tasks=tasks,
        sequences=(
            Sequence(name="txn", steps=size.steps[0], channels=txn),
            Sequence(name="session", steps=size.steps[1], channels=CHANNELS),
        ),
        diagrams=(SHORT, LONG),
        states=(len(STEPS), STATES + 6),
        clusters=size.clusters,
    )


def fit(plan: Plan, size: Size, train: Block, seed: int) -> Fitted:
    """Learn scales, hidden states and clusters from training customers."""
    every = np.arange(len(train.who))
    spread = torch.from_numpy(train.columns[:, cluster_columns(size)])
    found = clouds(train.logs).items()
    return Fitted(
        scales={name: Scale.fit(cloud, every) for name, cloud in found},
        modes=fit_modes(series(plan, train.logs), num_states=STATES, seed=seed),
        clusters=GaussianClusters(size.clusters, seed=seed).fit(spread),
    )


def batch(plan: Plan, size: Size, block: Block, fitted: Fitted) -> Batch:
    """All fields of these customers, coded from 0."""
    columns, logs = torch.from_numpy(block.columns).float(), block.logs
    return Batch(
        numeric=columns,
        categorical=torch.zeros(len(columns), 0, dtype=torch.int64),
        events={
            "txn": daily_series(logs.card, logs.deposit, steps=size.steps[0]),
            "session": daily_series(logs.session, steps=size.steps[1]),
        },
        diagrams=diagrams(size, logs, fitted),
        states=mode_states(fitted.modes, series(plan, logs)),
        clusters=fitted.clusters.posteriors(columns[:, cluster_columns(size)]),
        customer=torch.arange(len(columns)),
    )


def clouds(logs: Logs) -> dict[str, Clouds]:
    """Sessions by hour and length; payments by day, amount and hour."""
    card, session = logs.card, logs.session
    short = np.stack([session.hour, np.log(session.amount)], 1)
    long = np.stack([card.day, np.log(card.amount), card.hour], 1)
    return {SHORT: Clouds(short, session.start), LONG: Clouds(long, card.start)}


def diagrams(size: Size, logs: Logs, fitted: Fitted) -> dict[str, Diagrams]:
    """Parts and loops of the sessions; parts, loops and voids of the payments."""
    settings = {
        SHORT: Persistence(size=size.points[0]),
        LONG: Persistence(
            dimensions=(0, 1, 2), size=size.points[1], events=LONG_EVENTS
        ),
    }
    scaled = {k: fitted.scales[k].standard(v) for k, v in clouds(logs).items()}
    return {k: v.diagrams(scaled[k]) for k, v in settings.items()}


def series(plan: Plan, logs: Logs) -> dict[str, Events]:
    """What each mode's hidden states are read from.

    journey: minutes, number and screens of the app sessions of each day. lifecycle:
    number and categories of the payments of each month. behavior: their mean size.
    """
    card, session = logs.card, logs.session
    screens = np.arange(session.num_places + 1) - 1
    categories = np.concatenate([[-1], plan.leaves[:, 1]])
    journey = observations(
        session.visits, screens, cutoff=HISTORY, days=STEPS["journey"]
    )
    monthly = observations(
        card.visits, categories, cutoff=HISTORY, days=HISTORY, period=MONTH
    )
    amount, count = monthly.values[..., :1], monthly.values[..., 1:2]
    return {
        "journey": journey,
        "lifecycle": Events(monthly.values[..., 1:], monthly.mask),
        "behavior": Events(amount - count, monthly.mask),
    }


def cluster_columns(size: Size) -> Int[Tensor, " column"]:
    """The columns in which customers form clusters."""
    first = places(size)
    parts = [
        torch.arange(first[name], first[name] + size.fields[name])
        for name in CLUSTER_FIELDS
    ]
    return torch.cat(parts)
