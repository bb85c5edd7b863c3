"""Persistence diagrams, read point by point by learned templates."""

from ple_study.experts.perslay.expert import PersLay, PersLaySpec

__all__ = ["PersLay", "PersLaySpec"]
