"""What a model is shown of customers: columns, clusters of them, and their events.

Series, diagrams, hidden states and vectors are derived from events by the code that
real purchases go through; columns were drawn, and clusters are made of columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ple_study.batch import Batch, Diagrams, Events
from ple_study.data.clusters import FittedClusters, GaussianClusters
from ple_study.data.diagrams import Clouds, Persistence, Scale
from ple_study.data.hmm.model import FittedHMM
from ple_study.data.hmm.modes import fit_modes, mode_states
from ple_study.data.hmm.observations import observations
from ple_study.data.series import CHANNELS, daily_series
from ple_study.data.world.blocks import Block, Logs
from ple_study.data.world.customers import (
    STEPS,
    histogram_columns,
    places,
)
from ple_study.data.world.plan import CLUSTER_FIELDS, Plan
from ple_study.data.world.sizes import HISTORY, MONTH, Size
from ple_study.data.world.vectors import VECTORS, FittedVectors, fit_vectors
from ple_study.schema import Feature, Schema, Sequence, TaskSpec

STATES = 10
LONG_EVENTS = (
    64  # of a year that the long diagram looks at: cost grows faster than they
)
SHORT, LONG = "short", "long"


@dataclass(frozen=True)
class Fitted:
    """What is learned from training customers, once for the whole bank."""

    scales: Mapping[str, Scale]
    modes: Mapping[str, FittedHMM]
    clusters: FittedClusters
    vectors: FittedVectors


def schema(size: Size, tasks: tuple[TaskSpec, ...]) -> Schema:
    """Columns, series, diagrams, states, clusters and vectors of a bank."""
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
        vectors=VECTORS,
    )


def fit(plan: Plan, size: Size, train: Block, seed: int) -> Fitted:
    """Learn from training customers what all customers are seen with."""
    spread = torch.from_numpy(train.columns[:, cluster_columns(size)])
    return Fitted(
        scales=scales(train),
        modes=fit_modes(series(plan, train.logs), num_states=STATES, seed=seed),
        clusters=GaussianClusters(size.clusters, seed=seed).fit(spread),
        vectors=fit_vectors(plan, size, train.logs.card, seed),
    )


def scales(train: Block) -> dict[str, Scale]:
    """The units of the clouds, one for all customers."""
    every = np.arange(len(train.who))
    return {k: Scale.fit(cloud, every) for k, cloud in clouds(train.logs).items()}


def batch(plan: Plan, size: Size, block: Block, fitted: Fitted) -> Batch:
    """All fields of these customers, coded from 0."""
    columns, logs = torch.from_numpy(block.columns).float(), block.logs
    return Batch(
        numeric=columns,
        categorical=torch.zeros(len(columns), 0, dtype=torch.int64),
        events=events(size, logs),
        diagrams=diagrams(size, logs, fitted.scales),
        states=mode_states(fitted.modes, series(plan, logs)),
        clusters=fitted.clusters.posteriors(columns[:, cluster_columns(size)]),
        vectors=fitted.vectors.of(plan, size, logs.card),
        customer=torch.arange(len(columns)),
    )


def events(size: Size, logs: Logs) -> dict[str, Events]:
    """Payments and deposits of each day, side by side; sessions of each day."""
    return {
        "txn": daily_series(logs.card, logs.deposit, steps=size.steps[0]),
        "session": daily_series(logs.session, steps=size.steps[1]),
    }


def clouds(logs: Logs) -> dict[str, Clouds]:
    """Sessions by hour and screen; payments by day, amount and hour."""
    card, session = logs.card, logs.session
    short = np.stack([session.hour, session.place], 1)
    long = np.stack([card.day, np.log(card.amount), card.hour], 1)
    return {SHORT: Clouds(short, session.start), LONG: Clouds(long, card.start)}


def diagrams(
    size: Size, logs: Logs, scales: Mapping[str, Scale]
) -> dict[str, Diagrams]:
    """Parts and loops of the sessions; parts, loops and voids of the payments."""
    settings = {
        SHORT: Persistence(size=size.points[0]),
        LONG: Persistence(
            dimensions=(0, 1, 2), size=size.points[1], events=LONG_EVENTS
        ),
    }
    scaled = {k: scales[k].standard(v) for k, v in clouds(logs).items()}
    return {k: v.diagrams(scaled[k]) for k, v in settings.items()}


def series(plan: Plan, logs: Logs) -> dict[str, Events]:
    """What each mode's hidden states are read from.

    journey: minutes, number and screens of the app sessions of each day. lifecycle:
    number and categories of the payments of each month. behavior: their mean size, as
    log(1 + sum) - log(1 + number).
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
