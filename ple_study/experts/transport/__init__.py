"""Histograms, and how far mass must be carried between them."""

from ple_study.experts.transport.expert import OptimalTransport, OptimalTransportSpec

__all__ = ["OptimalTransport", "OptimalTransportSpec"]
