"""A hierarchy of merchants in hyperbolic space, and customers in it."""

from ple_study.experts.hgcn.expert import HGCNExpert, HGCNSpec

__all__ = ["HGCNExpert", "HGCNSpec"]
