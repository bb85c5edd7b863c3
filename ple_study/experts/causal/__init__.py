"""Latent causes that act on each other, and named ones that can be acted on."""

from ple_study.experts.causal.expert import Causal, CausalSpec

__all__ = ["Causal", "CausalSpec"]
