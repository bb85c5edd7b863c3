"""What a hidden Markov model refuses to learn from or to read."""

import pytest
import torch

from ple_study.batch import Events
from ple_study.data.hmm.baum_welch import Parameters
from ple_study.data.hmm.model import FittedHMM, GaussianHMM
from tests.data.hmm.chains import chain

ONES = torch.ones(2, 3, dtype=torch.bool)
RAMP = torch.arange(12.0).reshape(2, 3, 2)
START = chain(2, 2)
BAD_FITS = {
    "sequence of length 0": (
        Events(RAMP, torch.tensor([[True] * 3, [False] * 3])),
        None,
        r"at least one observed step. Found 1 without, first rows \[1\]",
    ),
    "not a number": (
        Events(RAMP.where(RAMP != 7, torch.nan), ONES),
        None,
        r"must be finite. Found 1 without, first rows \[1\]",
    ),
    "infinite": (Events(RAMP / (RAMP != 0), ONES), None, "must be finite"),
    "all rows equal": (
        Events(torch.full((2, 3, 2), 0.1), ONES),
        None,
        r"constant channels \[0, 1\]",
    ),
    "fewer rows than states": (
        Events(RAMP[:1, :1], ONES[:1, :1]),
        None,
        "num_states=2 needs as many observed steps. Found 1",
    ),
    "wrong initial shape": (
        Events(RAMP, ONES),
        START._replace(mean=torch.ones(3, 2)),
        r"must be .*\(2, 2\).* Found .*\(3, 2\)",
    ),
    "moves that do not sum to one": (
        Events(RAMP, ONES),
        START._replace(transition=torch.ones(2, 2)),
        "Initial transition must be 0 or more and sum to one",
    ),
    "a start below 0": (
        Events(RAMP, ONES),
        START._replace(start=torch.tensor([1.5, -0.5])),
        "Initial start must be 0 or more and sum to one",
    ),
    "no variance": (
        Events(RAMP, ONES),
        START._replace(variance=torch.zeros(2, 2)),
        "variances above 0",
    ),
}


@pytest.mark.parametrize("case", BAD_FITS.values(), ids=BAD_FITS)
def test_bad_training_is_refused(
    case: tuple[Events, Parameters | None, str],
) -> None:
    events, initial, message = case
    with pytest.raises(ValueError, match=message):
        GaussianHMM(2).fit(events, initial)


def test_too_few_distinct_rows_are_refused() -> None:
    two = (RAMP > 5).float()
    with pytest.raises(ValueError, match=r"as many distinct steps. Found 2"):
        GaussianHMM(3).fit(Events(two, ONES))


@pytest.mark.parametrize(
    "settings",
    [
        {"num_states": 0},
        {"iterations": 0},
        {"tolerance": -1.0},
        {"variance_floor": 0.0},
    ],
)
def test_bad_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        GaussianHMM(**settings)  # type: ignore[arg-type]


def test_order_by_must_be_a_channel() -> None:
    with pytest.raises(ValueError, match=r"one of 2 channels. Found 2"):
        GaussianHMM(2, order_by=2).fit(Events(RAMP, ONES))


def test_reading_refuses_what_fitting_refuses() -> None:
    model = FittedHMM(START, (), True)
    empty = Events(RAMP, ~ONES)
    for read in (model.log_likelihood, model.filtered, model.smoothed, model.viterbi):
        with pytest.raises(ValueError, match="at least one observed step"):
            read(empty)
        with pytest.raises(ValueError, match=r"2 channels. Found 1"):
            read(Events(RAMP[..., :1], ONES))


@pytest.mark.plain
def test_shapes_are_refused() -> None:
    for values, mask in (
        (RAMP[..., 0], ONES),
        (RAMP, ONES[:, :2]),
        (RAMP[:0], ONES[:0]),
    ):
        with pytest.raises(ValueError, match=r"values \[batch, time, channel\]"):
            GaussianHMM(2).fit(Events(values, mask))
