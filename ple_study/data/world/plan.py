"""What is the same for all customers of a bank: the truth that its seed plants."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from ple_study.data.graphs.tree import Tree, from_columns
from ple_study.data.world.regimes import CHAINS, stationary
from ple_study.data.world.sizes import Size
from ple_study.data.world.tasks import (
    MODES,
    Task,
)

Rng = np.random.Generator
CROSSED = (  # pairs of fields whose first columns multiply: half for each factor
    ("rfm", "campaign"),
    ("category_1", "income"),
    ("category_2", "mamba"),
    ("category_3", "behavior"),
    ("category_4", "overseas"),
    ("multidisciplinary", "merchant"),
    ("phase_transition", "consultation"),
    ("model_derived", "other_channel"),
)
CAUSAL_FIELDS = ("deposit", "investment", "credit", "digital", "product")
CLUSTER_FIELDS = ("membership", "insurance")
PERSONA_FIELDS = ("transactions", "temporal")


@dataclass(frozen=True)
class Plan:
    """Merchants, columns and effects, all drawn once from the seed.

    tree: the merchants' hierarchy; merchant m is the m-th leaf, counted from 1.
    leaves: top category, category, and brand in its category of each merchant.
    branch: where each top category lies on the circle of tastes that HGCN can read.
    taste: where each brand of a category lies in the plane that LightGCN can read;
    each has its opposite, so that opposite customers spread over brands alike.
    dag: ``dag[i, j]`` is the effect of node i on node j; ``shocked`` are the two nodes
    whose own shocks carry signal.
    personas: by histogram, the distributions between which customers lie.
    centres: of the clusters, in the columns of CLUSTER_FIELDS.
    regime_effect, cluster_effect: what a state and a cluster add to each task.
    classes: by task of several classes, the share of each class.
    loadings: how the columns of a field go together where nothing else is planted.
    """

    tree: Tree
    leaves: Int[np.ndarray, "merchant 3"]
    branch: Float[np.ndarray, "category 2"]
    taste: Float[np.ndarray, "brand 2"]
    dag: Float[np.ndarray, "node node"]
    shocked: tuple[int, int]
    personas: tuple[Float[np.ndarray, "2 size"], Float[np.ndarray, "2 hour"]]
    centres: Float[np.ndarray, "cluster coordinate"]
    cluster_shares: Float[np.ndarray, " cluster"]
    regime_effect: Mapping[str, Float[np.ndarray, "task _ 2"]]
    cluster_effect: Float[np.ndarray, "task cluster 2"]
    classes: Mapping[str, Float[np.ndarray, " _"]]
    loadings: Float[np.ndarray, "common column"]


def plan(size: Size, table: tuple[Task, ...], rng: Rng) -> Plan:
    """Draw a bank; the same generator and size give the same bank."""
    leaves = _leaves(size)
    tops, _, brands = size.branches
    dag = _dag(len(CAUSAL_FIELDS) * size.nodes, rng)
    width = sum(size.fields[name] for name in CLUSTER_FIELDS)
    turn = 2 * np.pi * rng.permutation(tops) / tops
    shares = rng.dirichlet(np.full(size.clusters, 8.0))
    return Plan(
        tree=_merchants(leaves),
        leaves=leaves,
        branch=np.stack([np.cos(turn), np.sin(turn)], 1),
        taste=_tastes(brands, rng),
        dag=dag,
        shocked=_shocked(dag),
        personas=(_personas(size.bins[0]), _personas(size.bins[1])),
        centres=1.5 * rng.normal(size=(size.clusters, width)),
        cluster_shares=shares,
        regime_effect={
            mode: _effects(len(table), stationary(CHAINS[mode]), rng)
            for mode in dict.fromkeys(MODES.values())
        },
        cluster_effect=_effects(len(table), shares, rng),
        classes={
            task.spec.name: rng.dirichlet(np.full(task.spec.classes, 8.0))
            for task in table
            if task.spec.classes > 1
        },
        loadings=rng.normal(size=(3, sum(size.fields.values()))) / np.sqrt(3),
    )


def _leaves(size: Size) -> Int[np.ndarray, "merchant 3"]:
    _, middles, brands = size.branches
    code = np.arange(np.prod(size.branches))
    return np.stack([code // (middles * brands), code // brands, code % brands], 1)


def _merchants(leaves: Int[np.ndarray, "merchant 3"]) -> Tree:
    """Root, top categories, categories, brands: every category has as many brands."""
    levels = {
        "top": [f"T{code:02d}" for code in leaves[:, 0]],
        "category": [f"C{code:03d}" for code in leaves[:, 1]],
        "brand": [f"M{code:04d}" for code in range(len(leaves))],
    }
    return from_columns(pd.DataFrame(levels))


def _tastes(brands: int, rng: Rng) -> Float[np.ndarray, "brand 2"]:
    """White over the brands, the second half opposite the first."""
    half = rng.normal(size=(brands // 2, 2))
    return _white(np.concatenate([half, -half]), np.full(brands, 1 / brands))


def _dag(nodes: int, rng: Rng) -> Float[np.ndarray, "node node"]:
    """The second node has the first as its cause, each later one two before it."""
    order, dag = rng.permutation(nodes), np.zeros((nodes, nodes))
    for place in range(1, nodes):
        causes = rng.choice(place, size=min(place, 2), replace=False)
        weight = rng.choice([-1, 1], len(causes)) * rng.uniform(0.7, 1.3, len(causes))
        dag[order[causes], order[place]] = weight
    return dag


def _shocked(dag: Float[np.ndarray, "node node"]) -> tuple[int, int]:
    """The two nodes with causes whose own shock is the smallest part of them."""
    spread = np.linalg.inv(np.eye(len(dag)) - dag)
    variance = (spread**2).sum(0)
    first, second = np.argsort(-variance)[:2].tolist()
    return first, second


def _personas(bins: int) -> Float[np.ndarray, "2 bin"]:
    """Two peaks far apart, and one peak in the middle: their means are the same."""
    place = (np.arange(bins) + 0.5) / bins
    peak = [np.exp(-0.5 * ((place - at) / 0.06) ** 2) for at in (0.15, 0.85, 0.5)]
    both = np.stack([peak[0] + peak[1], peak[2]])
    return both / both.sum(1, keepdims=True)


def _effects(
    num_tasks: int, shares: Float[np.ndarray, " kind"], rng: Rng
) -> Float[np.ndarray, "task kind 2"]:
    """What each kind of customer adds to each task, white over all customers."""
    effect = rng.normal(size=(num_tasks, len(shares), 2))
    return np.stack([_white(values, shares) for values in effect])


def _white(
    values: Float[np.ndarray, "kind 2"], shares: Float[np.ndarray, " kind"]
) -> Float[np.ndarray, "kind 2"]:
    """Both columns with mean 0, variance 1 and no correlation, each row so often."""
    centred = values - shares @ values
    covariance = np.einsum("ki,kj,k->ij", centred, centred, shares)
    white: Float[np.ndarray, "kind 2"]
    white = centred @ np.linalg.inv(np.linalg.cholesky(covariance)).T
    return white
