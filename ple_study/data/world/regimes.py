"""Hidden regimes of customers: chains at their time scales, drawn all at once.

The chains are those that the thread starts its hidden Markov models with.
"""

import numpy as np
from jaxtyping import Float, Int

CHAINS = {
    "journey": np.array(
        [
            [0.60, 0.30, 0.08, 0.015, 0.005],
            [0.10, 0.50, 0.30, 0.08, 0.02],
            [0.05, 0.10, 0.50, 0.30, 0.05],
            [0.02, 0.05, 0.15, 0.60, 0.18],
            [0.01, 0.02, 0.07, 0.20, 0.70],
        ]
    ),
    "lifecycle": np.array(
        [
            [0.40, 0.45, 0.10, 0.04, 0.01],
            [0.05, 0.50, 0.35, 0.08, 0.02],
            [0.01, 0.10, 0.70, 0.15, 0.04],
            [0.02, 0.05, 0.15, 0.50, 0.28],
            [0.05, 0.03, 0.02, 0.10, 0.80],
        ]
    ),
    "behavior": np.array(
        [
            [0.70, 0.15, 0.08, 0.04, 0.02, 0.01],
            [0.10, 0.60, 0.20, 0.05, 0.03, 0.02],
            [0.05, 0.15, 0.55, 0.15, 0.07, 0.03],
            [0.03, 0.10, 0.20, 0.50, 0.12, 0.05],
            [0.05, 0.15, 0.25, 0.15, 0.35, 0.05],
            [0.02, 0.08, 0.15, 0.10, 0.05, 0.60],
        ]
    ),
}


def stationary(chain: Float[np.ndarray, "state state"]) -> Float[np.ndarray, " state"]:
    """The shares that a step of the chain leaves as they are."""
    size = len(chain)
    # p (A - I) = 0 and sum p = 1, by least squares
    system = np.vstack([chain.T - np.eye(size), np.ones(size)])
    share: Float[np.ndarray, " state"] = np.linalg.lstsq(
        system, np.append(np.zeros(size), 1.0)
    )[0]
    return share


def paths(
    chain: Float[np.ndarray, "state state"],
    customers: int,
    steps: int,
    rng: np.random.Generator,
) -> Int[np.ndarray, "customer step"]:
    """A path for each customer, begun in the stationary distribution."""
    rows = chain / chain.sum(1, keepdims=True)
    limits = np.cumsum(rows, axis=1)[:, :-1]
    start = np.cumsum(stationary(rows))[:-1]
    drawn = rng.random((steps, customers))
    path = np.empty((customers, steps), dtype=np.int64)
    path[:, 0] = np.searchsorted(start, drawn[0])
    for step in range(1, steps):
        path[:, step] = (drawn[step][:, None] > limits[path[:, step - 1]]).sum(1)
    return path
