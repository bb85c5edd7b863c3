"""Series of events, read three ways: selective scan, liquid cell, patches."""

from ple_study.experts.temporal.expert import TemporalExpert, TemporalSpec

__all__ = ["TemporalExpert", "TemporalSpec"]
