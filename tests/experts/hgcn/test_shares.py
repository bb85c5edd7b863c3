"""Visits shared out over a tree, against sums by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from ple_study.data.graphs.tree import from_columns
from ple_study.data.graphs.visits import known_merchants, visits
from ple_study.experts.hgcn.shares import (
    Shares,
    above,
    entropy,
    gini,
    habits,
    mean_rows,
)

TODAY = 100
#         0: (), 1: a, 2: b, 3: a/x, 4: a/y, 5: b/z, 6: a/x/m
TREE = from_columns(
    pd.DataFrame(
        {
            "top": ["a", "a", "b", "a"],
            "type": ["x", "y", "z", "x"],
            "shop": [None, None, None, "m"],
        }
    )
)
EVENTS = pd.DataFrame(
    [
        (0, "m", 99, 30.0),
        (0, "m", 40, 10.0),
        (0, "y", 90, 20.0),
        (0, "z", 99, 40.0),
        (1, "y", 10, 5.0),
        (1, "strange", 98, 99.0),  # is nowhere in the tree
        (3, "strange", 98, 99.0),
        (4, "z", 99, 0.0),
    ],
    columns=["customer", "merchant", "day", "amount"],
)
MERCHANTS = known_merchants(EVENTS["merchant"])  # m, strange, y, z
NODE = np.array([0, 6, 0, 4, 5])
CUSTOMERS = 5


def seen(events=EVENTS):
    return visits(events, MERCHANTS, CUSTOMERS, TODAY)


def shares():
    return Shares.of(seen(), TREE, NODE, TODAY)


def test_what_stands_above_at_each_level():
    assert above(TREE, 0).tolist() == [0] * 7
    assert above(TREE, 1).tolist() == [0, 1, 2, 1, 1, 2, 1]
    assert above(TREE, 2).tolist() == [0, 1, 2, 3, 4, 5, 3]
    assert above(TREE, 9).tolist() == list(range(7))


def test_a_visit_weighs_its_amount_and_fades():
    def kept(days):
        return np.exp(-days / 180)

    found = shares().at(above(TREE, 1)).toarray()
    wanted = np.zeros((CUSTOMERS, 7))
    wanted[0, 1] = 30 * kept(1) + 10 * kept(60) + 20 * kept(10)
    wanted[0, 2] = 40 * kept(1)
    wanted[1, 1] = 5 * kept(90)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    late = shares().lately().at(above(TREE, 1)).toarray()
    wanted[0, 1] -= 10 * kept(60)
    wanted[1] = 0
    np.testing.assert_allclose(late, wanted, rtol=1e-12)


def test_habits_by_hand():
    found = habits(shares())
    assert found[0] == pytest.approx(
        [
            np.log(4) / np.log(501),
            1 / 4,
            np.exp(-1 / 180),
            # 20, 40 and 40 at three nodes: (-2 * 20 + 0 * 40 + 2 * 40) / (3 * 100)
            40 / 300,
        ]
    )
    assert found[1] == pytest.approx([np.log(2) / np.log(501), 0, np.exp(-0.5), 0])
    assert not found[[2, 3]].any()


def test_gini_is_half_the_mean_difference_over_the_mean():
    rng = np.random.default_rng(0)
    rows = rng.gamma(0.5, size=(4, 7))
    found = gini(sparse.csr_array(rows))
    apart = abs(rows[:, :, None] - rows[:, None]).mean((1, 2))
    np.testing.assert_allclose(found, apart / rows.mean(1) / 2, rtol=1e-12)
    empty = sparse.csr_array((2, 3))
    assert gini(empty).tolist() == [0, 0]


def test_entropy_is_0_for_one_and_1_for_all():
    rows = sparse.csr_array(np.array([[4.0, 0, 0], [2, 2, 2], [0, 0, 0], [3, 1, 0]]))
    mixed = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) / np.log(3)
    assert entropy(rows, 3) == pytest.approx([0, 1, 0, mixed])
    sums = mean_rows(rows).sum(axis=1)
    assert sums == pytest.approx([1, 1, 0, 1])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"before the day 99.*99"):
        Shares.of(seen(), TREE, NODE, 99)
    with pytest.raises(ValueError, match=r"Each of 5 merchants needs a node.*4"):
        Shares.of(seen(), TREE, NODE[1:], TODAY)
    with pytest.raises(ValueError, match=r"must lie in 0\.\.6.*7"):
        Shares.of(seen(), TREE, NODE + 1, TODAY)
