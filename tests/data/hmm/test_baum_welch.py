"""EM, step by step: densities, counts, and the steps' laws."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ple_study.batch import Events
from ple_study.data.hmm.baum_welch import (
    expect,
    log_density,
    maximise,
    total,
)
from ple_study.data.hmm.model import GaussianHMM
from ple_study.data.hmm.series import Steps, in_parts
from tests.data.hmm.chains import CHANNELS, MANY, SIZES, STATES, chain, series


def test_density_is_the_normal_density() -> None:
    events, parameters = series(SIZES, CHANNELS), chain(STATES, CHANNELS)
    steps = Steps.of(events)
    normal = torch.distributions.Normal(parameters.mean, parameters.variance.sqrt())
    expected = normal.log_prob(steps.values[:, :, None]).sum(-1)
    found = log_density(parameters, steps)
    assert_close(found[steps.observed], expected[steps.observed])
    assert not found[~steps.observed].any()


def test_em_never_lowers_the_likelihood_even_at_the_floor() -> None:
    events = series(MANY * 3, CHANNELS)
    flat = Events(events.values.clamp(min=0), events.mask)  # many equal rows
    model = GaussianHMM(STATES, iterations=60, tolerance=0.0, variance_floor=1e-2)
    found = model.fit(flat)
    gains = np.diff(found.history)
    assert gains.min() > -1e-9 * abs(found.history[-1])
    assert gains.sum() > 1
    floor = 1e-2 * flat.values[flat.mask].var(0, correction=0)
    ratio = found.parameters.variance / floor
    assert ratio.min() == pytest.approx(1.0)


def test_history_is_the_likelihood_before_each_step() -> None:
    events = series(MANY, CHANNELS)
    two = GaussianHMM(STATES, iterations=2, tolerance=0.0).fit(events)
    three = GaussianHMM(STATES, iterations=3, tolerance=0.0).fit(events)
    assert three.history[:2] == two.history
    assert not three.converged
    after_two = two.log_likelihood(events).sum().item()
    assert three.history[2] == pytest.approx(after_two, abs=1e-9)


def test_parts_add_up_to_the_whole() -> None:
    events, parameters = series(MANY, CHANNELS), chain(STATES, CHANNELS)
    whole = expect(parameters, Steps.of(events))
    parts = in_parts(events, 3)
    assert [part.values.shape[:2] for part in parts] == [(3, 30), (3, 17), (1, 1)]
    added = total([expect(parameters, Steps.of(part)) for part in parts])
    for mine, other in zip(added, whole, strict=True):
        assert_close(mine, other)


def test_an_empty_state_keeps_its_parameters() -> None:
    events, old = series(MANY, CHANNELS), chain(STATES, CHANNELS)
    far = old._replace(mean=old.mean + torch.tensor([0, 0, 0, 1e3])[:, None])
    new = maximise(expect(far, Steps.of(events)), far, 1e-6)
    assert_close(new.mean[3], far.mean[3])
    assert_close(new.transition[3], far.transition[3])
    assert all(part.isfinite().all() for part in new)
    assert not torch.allclose(new.mean[:3], far.mean[:3])
