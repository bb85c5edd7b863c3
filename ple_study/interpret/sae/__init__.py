"""A sparse autoencoder on what the shared experts say, to read it by.

``sae, history = fit_sae(fitted.output(batch).experts, seed=0)``, and then
``report(sae, fitted.output(others).experts)``.
"""

from ple_study.interpret.sae.autoencoder import (
    Coded,
    SAESpec,
    SparseAutoencoder,
    sae_loss,
)
from ple_study.interpret.sae.fitting import FittedSAE, fit_sae
from ple_study.interpret.sae.quality import SAEReport, max_cosines, report, seed_match

__all__ = [
    "Coded",
    "FittedSAE",
    "SAEReport",
    "SAESpec",
    "SparseAutoencoder",
    "fit_sae",
    "max_cosines",
    "report",
    "sae_loss",
    "seed_match",
]
