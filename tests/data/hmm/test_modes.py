"""Three modes at once against each alone, and bad input."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from ple_study.batch import Events
from ple_study.data.hmm.model import FittedHMM, GaussianHMM
from ple_study.data.hmm.modes import fit_modes, mode_states
from ple_study.data.hmm.regimes import DYNAMICS, PROFILE, summary
from tests.data.hmm.chains import chain, series

STATES = 4
SETTINGS = GaussianHMM(STATES, tolerance=0.01, variance_floor=0.1, seed=5)
SIZES = (9, 13, 1, 30, 17, 24, 2)


def without(events: Events, customer: int) -> Events:
    mask = events.mask.clone()
    mask[customer] = False
    return Events(events.values, mask)


@pytest.fixture(scope="module")
def modes() -> dict[str, Events]:
    """Three series of other lengths; customer 2 has no step in the second."""
    return {
        "journey": series(SIZES, 3, seed=1),
        "lifecycle": without(series((6, 7, 5, 7, 3, 7, 2), 3, seed=2), 2),
        "behavior": series((6, 7, 5, 7, 3, 7, 1), 2, seed=3),
    }


@pytest.fixture(scope="module")
def fitted(modes: dict[str, Events]) -> dict[str, FittedHMM]:
    return fit_modes(modes, num_states=STATES, seed=5)


def test_each_mode_is_a_fit_of_its_own(
    modes: dict[str, Events], fitted: dict[str, FittedHMM]
) -> None:
    known = torch.tensor([0, 1, 3, 4, 5, 6])
    for name, events in modes.items():
        rows = events.rows(known) if name == "lifecycle" else events
        alone = SETTINGS.fit(rows)
        assert fitted[name].history == alone.history
    turned = fit_modes(dict(reversed(modes.items())), num_states=STATES, seed=5)
    assert list(turned) == list(reversed(fitted))
    assert all(turned[name].history == fitted[name].history for name in fitted)


def test_no_more_customers_are_fitted_than_asked(modes: dict[str, Events]) -> None:
    some = {"journey": modes["journey"]}
    found, again, other = (
        fit_modes(some, num_states=2, customers=4, seed=seed)["journey"].history
        for seed in (5, 5, 6)
    )
    assert found == again != other
    drawn = torch.randperm(7, generator=torch.Generator().manual_seed(5))[:4]
    rows = some["journey"].rows(drawn.sort().values)
    settings = GaussianHMM(2, tolerance=0.01, variance_floor=0.1, seed=5)
    assert settings.fit(rows).history == found


def test_a_higher_floor_is_heeded(modes: dict[str, Events]) -> None:
    events = modes["behavior"]
    flat = Events(events.values.round(), events.mask)  # many equal rows
    std = flat.values[flat.mask].std(0, correction=0)
    least = []
    for floor in (0.01, 0.2):
        found = fit_modes({"behavior": flat}, num_states=6, variance_floor=floor)
        least.append(float((found["behavior"].parameters.variance / std**2).min()))
    assert least == pytest.approx([0.01, 0.2])


def test_states_are_in_order_of_activity(
    modes: dict[str, Events], fitted: dict[str, FittedHMM]
) -> None:
    for name, events in modes.items():
        std = events.values[events.mask].double().std(0, correction=0)
        assert ((fitted[name].parameters.mean / std).sum(1).diff() > 0).all()


def test_rows_are_the_summaries_in_order_of_the_fits(
    modes: dict[str, Events], fitted: dict[str, FittedHMM]
) -> None:
    found = mode_states(fitted, dict(reversed(modes.items())))
    assert found.shape == (len(SIZES), 3, STATES + len(DYNAMICS))
    for place, name in enumerate(("journey", "lifecycle", "behavior")):
        rows = summary(fitted[name], modes[name])
        assert_close(found[:, place], rows, equal_nan=True)
    assert found[2, 1].isnan().all()
    others = torch.ones(len(SIZES), 3, dtype=torch.bool)
    others[2, 1] = False
    assert_close(
        found[others][:, :STATES].sum(1), torch.ones(int(others.sum())).to(found)
    )


def test_layouts_have_the_widths_that_the_names_promise() -> None:
    events = {"journey": series(SIZES, 3), "behavior": series(SIZES, 3, seed=9)}
    widths = {
        "dynamics": (10, 10 + len(DYNAMICS)),
        "profile": (5, 5 + len(PROFILE) + len(DYNAMICS)),
        "dwell": (6, 1 + 6 + 2),
    }
    for layout, (num_states, width) in widths.items():
        models = {
            name: FittedHMM(chain(num_states, 3, seed), (), True)
            for seed, name in enumerate(events)
        }
        found = mode_states(models, events, layout)
        assert found.shape == (len(SIZES), 2, width)
    assert widths["dynamics"][1] == widths["profile"][1] == 16


def test_modes_that_see_the_same_are_refused(modes: dict[str, Events]) -> None:
    padded = modes["journey"]
    noise = torch.where(padded.mask[..., None], padded.values, 99.0)
    twice = {**modes, "value": replace(padded, values=noise)}
    with pytest.raises(ValueError, match=r"Found 'journey' and 'value' equal"):
        fit_modes(twice, num_states=STATES)


def test_somebody_is_fitted(modes: dict[str, Events]) -> None:
    with pytest.raises(ValueError, match=r"customers must be 1 or more. Found 0"):
        fit_modes(modes, num_states=STATES, customers=0)


def test_a_mode_that_nobody_has_is_refused(modes: dict[str, Events]) -> None:
    events = modes["journey"]
    empty = Events(events.values, torch.zeros_like(events.mask))
    with pytest.raises(ValueError, match=r"'lifecycle' needs an observed step"):
        fit_modes({**modes, "lifecycle": empty}, num_states=STATES)


def test_other_modes_customers_and_widths_are_refused(
    modes: dict[str, Events], fitted: dict[str, FittedHMM]
) -> None:
    journey = {"journey": modes["journey"]}
    with pytest.raises(ValueError, match=r"\['journey', .*Found \['journey'\]"):
        mode_states(fitted, journey)
    fewer = {**modes, "behavior": modes["behavior"].rows(torch.arange(5))}
    with pytest.raises(ValueError, match=r"same customers. Found .*'behavior': 5"):
        mode_states(fitted, fewer)
    wider = {**fitted, "behavior": FittedHMM(chain(6, 2), (), True)}
    with pytest.raises(ValueError, match=r"one width. Found .*'behavior': 12"):
        mode_states(wider, modes)
