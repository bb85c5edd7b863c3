"""The households through the other lenses: shape, states, clusters, graph and tree.

Whatever is learned (units and ranks of the clouds, hidden Markov models, clusters, and
places in graph and tree) is learned from what was known at the training cut-offs, and
read off each row's own past.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ple_study.data.clusters import FittedClusters, GaussianClusters
from ple_study.data.hmm.modes import fit_modes, mode_states
from ple_study.data.journey.clouds import diagrams
from ple_study.data.journey.modes import VIEWS, View, series
from ple_study.data.journey.snapshots import Snapshot, training_rows
from ple_study.data.journey.vectors import BALL, GRAPH, vectors
from ple_study.data.loader import Study
from ple_study.names import one_of

Lens = Literal["diagrams", "states", "clusters", "vectors"]
LENSES: tuple[Lens, ...] = get_args(Lens)
CLUSTERED = ("rfm",)  # feature groups: 37 columns on how lately, how often, how much


def check_lenses(lenses: Collection[str]) -> None:
    """Raise ValueError unless every lens is one of ``LENSES``."""
    for lens in lenses:
        one_of("A lens", lens, LENSES)


def with_lenses(
    study: Study,
    shots: Sequence[Snapshot],
    lenses: Collection[Lens],
    *,
    views: Mapping[str, View] = VIEWS,
    seed: int = 0,
) -> Study:
    """The same study with these fields of ``Batch`` filled too.

    diagrams: "short" and "long" (see ``clouds``). states: one row of 16 numbers a mode,
    journey, lifecycle, behavior (see ``modes``). clusters: 20 posteriors. vectors: 64
    numbers "graph" and 47 "hierarchy" (see ``vectors``). ``views`` are the modes;
    ``seed`` is that of the fits behind states, clusters and vectors.

    Raises ValueError for a lens of another name.
    """
    check_lenses(lenses)
    found: dict[str, Any] = {}
    if "diagrams" in lenses:
        found["diagrams"] = diagrams(shots)
    if "states" in lenses:
        found["states"] = states(shots, views, seed)
    if "clusters" in lenses:
        found["clusters"] = clusters(study, seed).posteriors(clustered(study))
    if "vectors" in lenses:
        graph, ball = replace(GRAPH, seed=seed), replace(BALL, seed=seed)
        found["vectors"] = vectors(shots, graph, ball)
    return study.with_inputs(**found)


def states(
    shots: Sequence[Snapshot], views: Mapping[str, View] = VIEWS, seed: int = 0
) -> Float[Tensor, "batch mode state"]:
    """Three modes of hidden states, 10 + 6 numbers each."""
    seen = series(shots, views)
    train = torch.from_numpy(training_rows(shots))
    known = {name: events.rows(train) for name, events in seen.items()}
    fitted = fit_modes(known, seed=seed)
    return mode_states(fitted, seen)


def clusters(study: Study, seed: int = 0) -> FittedClusters:
    """Twenty clusters of the training rows; ``dead`` names those that hold none.

    They see the group ``rfm``. On all columns a full covariance has more entries than
    there are training rows to a cluster.
    """
    return GaussianClusters(seed=seed).fit(clustered(study)[study.split["train"]])


def clustered(study: Study) -> Float[Tensor, "batch numeric"]:
    """The columns that clusters are made of."""
    groups = [feature.group for feature in study.schema.numeric]
    columns = [i for i, group in enumerate(groups) if group in CLUSTERED]
    return study.rows.batch.numeric[:, columns]
