"""Fields of a table, crossed in pairs and read by a deep branch."""

from ple_study.experts.deepfm.expert import DeepFM, DeepFMSpec

__all__ = ["DeepFM", "DeepFMSpec"]
