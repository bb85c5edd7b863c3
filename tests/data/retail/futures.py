"""Other futures for the shop: all lines from a day on shuffled, gone or larger."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from tests.data.retail.made import DAY, ORIGIN

Future = Callable[[pd.DataFrame, int], pd.DataFrame]


def _parts(raw: pd.DataFrame, day: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    late = (raw["InvoiceDate"] >= ORIGIN + day * DAY).to_numpy()
    return raw[~late], raw[late]


def shuffled(raw: pd.DataFrame, day: int) -> pd.DataFrame:
    """Who bought what, when, for how much: every column dealt out anew.

    Sales and returns each among themselves, so that they stay possible.
    """
    before, after = _parts(raw, day)
    rng, parts = np.random.default_rng(day), [before]
    for part in (after[after["Quantity"] > 0], after[after["Quantity"] < 0]):
        dealt = {c: part[c].to_numpy()[rng.permutation(len(part))] for c in part}
        parts.append(pd.DataFrame(dealt).astype(part.dtypes))
    frame = pd.concat(parts)
    return frame.sort_values("InvoiceDate", kind="stable", ignore_index=True)


def deleted(raw: pd.DataFrame, day: int) -> pd.DataFrame:
    """All of them gone."""
    return _parts(raw, day)[0]


def multiplied(raw: pd.DataFrame, day: int) -> pd.DataFrame:
    """Three times the pieces and the price, each line twice, and other words for it."""
    before, after = _parts(raw, day)
    larger = after.assign(
        Quantity=after["Quantity"] * 3,
        UnitPrice=after["UnitPrice"] * 3,
        Description="GRAND TEA LAMP",
        Country="Iceland",
    )
    frame = pd.concat([before, larger, larger])
    return frame.sort_values("InvoiceDate", kind="stable", ignore_index=True)


FUTURES: dict[str, Future] = {
    "shuffled": shuffled,
    "deleted": deleted,
    "multiplied": multiplied,
}
