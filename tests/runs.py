"""Short runs on the small study, and whether two of them are the same."""

import torch

from ple_study.baselines import PLESpec, SharedBottomSpec
from ple_study.experts.mlp import MLPSpec
from ple_study.objective.weighting import UncertaintyWeightingSpec
from ple_study.training import Training, fit
from tests.studies import mixed

SMALL = MLPSpec(dims=(8, 7), dropout=0.2)
TOWER = MLPSpec(dims=(6,))
BOTTOM = SharedBottomSpec(trunk=SMALL, tower=TOWER)
PLE = PLESpec(levels=2, shared=2, private=1, expert=SMALL, tower=TOWER)
SHORT = Training(epochs=4, batch_size=32, lr=0.01, schedule="cosine")


def same(first, second):
    """Whether two fitted models have equal histories and equal bits."""
    states = first.model.state_dict(), second.model.state_dict()
    return first.history == second.history and all(
        torch.equal(tensor, states[1][name]) for name, tensor in states[0].items()
    )


def run(**changes):
    learned = UncertaintyWeightingSpec()
    options = {"training": SHORT, "weighting": learned, "seed": 5, "device": "cpu"}
    return fit(mixed(), PLE, **(options | changes))
