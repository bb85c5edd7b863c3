"""Whether the planted signal can be read: by its own lens, and by nothing else.

Each lens has a reading of its own: two numbers a customer, computed by whoever knows
the bank's plan from nothing but that lens's input. What a model could know at best is
near it.
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ple_study.batch import Batch, Diagrams
from ple_study.data.graphs.visits import Visits, bipartite
from ple_study.data.world.bank import Bank, split
from ple_study.data.world.customers import causal_columns, places
from ple_study.data.world.plan import CROSSED, PERSONA_FIELDS, Plan
from ple_study.data.world.sizes import Size
from ple_study.data.world.tasks import (
    CAUSAL,
    DEEPFM,
    HGCN,
    LENSES,
    LIGHTGCN,
    PERSLAY,
    TEMPORAL,
    TRANSPORT,
)

Reading = Float[np.ndarray, "customer 2"]
Signs = Bool[np.ndarray, " customer"]
IN_COLUMNS = (DEEPFM, CAUSAL, TRANSPORT)


def readings(bank: Bank, number: int) -> dict[str, Reading]:
    """The reading of each lens for the customers of a block."""
    plan, size = bank.plan, bank.widths
    block, batch = bank.block(number), bank.rows(number).batch
    columns = block.columns
    return {
        HGCN: _tastes(block.logs.card.visits, plan.branch[plan.leaves[:, 0]]),
        PERSLAY: _shapes(batch),
        DEEPFM: _crosses(columns, size),
        TEMPORAL: _trends(batch),
        LIGHTGCN: _tastes(block.logs.card.visits, plan.taste[plan.leaves[:, 2]]),
        CAUSAL: _shocks(columns, plan, size),
        TRANSPORT: _ways(columns, plan, size),
    }


def probes(bank: Bank, blocks: int = 3) -> pd.DataFrame:
    """How well each planted factor is read: areas under the ROC curve of its sign.

    own: by the reading of its lens. other: by the best reading of any other lens.
    linear, boosted: by logistic regression and by boosted trees on all columns. All are
    measured on customers on whom the two were not trained.
    """
    numbers = range(min(blocks, len(bank)))
    made = [bank.block(number) for number in numbers]
    columns = np.concatenate([block.columns for block in made])
    factors = np.concatenate([block.who.factors for block in made])
    parts = [readings(bank, number) for number in numbers]
    read = {lens: np.concatenate([part[lens] for part in parts]) for lens in LENSES}
    train = np.zeros(len(columns), dtype=bool)
    train[split(len(columns))["train"].numpy()] = True
    rows = []
    for place, lens in enumerate(LENSES):
        for factor in range(2):
            sign = factors[:, place, factor] > 0
            rows.append({"lens": lens, "factor": factor})
            rows[-1] |= _by_readings(sign[~train], read, lens, factor, ~train)
            rows[-1] |= _by_models(sign, columns, train)
    return pd.DataFrame(rows)


def _by_readings(
    sign: Signs,
    read: dict[str, Reading],
    lens: str,
    factor: int,
    among: Signs,
) -> dict[str, float]:
    others = [
        value[among, k] for name, value in read.items() if name != lens for k in (0, 1)
    ]
    return {
        "own": _area(sign, read[lens][among, factor]),
        "other": max(_area(sign, value) for value in others),
    }


def _by_models(
    sign: Signs, columns: Float[np.ndarray, "customer column"], train: Signs
) -> dict[str, float]:
    models = {
        "linear": make_pipeline(StandardScaler(), LogisticRegression(C=0.01)),
        "boosted": HistGradientBoostingClassifier(max_iter=60, random_state=0),
    }
    found = {}
    for name, model in models.items():
        model.fit(columns[train], sign[train])
        chance = model.predict_proba(columns[~train])[:, 1]
        found[name] = float(roc_auc_score(sign[~train], chance))
    return found


def _area(sign: Signs, value: Float[np.ndarray, " customer"]) -> float:
    """The area under the curve, whichever way the value points."""
    area = float(roc_auc_score(sign, value))
    return max(area, 1 - area)


def _tastes(visits: Visits, position: Float[np.ndarray, "merchant 2"]) -> Reading:
    """Where the merchants lie that a customer visits, on average."""
    counts = bipartite(visits).to_dense()[:, 1:].numpy()
    return counts @ position / np.maximum(counts.sum(1, keepdims=True), 1)


def _trends(batch: Batch) -> Reading:
    """The slope of the payments' size over the days; the mean day of the sessions."""
    txn, session = batch.events["txn"].values, batch.events["session"].values
    count, size = txn[..., 0].expm1().double(), txn[..., 2].double()
    day = torch.linspace(-0.5, 0.5, txn.shape[1], dtype=torch.float64)
    number = count.sum(1, keepdim=True).clamp(min=1)
    centred = day - (count * day).sum(1, keepdim=True) / number
    slope = (count * centred * size).sum(1) / (count * centred**2).sum(1).clamp(min=1)
    visits = session[..., 0].expm1().double()
    late = torch.linspace(-0.5, 0.5, visits.shape[1], dtype=torch.float64)
    mean = (visits * late).sum(1) / visits.sum(1).clamp(min=1)
    return torch.stack([slope, mean], 1).numpy()


def _shapes(batch: Batch) -> Reading:
    """The longest life of a loop; how unequal the lives of parts are."""
    loop = _lives(batch.diagrams["short"], 1).amax(1)
    parts = _lives(batch.diagrams["long"], 0)
    number = (parts > 0).sum(1).clamp(min=1)
    mean = parts.sum(1) / number
    spread = ((parts**2).sum(1) / number - mean**2).clamp(min=0).sqrt()
    return torch.stack([loop, spread / mean.clamp(min=1e-6)], 1).double().numpy()


def _lives(diagrams: Diagrams, homology: int) -> torch.Tensor:
    birth, death, kind = diagrams.points.unbind(2)
    return (death - birth) * (diagrams.mask & (kind == homology))


def _crosses(columns: np.ndarray, size: Size) -> Reading:
    """Sums of the products of crossed columns."""
    first = places(size)
    pairs = [columns[:, first[a]] * columns[:, first[b]] for a, b in CROSSED]
    return np.stack(pairs, 1).reshape(len(columns), 2, -1).sum(2)


def _shocks(columns: np.ndarray, plan: Plan, size: Size) -> Reading:
    """What the causes of a node do not explain of it."""
    nodes = columns[:, causal_columns(size)]
    return (nodes - nodes @ plan.dag)[:, plan.shocked]


def _ways(columns: np.ndarray, plan: Plan, size: Size) -> Reading:
    """How much nearer a histogram is to one persona than to the other, by W1."""
    first, read = places(size), []
    for axis, name in enumerate(PERSONA_FIELDS):
        upto = columns[:, first[name] : first[name] + size.bins[axis]].cumsum(1)
        # W1 on a line: the area between the cumulated shares
        near = [np.abs(upto - p.cumsum()).sum(1) for p in plan.personas[axis]]
        read.append(near[0] - near[1])
    return np.stack(read, 1)
