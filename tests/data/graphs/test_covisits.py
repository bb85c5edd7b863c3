"""Co-visits against ten slow lines, their laws, and what they cost."""

import tracemalloc
from itertools import combinations
from math import exp

import numpy as np
import pandas as pd
import pytest
import torch

from ple_study.data.graphs import covisits as module
from ple_study.data.graphs.covisits import covisits
from ple_study.data.graphs.visits import Merchants, Visits, visits
from tests.data.graphs.purchases import CUSTOMERS, CUTOFF, KEYS, random_events, seen

WINDOW, DECAY, SCALE = 5, 3.0, 0.7


def _slow(events: pd.DataFrame) -> np.ndarray:
    """The definition: every pair of one customer's visits."""
    wanted = np.zeros((len(KEYS) + 1, len(KEYS) + 1))
    for _, own in events.groupby("customer"):
        out = set(zip(own["merchant"], own["day"], strict=True))
        for (a, s), (b, t) in combinations(out, 2):
            if a != b and abs(s - t) <= WINDOW:
                i, j = KEYS.index(a) + 1, KEYS.index(b) + 1
                wanted[i, j] += SCALE * exp(-abs(s - t) / DECAY)
                wanted[j, i] += SCALE * exp(-abs(s - t) / DECAY)
    return wanted


def _graph(found: Visits, neighbours: int = 100) -> torch.Tensor:
    return covisits(
        found, window=WINDOW, decay=DECAY, scale=SCALE, neighbours=neighbours
    )


def _pair(*events: tuple[int, str, int]) -> Visits:
    frame = pd.DataFrame(events, columns=["customer", "merchant", "day"])
    return seen(frame.assign(amount=1.0))


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_the_definition_says(seed: int) -> None:
    events = random_events(seed)
    found = _graph(seen(events))
    assert found.layout == torch.sparse_csr
    np.testing.assert_allclose(found.to_dense(), _slow(events), rtol=1e-11)


def test_it_is_symmetric_to_the_last_bit_and_has_no_loops() -> None:
    found = _graph(seen(random_events())).to_dense()
    assert torch.equal(found, found.T)
    assert found.diagonal().eq(0).all()
    assert found[0].eq(0).all()
    assert found[-1].eq(0).all()  # the zoo
    assert found.gt(0).sum() > len(KEYS)


def test_degrees_add_up_to_the_pairs_of_visits() -> None:
    events = random_events()
    found = covisits(seen(events), window=10**3, decay=1e12, scale=1.0).to_dense()
    out = events.drop_duplicates(["customer", "merchant", "day"])
    pairs = 0
    for _, own in out.groupby("customer"):
        number = own["merchant"].value_counts()
        pairs += number.sum() ** 2 - (number**2).sum()
    assert found.sum() == pytest.approx(pairs)


def test_the_order_of_events_is_irrelevant() -> None:
    events = random_events()
    mixed = events.sample(frac=1, random_state=3)
    first, second = _graph(seen(events), 2), _graph(seen(mixed), 2)
    assert torch.equal(first.to_dense(), second.to_dense())


def test_the_names_of_customers_are_irrelevant() -> None:
    events = random_events()
    other = events.assign(customer=CUSTOMERS - 1 - events["customer"])
    first, second = _graph(seen(events), 2), _graph(seen(other), 2)
    assert torch.equal(first.to_dense(), second.to_dense())


def test_an_isolated_merchant_or_customer_changes_nothing_else() -> None:
    events = random_events()
    small = _graph(seen(events), 2).to_dense()
    more = _graph(seen(events, ("archive", *KEYS), CUSTOMERS + 2), 2).to_dense()
    kept = [0, *range(2, len(KEYS) + 2)]
    assert more[1].eq(0).all()
    assert torch.equal(more[kept][:, kept], small)


def test_a_second_purchase_on_the_day_is_the_same_visit() -> None:
    events = random_events()
    twice = pd.concat([events, events[::2]])
    assert torch.equal(_graph(seen(twice)).to_dense(), _graph(seen(events)).to_dense())


@pytest.mark.parametrize("earlier", [45, 10**4])
def test_the_calendar_has_no_origin(earlier: int) -> None:
    events = random_events()
    moved = events.assign(day=events["day"] - earlier)
    assert torch.equal(_graph(seen(moved)).to_dense(), _graph(seen(events)).to_dense())


def test_the_window_includes_its_last_day_and_ends_there() -> None:
    inside = _pair((0, "kiosk", 1), (0, "zoo", 1 + WINDOW))
    found = _graph(inside).to_dense()
    assert float(found[5, 8]) == pytest.approx(SCALE * exp(-WINDOW / DECAY))
    outside = _pair((0, "kiosk", 1), (0, "zoo", 2 + WINDOW))
    assert _graph(outside).values().numel() == 0


def test_two_customers_do_not_make_a_covisit() -> None:
    """Not even on the last day of one and the first of the next."""
    found = _pair((0, "kiosk", 9), (1, "zoo", 0), (1, "kiosk", 40), (2, "zoo", 1))
    assert covisits(found, window=3).values().numel() == 0


def test_defaults_are_a_week_and_half_a_tree_edge() -> None:
    found = covisits(_pair((0, "kiosk", 0), (0, "zoo", 7))).to_dense()
    assert float(found[5, 8]) == pytest.approx(0.5 * exp(-1))


def test_unknown_merchants_have_no_edge() -> None:
    events = random_events()
    known = Merchants(pd.Index(["cinema", "tavern"]))
    found = _graph(visits(events, known, CUSTOMERS, CUTOFF, "unknown")).to_dense()
    wanted = _slow(events)[2, 7]
    assert float(found[1, 2]) == pytest.approx(wanted)
    assert found.gt(0).sum() == 2
    none = Merchants(pd.Index(["moon", "mars"]))
    empty = _graph(visits(events, none, CUSTOMERS, CUTOFF, "unknown"))
    assert empty.shape == (3, 3)
    assert empty.values().numel() == 0


@pytest.mark.parametrize("neighbours", [1, 2, 4])
def test_an_edge_stays_if_one_end_has_it_among_its_strongest(neighbours: int) -> None:
    whole = _graph(seen(random_events())).to_dense()
    kept = torch.zeros_like(whole, dtype=torch.bool)
    for node, row in enumerate(whole):
        best = row.argsort(descending=True, stable=True)[:neighbours]
        kept[node, best] = True
    wanted = torch.where(kept | kept.T, whole, 0.0)
    found = _graph(seen(random_events()), neighbours)
    assert torch.equal(found.to_dense(), wanted)


def test_of_equal_edges_the_one_to_the_lower_node_stays() -> None:
    """All are visited on one day, so each keeps its edges to the first two others."""
    found = _graph(_pair(*((0, key, 3) for key in KEYS)), 2).to_dense()
    wanted = torch.zeros_like(found)
    wanted[1:3, 1:] = wanted[1:, 1:3] = SCALE
    assert torch.equal(found, wanted.fill_diagonal_(0))


def test_blocks_of_rows_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _graph(seen(random_events()), 3).to_dense()
    monkeypatch.setattr(module, "PRODUCTS", 1)
    assert torch.equal(_graph(seen(random_events()), 3).to_dense(), whole)


def test_memory_is_linear_in_the_visits_of_one_customer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All on one day at different merchants: a list of pairs would grow by four."""
    monkeypatch.setattr(module, "PRODUCTS", 2**12)

    def peak(number: int) -> int:
        every = np.arange(number)
        same = np.zeros(number, np.int64)
        found = Visits(same, every + 1, same, same + 1.0, 1, number + 1)
        tracemalloc.start()
        edges = covisits(found, neighbours=5).values().numel()
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert edges <= 2 * 5 * number
        return used

    small, large = peak(1000), peak(2000)
    assert large <= 2.4 * small


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": -1},
        {"decay": 0.0},
        {"decay": np.nan},
        {"scale": -1.0},
        {"neighbours": 0},
    ],
)
def test_settings_are_refused(wrong: dict[str, float]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"zero or more days.*Found.*{name}.*{value}"):
        covisits(seen(random_events()), **wrong)
