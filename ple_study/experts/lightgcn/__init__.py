"""Who buys where others buy: a graph of customers and merchants."""

from ple_study.experts.lightgcn.expert import LightGCN, LightGCNExpert, LightGCNSpec

__all__ = ["LightGCN", "LightGCNExpert", "LightGCNSpec"]
