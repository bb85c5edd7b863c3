"""Whether the planted signal can be read: by its own lens, and not in the columns.

Each lens has a reading of its own: two numbers a customer, computed by whoever knows
the bank's plan, from that lens's events or columns; a model may read more. That one
lens's reading does not tell another's signal does not say that its input hides it, for
the same events go into several inputs. ``spillover`` asks each input itself.
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ple_study.batch import Batch, Diagrams, Events, concat
from ple_study.data.graphs.visits import Visits, bipartite
from ple_study.data.world import inputs
from ple_study.data.world.bank import Bank, split
from ple_study.data.world.blocks import Block, join
from ple_study.data.world.customers import Columns, causal_columns, places
from ple_study.data.world.events import first_shown, payment_swing, session_swing
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


def readings(bank: Bank, block: Block) -> dict[str, Reading]:
    """The reading of each lens for these customers of the bank."""
    plan, size, card = bank.plan, bank.widths, block.logs.card
    begin = first_shown(size)
    early, late = card.until(begin).visits, card.since(begin).visits
    series = inputs.events(size, block.logs)
    diagrams = inputs.diagrams(size, block.logs, inputs.scales(bank.training()))
    return {
        HGCN: _tastes(early, plan.branch[plan.leaves[:, 0]]),
        PERSLAY: _shapes(diagrams["short"], diagrams["long"]),
        DEEPFM: _crosses(block.columns, size),
        TEMPORAL: _swings(series["txn"], series["session"], size),
        LIGHTGCN: _tastes(late, plan.taste[plan.leaves[:, 2]]),
        CAUSAL: _shocks(block.columns, plan, size),
        TRANSPORT: _ways(block.columns, plan, size),
    }


def probes(bank: Bank, blocks: int = 12) -> pd.DataFrame:
    """How well each planted factor is read: areas under the ROC curve of its sign.

    own: by the reading of its lens. other: by the best reading of any other lens.
    linear, boosted: by logistic regression and by boosted trees on all columns. All are
    measured on customers on whom the two were not trained.
    """
    some = join([bank.block(n) for n in range(min(blocks, len(bank)))])
    train = split(len(some.columns))["train"].numpy()
    rest = np.setdiff1d(np.arange(len(some.columns)), train)
    tested = some.rows(rest)
    read = readings(bank, tested)
    rows = []
    for place, lens in enumerate(LENSES):
        for factor in range(2):
            signs = some.who.factors[:, place, factor] > 0
            models = _models(signs[train], some.columns[train])
            rows.append(
                {"lens": lens, "factor": factor}
                | _by_readings(signs[rest], read, lens, factor)
                | _by_models(models, signs[rest], tested.columns)
            )
    return pd.DataFrame(rows)


def spillover(bank: Bank, blocks: int = 4) -> pd.DataFrame:
    """What every input but the columns tells of the signal planted in events.

    Areas under the curve of each factor's sign, on customers that were not trained on,
    one column an input; ``input_columns`` says what is made of it. The better of two
    models, logistic regression and boosted trees.
    """
    numbers = range(min(blocks, len(bank)))
    some = join([bank.block(number) for number in numbers])
    read = input_columns(concat([bank.rows(number).batch for number in numbers]))
    train = split(len(some.columns))["train"].numpy()
    rest = np.setdiff1d(np.arange(len(some.columns)), train)
    rows = []
    for lens in (name for name in LENSES if name not in IN_COLUMNS):
        for factor in range(2):
            signs = some.who.lens(lens)[:, factor] > 0
            rows.append({"lens": lens, "factor": factor})
            for name, values in read.items():
                models = _models(signs[train], values[train], penalty=10.0)
                areas = _by_models(models, signs[rest], values[rest])
                rows[-1][name] = max(areas.values())
    return pd.DataFrame(rows)


def input_columns(batch: Batch) -> dict[str, Columns]:
    """Each input as columns, zeros where a customer has none of it.

    Of a series the mean and deviation of every channel and the mean product of every
    two; of a diagram the number, sum, largest, mean and spread of lives and births in
    each dimension; of hidden states their rows and the logarithms of probabilities;
    vectors and clusters as they are.
    """
    assert batch.states is not None
    assert batch.clusters is not None
    states = batch.states.nan_to_num(0.0).flatten(1)
    found = {name: _moments(part) for name, part in batch.events.items()}
    found |= {name: _bars(part) for name, part in batch.diagrams.items()}
    found |= {name: part.nan_to_num(0.0) for name, part in batch.vectors.items()}
    found["states"] = torch.cat([states, states.clamp(min=1e-6).log()], 1)
    found["clusters"] = batch.clusters
    return {name: values.double().numpy() for name, values in found.items()}


def _moments(series: Events) -> Tensor:
    x = series.values.double()
    products = torch.einsum("bti,btj->bij", x, x) / x.shape[1]
    row, column = torch.triu_indices(*products.shape[1:])
    return torch.cat([x.mean(1), x.std(1), products[:, row, column]], 1)


def _bars(diagrams: Diagrams) -> Tensor:
    birth, death, kind = diagrams.points.double().unbind(2)
    found = []
    for dimension in range(3):
        real = diagrams.mask & (kind == dimension)
        number = real.sum(1)
        found.append(number)
        for x in (death - birth, birth, (death - birth).clamp(min=1e-6).log()):
            seen = x * real
            mean = seen.sum(1) / number.clamp(min=1)
            square = (seen**2).sum(1) / number.clamp(min=1)
            spread = (square - mean**2).clamp(min=0).sqrt()
            found += [seen.sum(1), seen.amax(1), mean, spread]
    return torch.stack(found, 1)


def _by_readings(
    signs: Signs, read: dict[str, Reading], lens: str, factor: int
) -> dict[str, float]:
    others = [
        area for name in read if name != lens for area in _areas(signs, read[name])
    ]
    return {"own": _areas(signs, read[lens])[factor], "other": max(others)}


def _models(
    signs: Signs, columns: Columns, penalty: float = 100.0
) -> dict[str, Pipeline]:
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=1 / penalty))
    trees = HistGradientBoostingClassifier(max_iter=50, random_state=0)
    models = {"linear": linear, "boosted": make_pipeline(trees)}
    return {name: model.fit(columns, signs) for name, model in models.items()}


def _by_models(
    models: dict[str, Pipeline], signs: Signs, columns: Columns
) -> dict[str, float]:
    chances = {k: model.predict_proba(columns)[:, 1] for k, model in models.items()}
    return {k: float(roc_auc_score(signs, chance)) for k, chance in chances.items()}


def _areas(signs: Signs, values: Reading) -> list[float]:
    """The area under the curve of each number, whichever way it points."""
    areas = [float(roc_auc_score(signs, value)) for value in values.T]
    return [max(area, 1 - area) for area in areas]


def _tastes(visits: Visits, position: Float[np.ndarray, "merchant 2"]) -> Reading:
    """Where the merchants lie that a customer visits, on average."""
    counts = bipartite(visits).to_dense()[:, 1:].numpy()
    return counts @ position / np.maximum(counts.sum(1, keepdims=True), 1)


def _swings(payments: Events, sessions: Events, size: Size) -> Reading:
    """How the payments' size goes with the swing, and how the sessions' number does."""
    count = payments.values[..., 0].expm1().double()
    mean, number = (
        payments.values[..., 2].double(),
        count.sum(1, keepdim=True).clamp(min=1),
    )
    first = torch.from_numpy(payment_swing(size)[-size.steps[0] :])
    centred = first - (count * first).sum(1, keepdim=True) / number
    slope = (count * centred * mean).sum(1) / (count * centred**2).sum(1).clamp(min=1)
    visits = sessions.values[..., 0].expm1().double()
    second = torch.from_numpy(session_swing(size)[-size.steps[1] :])
    when = (visits * second).sum(1) / visits.sum(1).clamp(min=1)
    return torch.stack([slope, when], 1).numpy()


def _shapes(short: Diagrams, long: Diagrams) -> Reading:
    """The longest life of a loop; how unequal the lives of parts are, in logarithms."""
    loop = _lives(short, 1).amax(1)
    parts = _lives(long, 0)
    real = parts > 0
    number = real.sum(1).clamp(min=1)
    size = parts.where(real, 1.0).log()
    mean = size.sum(1) / number
    spread = ((size**2).sum(1) / number - mean**2).clamp(min=0).sqrt()
    return torch.stack([loop, spread], 1).double().numpy()


def _lives(diagrams: Diagrams, homology: int) -> Tensor:
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
