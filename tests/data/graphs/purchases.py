"""Small random purchases for tests of graphs: no two sizes are alike."""

import numpy as np
import pandas as pd

from ple_study.data.graphs.visits import Merchants, Visits, visits

CUSTOMERS, DAYS, EVENTS = 11, 41, 173  # customer 10 never buys
SHOPS = tuple("bakery cinema florist garage kiosk museum tavern".split())
KEYS = (*SHOPS, "zoo")  # which nobody visits
CUTOFF = 50


def random_events(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    values = {
        "customer": rng.integers(0, CUSTOMERS - 1, EVENTS),
        "merchant": rng.choice(SHOPS, EVENTS),
        "day": rng.integers(CUTOFF - DAYS, CUTOFF, EVENTS),
        "amount": rng.gamma(2.0, 10.0, EVENTS),
    }
    return pd.DataFrame(values)


def seen(
    events: pd.DataFrame, keys: tuple[str, ...] = KEYS, customers: int = CUSTOMERS
) -> Visits:
    return visits(events, Merchants(pd.Index(keys)), customers, CUTOFF)
