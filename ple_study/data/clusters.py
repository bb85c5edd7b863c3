"""A Gaussian mixture over customers: what share of each cluster a customer has.

Clusters are learned from the rows handed to ``fit``, the training ones. EM for mixtures
with full covariances: Dempster, Laird and Rubin (1977), as scikit-learn runs it.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor


@dataclass(frozen=True)
class FittedClusters:
    """A fitted mixture. ``sizes`` counts the training rows by likeliest cluster.

    Both methods raise ValueError for values that are not finite and for another
    number of columns.
    """

    mixture: GaussianMixture
    mean: Float[Tensor, " numeric"]
    std: Float[Tensor, " numeric"]
    sizes: tuple[int, ...]

    @property
    def dead(self) -> tuple[int, ...]:
        """The clusters that are the likeliest one of no training row."""
        return tuple(k for k, size in enumerate(self.sizes) if size == 0)

    @property
    def converged(self) -> bool:
        """Whether the best restart stopped rising before its steps ran out."""
        return bool(self.mixture.converged_)

    def posteriors(
        self, numeric: Float[Tensor, "batch numeric"]
    ) -> Float[Tensor, "batch cluster"]:
        """Each cluster's probability given the row; every row sums to one.

        Far from all clusters they are not flat but nearly one-hot: what is unusual
        shows in ``log_density``.
        """
        shares = torch.from_numpy(self.mixture.predict_proba(self._standard(numeric)))
        return shares.to(numeric)

    def log_density(
        self, numeric: Float[Tensor, "batch numeric"]
    ) -> Float[Tensor, " batch"]:
        """Log density of each row, in nats, in the columns' own units."""
        density = torch.from_numpy(self.mixture.score_samples(self._standard(numeric)))
        return (density - self.std.log().sum()).to(numeric)

    def _standard(self, numeric: Tensor) -> NDArray[np.float64]:
        check_numeric(numeric, len(self.mean))
        return ((numeric.detach().cpu().double() - self.mean) / self.std).numpy()


@dataclass(frozen=True)
class GaussianClusters:
    """Settings of a mixture of Gaussians with full covariances.

    The best of ``restarts`` k-means starts is kept. ``variance_floor`` is added to
    each column's variance, in shares of the column's own.
    """

    num_clusters: int = 20
    restarts: int = 3
    iterations: int = 200
    variance_floor: float = 1e-6
    seed: int = 0

    def __post_init__(self) -> None:
        counts = min(self.num_clusters, self.restarts, self.iterations)
        if counts < 1 or self.variance_floor <= 0:
            raise ValueError(
                "num_clusters, restarts and iterations must be 1 or more, "
                f"variance_floor above 0. Found {self}."
            )

    def fit(self, numeric: Float[Tensor, "batch numeric"]) -> FittedClusters:
        """Learn from these rows. Each column is standardised by them.

        Raises ValueError for values that are not finite and for fewer distinct rows
        than clusters. A mixture that did not converge says so in ``converged``.
        """
        check_numeric(numeric)
        rows = numeric.detach().cpu().double()
        distinct = len(torch.unique(rows, dim=0))
        if distinct < self.num_clusters:
            raise ValueError(
                f"num_clusters={self.num_clusters} needs as many distinct rows. "
                f"Found {distinct} in {len(rows)}."
            )
        std, mean = torch.std_mean(rows, dim=0, correction=0)
        # A constant column's deviation is rounding noise, never a unit.
        std = std.masked_fill(std <= 1e-7 * rows.abs().amax(0), 1.0)
        mixture = self._mixture()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            likeliest = mixture.fit_predict(((rows - mean) / std).numpy())
        sizes = torch.bincount(torch.from_numpy(likeliest), minlength=self.num_clusters)
        return FittedClusters(mixture, mean, std, tuple(sizes.tolist()))

    def _mixture(self) -> GaussianMixture:
        return GaussianMixture(
            self.num_clusters,
            n_init=self.restarts,
            max_iter=self.iterations,
            reg_covar=self.variance_floor,
            random_state=self.seed,
        )


def check_numeric(numeric: Tensor, columns: int | None = None) -> None:
    """Raise ValueError unless these are rows of finite numbers, as wide as expected."""
    if numeric.ndim != 2 or 0 in numeric.shape:
        raise ValueError(
            "Rows must be [batch, numeric], neither empty. "
            f"Found {list(numeric.shape)}."
        )
    if columns is not None and numeric.shape[1] != columns:
        raise ValueError(
            f"The clusters were fitted on {columns} columns. Found {numeric.shape[1]}."
        )
    broken = (~numeric.isfinite()).any(1).nonzero()[:, 0]
    if len(broken):
        raise ValueError(
            f"Rows must be finite. Found {len(broken)} that are not, "
            f"first {broken[:5].tolist()}."
        )
