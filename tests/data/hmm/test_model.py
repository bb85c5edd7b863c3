"""The model against hmmlearn and against all paths, and its laws."""

import math

import numpy as np
import pytest
import torch
from hmmlearn import hmm as hmmlearn
from torch.testing import assert_close

from ple_study.batch import Events
from ple_study.data.hmm.baum_welch import (
    Parameters,
    expect,
    log_density,
)
from ple_study.data.hmm.model import FittedHMM, GaussianHMM
from ple_study.data.hmm.series import Steps
from tests.data.hmm.chains import (
    CHANNELS,
    MANY,
    SIZES,
    STATES,
    by_all_paths,
    chain,
    series,
)


def fitted(parameters: Parameters) -> FittedHMM:
    return FittedHMM(parameters, (), True)


def rows_and_lengths(events: Events) -> tuple[np.ndarray, list[int]]:
    return events.values[events.mask].numpy(), events.mask.sum(1).tolist()


def oracle(parameters: Parameters, iterations: int = 1) -> hmmlearn.GaussianHMM:
    """hmmlearn with the same parameters, its priors and its floor switched off."""
    model = hmmlearn.GaussianHMM(
        len(parameters.start),
        covars_prior=0.0,
        covars_weight=1.0,
        min_covar=0.0,
        n_iter=iterations,
        tol=-math.inf,
        init_params="",
    )
    model.n_features = parameters.mean.shape[1]
    model.startprob_ = parameters.start.numpy()
    model.transmat_ = parameters.transition.numpy()
    model.means_ = parameters.mean.numpy()
    model.covars_ = parameters.variance.numpy()
    return model


def test_posteriors_likelihood_and_path_equal_hmmlearn() -> None:
    events, parameters = series(MANY, CHANNELS), chain(STATES, CHANNELS)
    rows, lengths = rows_and_lengths(events)
    model, ours = oracle(parameters), fitted(parameters)
    likelihood, posteriors = model.score_samples(rows, lengths)
    assert abs(ours.log_likelihood(events).sum().item() - likelihood) < 1e-8
    smoothed = ours.smoothed(events)[events.mask].numpy()
    np.testing.assert_allclose(smoothed, posteriors, rtol=0, atol=1e-8)
    path = ours.viterbi(events)[events.mask].numpy()
    assert (path == model.predict(rows, lengths)).all()
    assert len(set(path)) == STATES


def test_em_follows_hmmlearn_for_ten_steps() -> None:
    events, start = series(MANY * 6, CHANNELS), chain(STATES, CHANNELS)
    model = oracle(start, iterations=10).fit(*rows_and_lengths(events))
    settings = GaussianHMM(STATES, iterations=10, tolerance=0.0, variance_floor=1e-9)
    ours = settings.fit(events, start)
    assert len(ours.history) == 10
    np.testing.assert_allclose(ours.history, list(model.monitor_.history), atol=1e-6)
    covariance = np.diagonal(model.covars_, axis1=1, axis2=2)
    order = ((model.means_ - rows_and_lengths(events)[0].mean(0)) / _std(events)).sum(1)
    by = order.argsort()
    theirs = [
        model.startprob_[by],
        model.transmat_[by][:, by],
        model.means_[by],
        covariance[by],
    ]
    for mine, other in zip(ours.parameters, theirs, strict=True):
        np.testing.assert_allclose(mine.numpy(), other, rtol=0, atol=1e-6)


def _std(events: Events) -> np.ndarray:
    return rows_and_lengths(events)[0].std(0)


def gapped() -> Events:
    """A day missing inside, two at the end, and padding of every length."""
    events = series(SIZES, 2)
    mask = events.mask.clone()
    mask[2, 3], mask[0, 5:] = False, False
    return Events(events.values.where(mask[..., None], torch.nan), mask)


@pytest.mark.parametrize("num_states", [2, 3])
def test_missing_stretches_equal_the_sum_over_all_paths(num_states: int) -> None:
    events, parameters = gapped(), chain(num_states, 2)
    model, steps = fitted(parameters), Steps.of(events)
    density = log_density(parameters, steps)
    likelihood = model.log_likelihood(events)
    moves = torch.zeros(num_states, num_states, dtype=torch.float64)
    for row, seen in enumerate(events.mask):
        first, last = seen.nonzero()[[0, -1], 0].tolist()
        until = last - first
        truth = by_all_paths(*parameters[:2], density[first:, row], until)
        moves += truth.moves
        assert_close(likelihood[row], truth.log_likelihood, rtol=0, atol=1e-10)
        for name in ("filtered", "smoothed"):
            found = getattr(model, name)(events)[row]
            assert not found[:first].any()
            assert_close(found[first:], getattr(truth, name), rtol=0, atol=1e-10)
        assert model.viterbi(events)[row, first:].tolist() == truth.path
    assert_close(expect(parameters, steps).transition, moves, rtol=0, atol=1e-10)


def test_what_stands_under_the_mask_is_never_read() -> None:
    events, settings = gapped(), GaussianHMM(2, iterations=4)
    noise = Events(events.values.nan_to_num(nan=77.0), events.mask)
    assert settings.fit(events).history == settings.fit(noise).history
    for part in settings.fit(events).parameters:
        assert part.isfinite().all()


def test_states_are_sorted_and_unit_free() -> None:
    events = series(MANY * 3, CHANNELS)
    model = GaussianHMM(STATES, iterations=15, tolerance=0.0)
    found = model.fit(events)
    std = torch.from_numpy(_std(events))
    keys = (found.parameters.mean / std).sum(1)
    assert (keys.diff() > 0).all()
    scale, offset = torch.tensor([1e-3, 50.0, 2.0]), torch.tensor([1e4, -3.0, 0.0])
    other = model.fit(Events(events.values * scale + offset, events.mask))
    assert_close(other.parameters.transition, found.parameters.transition)
    assert_close(other.parameters.mean, found.parameters.mean * scale + offset)
    by_last = GaussianHMM(STATES, iterations=15, tolerance=0.0, order_by=2).fit(events)
    assert (by_last.parameters.mean[:, 2].diff() > 0).all()
    assert_close(by_last.history, found.history)


def test_sorting_moves_every_parameter_together() -> None:
    events, start = series(MANY, CHANNELS), chain(STATES, CHANNELS)
    back = torch.tensor([2, 0, 3, 1])
    shuffled = Parameters(
        start.start[back],
        start.transition[back][:, back],
        start.mean[back],
        start.variance[back],
    )
    model = GaussianHMM(STATES, iterations=3)
    one, two = model.fit(events, start), model.fit(events, shuffled)
    for mine, other in zip(one.parameters, two.parameters, strict=True):
        assert_close(mine, other)


def test_filtering_a_prefix_is_the_prefix_of_filtering() -> None:
    events, model = gapped(), fitted(chain(3, 2))
    whole = model.filtered(events)
    cut = 6
    known = events.mask[:, :cut].any(1)
    prefix = Events(events.values[known, :cut], events.mask[known, :cut])
    assert torch.equal(model.filtered(prefix), whole[known, :cut])
    smoothed = model.smoothed(events)
    assert not torch.allclose(model.smoothed(prefix), smoothed[known, :cut])
    assert_close(smoothed[:, -1], whole[:, -1])
    for posterior in (whole, smoothed):
        sums = posterior.sum(-1)
        begun = Steps.of(events).begun.T
        assert_close(sums, begun.double(), rtol=0, atol=1e-12)


def test_padding_and_order_of_customers_change_nothing() -> None:
    events, settings = series(MANY, CHANNELS), GaussianHMM(STATES, iterations=5)
    start = chain(STATES, CHANNELS)
    model = settings.fit(events, start)
    more = Events(
        events.values.new_full((len(MANY), 4, CHANNELS), 9.0),
        torch.zeros(len(MANY), 4, dtype=torch.bool),
    )
    padded = Events(
        torch.cat([more.values, events.values], 1),
        torch.cat([more.mask, events.mask], 1),
    )
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    for other in (padded, events.rows(order)):
        again = settings.fit(other, start)
        assert_close(again.history, model.history, rtol=1e-12, atol=0)
        assert_close(again.parameters.transition, model.parameters.transition)
    assert torch.equal(model.filtered(padded)[:, 4:], model.filtered(events))
    assert torch.equal(model.viterbi(events.rows(order)), model.viterbi(events)[order])


def test_a_customer_alone_reads_as_among_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events, model = gapped(), fitted(chain(3, 2))
    whole = model.smoothed(events)
    monkeypatch.setattr("ple_study.data.hmm.model.CUSTOMERS_AT_ONCE", 1)
    assert_close(model.smoothed(events), whole, rtol=0, atol=1e-14)


def test_kmeans_finds_planted_states_and_is_repeatable() -> None:
    g = torch.Generator().manual_seed(3)
    path = torch.zeros(60, 40, dtype=torch.long)
    stay = torch.tensor([[0.9, 0.1, 0], [0.05, 0.9, 0.05], [0, 0.2, 0.8]])
    for t in range(1, 40):
        path[:, t] = torch.multinomial(stay[path[:, t - 1]], 1, generator=g)[:, 0]
    levels = torch.tensor([[0.0, 0.0], [3.0, 1.0], [5.0, 6.0]])
    noise = torch.randn(60, 40, 2, generator=g)
    events = Events(levels[path] + 0.5 * noise, torch.ones(60, 40, dtype=torch.bool))
    model = GaussianHMM(3)
    found = model.fit(events)
    assert found.converged
    assert_close(found.parameters.mean, levels.double(), rtol=0, atol=0.1)
    assert_close(found.parameters.transition, stay.double(), rtol=0, atol=0.05)
    assert (found.viterbi(events) == path).double().mean() > 0.99
    assert model.fit(events).history == found.history


@pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no GPU here.")
def test_a_gpu_fits_and_reads_as_a_cpu_does() -> None:
    events, settings = series(MANY * 3, CHANNELS), GaussianHMM(STATES, iterations=5)
    here, there = settings.fit(events), settings.fit(events.to("cuda"))
    assert_close(torch.tensor(there.history), torch.tensor(here.history))
    assert_close(there.filtered(events.to("cuda")).cpu(), here.filtered(events))
    assert torch.equal(there.viterbi(events.to("cuda")).cpu(), here.viterbi(events))
