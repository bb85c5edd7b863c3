"""What there is to predict about a customer that the households do not have."""

import numpy as np

from ple_study.data.journey.features import MONTH, share
from ple_study.data.journey.labels import View, best
from ple_study.data.journey.tables import Array, Codes
from ple_study.data.journey.windows import Window, total
from ple_study.data.retail.tables import returned

CYCLE = (7.0, 10.0, 14.0, 18.0, 24.0, 32.0)  # days: upper edges, inclusive
PRODUCTS = 200


def cvr(view: View) -> Array:
    """1 where a product is bought that the shop has had for 28 days and she has not."""
    cutoff, size = view.past.stop, view.past.size
    lines = Window(view.past.purchases, 0, cutoff).lines
    first = lines.drop_duplicates("product")
    new = np.zeros(len(view.past.purchases.names["product"]), dtype=bool)
    new[first["product"][first["day"] >= cutoff - MONTH]] = True
    after = view.after.lines
    fresh = new[after["product"]] & ~_had(view)
    return (total(after[fresh], size) > 0).astype(np.float64)


def _had(view: View) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Of each line after the cut-off, whether the product was bought in the past."""
    before, after = (_pairs(window) for window in (view.past, view.after))
    return np.isin(after, before)


def _pairs(window: Window) -> Codes:
    num = len(window.purchases.names["product"])
    lines = window.lines
    pair: Codes = lines["household"].to_numpy() * num + lines["product"].to_numpy()
    return pair


def balance_util(view: View) -> Array:
    """Pounds of goods taken back, over these and the pounds bought."""
    back = total(returned(view.after), view.past.size, "sales")
    moved = back + view.after.lines_sum("sales")
    return np.where(moved > 0, share(back, moved), np.nan)


def brand_prediction(view: View) -> Array:
    return best(view, "product", PRODUCTS, view.after.lines)


def merchant_affinity(view: View) -> Array:
    """Share of the pounds that goes to products bought in the past."""
    known = total(view.after.lines[_had(view)], view.past.size, "sales")
    spent = view.after.lines_sum("sales")
    return np.where(spent > 0, share(known, spent), np.nan)
