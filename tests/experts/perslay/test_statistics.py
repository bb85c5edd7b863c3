"""Seventy numbers of four diagrams: their places, empty diagrams, and moves by hand."""

import math

import numpy as np
import pytest
import torch

from ple_study.batch import Diagrams
from ple_study.experts.perslay.statistics import (
    DISTANCES,
    SIZE,
    STATISTICS,
    TRANSITION,
    WINDOWS,
    features,
    moves,
    summary,
    transition,
)


def diagram(*rows: tuple[float, float, int], size: int = 7) -> Diagrams:
    """One customer with these points, after a hole and before padding."""
    points, mask = torch.zeros(1, size, 3), torch.zeros(1, size, dtype=torch.bool)
    for place, row in enumerate(rows, 1):
        points[0, place], mask[0, place] = torch.tensor(row), True
    points[~mask] = torch.nan
    return Diagrams(points, mask)


EMPTY = diagram()
PARTS = diagram((0, 1, 0), (0, 2, 0), (0, 3, 0), (0, 6, 0), (1, 1.5, 1))


def test_six_statistics_by_hand() -> None:
    found = summary(PARTS, (0, 1, 2))[0]
    shares = np.array([1, 2, 3, 6]) / 12
    entropy = -(shares * np.log(shares)).sum()
    wanted = [entropy, 3, np.std([1, 2, 3, 6]), 1, 6, 2.5]
    wanted += [0, 0.5, 0, 0.5, 0.5, 0.5] + [0] * 6
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-12)
    assert not summary(EMPTY, (0, 1)).any()


def test_moves_by_hand() -> None:
    one, other = np.array([[0.0, 4.0], [1.0, 2.0]]), np.array([[0.5, 4.0]])
    assert sorted(moves(one, other)) == [0.5, 0.5]  # to each other, to the diagonal
    assert moves(one, one).tolist() == [0.0, 0.0]
    assert sorted(moves(one, other[:0])) == [0.5, 2.0]
    assert moves(other[:0], other[:0]).shape == (0,)


def test_a_transition_by_hand() -> None:
    after = diagram((0, 1, 0), (0, 2, 0), (0, 3, 0), (0, 5, 0), (1, 1.5, 1), (3, 5, 1))
    found = transition(PARTS, after)[0]
    change = 1.0 + 1.0  # a part dies one earlier, a loop of life two appears
    wanted = [1.0, 1.0, change, 1.0, 1 / (1 + math.exp(-3)), 0.5, 2 / 6, 1.0]
    wanted += [(13.5 - 12.5) / 26.0, 1 - 1 / math.sqrt(12)]
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-12)
    back = transition(after, PARTS)[0]
    assert back[7] == -1.0
    torch.testing.assert_close(back[:4], found[:4])


def test_nothing_moved_and_nothing_there() -> None:
    still = transition(PARTS, PARTS)[0]
    assert still[:4].tolist() == [0.0] * 4
    assert still[4] == pytest.approx(1 / (1 + math.e))
    assert still[5:9].tolist() == [0.0, 0.0, 1.0, 0.0]
    none = transition(EMPTY, EMPTY)[0]
    assert none.isfinite().all()
    assert none[9] == 0.0


def test_all_numbers_stand_in_their_places() -> None:
    assert 2 * 6 * (2 + 3) + len(DISTANCES) + len(TRANSITION) == SIZE
    assert len(STATISTICS) == 6
    one, other = diagram((0, 2, 0), (1, 2, 1)), PARTS
    whole, recent = {"short": one, "long": other}, {"short": other, "long": one}
    found = features(whole, recent)
    assert found.shape == (1, SIZE)
    parts = [
        summary(one, WINDOWS["short"]),
        summary(other, WINDOWS["short"]),
        summary(other, WINDOWS["long"]),
        summary(one, WINDOWS["long"]),
        transition(other, one),
    ]
    assert torch.equal(found, torch.cat(parts, 1).float())
    swapped = features({"long": other, "short": one}, recent)
    assert torch.equal(swapped, found)


def test_who_has_no_point_has_no_numbers() -> None:
    nobody = {"short": EMPTY, "long": EMPTY}
    assert features(nobody, nobody).isnan().all()
    some = features(nobody | {"long": PARTS}, nobody)
    assert some.isfinite().all()
    with pytest.raises(ValueError, match=r"\['short', 'long'\].*\['long'\]"):
        features({"long": PARTS}, nobody)
