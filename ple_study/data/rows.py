"""Rows of a table of events: the first that breaks a rule is named."""

import numpy as np


def check_rows(good: np.ndarray, values: np.ndarray, wanted: str) -> None:
    """Raise ValueError with what is wanted and the first row that is not good."""
    if not good.all():
        row = int(good.argmin())
        raise ValueError(f"{wanted} Found {values[row]} in row {row}.")
