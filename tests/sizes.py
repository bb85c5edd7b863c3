"""Sizes for tests, all different, so that no two axes can be swapped unseen."""

BATCH, TASKS, EXPERTS = 5, 3, 4
DIMS = (6, 7, 8)
