"""Multi-task learning with heterogeneous experts: progressive layered extraction."""
