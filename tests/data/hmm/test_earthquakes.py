"""The recursions on a published table: great earthquakes a year, 1900 to 2006.

Zucchini and MacDonald, "Hidden Markov Models for Time Series" (2009), tables 1.1, 4.1
and 4.2. States are Poisson there: the densities and the step for the rates are written
here, all else of EM is the package's own.
"""

import numpy as np
import pytest
import torch
from hmmlearn.hmm import PoissonHMM
from torch import Tensor

from ple_study.data.hmm.markov import forward, smooth, transition_counts

COUNTS = """
13 14 8 10 16 26 32 27 18 32 36 24 22 23 22 18 25 21 21 14 8 11 14 23 18 17 19 20 22 19
13 26 13 14 22 24 21 22 26 21 23 24 27 41 31 27 35 26 28 36 39 21 17 22 17 19 15 34 10
15 22 18 15 20 15 22 19 16 30 27 29 23 20 16 21 21 25 16 18 15 18 14 10 15 8 15 6 11 8 7
18 16 13 12 13 20 15 16 12 18 15 16 13 15 16 11 11
"""
YEARS = torch.tensor([int(word) for word in COUNTS.split()], dtype=torch.float64)
PUBLISHED = {  # -log likelihood, and the rates of the states
    1: (391.9189, [19.364]),
    2: (341.8787, [15.421, 26.018]),
    3: (328.5275, [13.134, 19.713, 29.710]),
}
BEGUN = torch.ones(len(YEARS), 1, dtype=torch.bool)


def begin(num_states: int) -> tuple[Tensor, Tensor, Tensor]:
    even = torch.full((num_states,), 1 / num_states, dtype=torch.float64)
    stay = 0.8 * torch.eye(num_states, dtype=torch.float64) + 0.2 / num_states
    levels = torch.linspace(0, 1, num_states + 2, dtype=torch.float64)[1:-1]
    return even, stay, YEARS.quantile(levels)


def step(start: Tensor, moves: Tensor, rate: Tensor) -> tuple[float, list[Tensor]]:
    """-log likelihood before an EM step, and the parameters after it."""
    emission = torch.distributions.Poisson(rate).log_prob(YEARS[:, None, None])
    past = forward(start, moves, emission, BEGUN)
    smoothed = smooth(moves, past)
    counts = transition_counts(moves, past, smoothed, BEGUN[:-1])
    share = smoothed[:, 0].exp()
    rates = (share * YEARS[:, None]).sum(0) / share.sum(0)
    after = [share[0], counts / counts.sum(1, keepdim=True), rates]
    return -float(past.log_likelihood), after


@pytest.mark.parametrize("num_states", PUBLISHED)
def test_em_reaches_the_published_table(num_states: int) -> None:
    assert len(YEARS) == 107
    parameters, history = list(begin(num_states)), []
    while len(history) < 2 or history[-2] - history[-1] > 1e-7:
        value, parameters = step(*parameters)
        history.append(value)
    likelihood, rates = PUBLISHED[num_states]
    assert history[-1] == pytest.approx(likelihood, abs=5e-5)
    np.testing.assert_allclose(parameters[2], rates, rtol=0, atol=6e-4)
    assert np.diff(history).max() < 1e-9


@pytest.mark.parametrize("num_states", [2, 3])
def test_each_em_step_is_that_of_hmmlearn(num_states: int) -> None:
    parameters = list(begin(num_states))
    theirs = PoissonHMM(num_states, n_iter=7, tol=-np.inf, init_params="")
    theirs.lambdas_prior, theirs.lambdas_weight = 0.0, 0.0
    theirs.startprob_, theirs.transmat_ = parameters[0].numpy(), parameters[1].numpy()
    theirs.lambdas_, theirs.n_features = parameters[2][:, None].numpy(), 1
    theirs.fit(YEARS[:, None].long().numpy())
    history = []
    for _ in range(7):
        value, parameters = step(*parameters)
        history.append(-value)
    np.testing.assert_allclose(history, list(theirs.monitor_.history), rtol=1e-12)
    np.testing.assert_allclose(parameters[1], theirs.transmat_, rtol=0, atol=1e-10)
    np.testing.assert_allclose(parameters[2], theirs.lambdas_[:, 0], rtol=1e-10)
