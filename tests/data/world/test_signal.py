"""The planted lens matrix: what it adds up to, and what it refuses."""

import re

import numpy as np
import pytest

from ple_study.data.world.signal import signal
from ple_study.data.world.sizes import SIZES
from ple_study.data.world.tasks import DEEPFM, LENSES, PERSLAY, TEMPORAL

SMALL = SIZES["small"]


@pytest.mark.parametrize("noise", [0.0, 0.2, 0.7])
def test_all_parts_of_a_score_make_one(noise: float) -> None:
    found = signal(SMALL, noise, 0.5, {})
    total = found.shares.sum(1) + found.context.sum(1) + found.noise
    np.testing.assert_allclose(total, 1, rtol=1e-12)
    assert (found.shares >= 0).all()


def test_eighteen_tasks_sixteen_active_as_the_thread_has_them() -> None:
    tasks = signal(SIZES["study"], 0.2, 0.5, {}).tasks
    active = [task.spec for task in tasks if task.active]
    kinds = [spec.kind for spec in active]
    assert (len(tasks), len(active)) == (18, 16)
    assert [kinds.count(k) for k in ("binary", "multiclass", "regression")] == [4, 6, 5]
    widths = [128 if spec.kind == "contrastive" else spec.outputs for spec in active]
    assert sum(widths) == 205  # spec section 24
    groups = {spec.group for spec in active}
    assert groups == {"engagement", "lifecycle", "value", "consumption"}
    assert not {task.spec.name for task in tasks if not task.active} - {
        "uplift",
        "category_uplift",
    }


def test_every_lens_comes_first_for_two_tasks_or_more() -> None:
    found = signal(SMALL, 0.2, 0.5, {})
    active = [row for row, task in enumerate(found.tasks) if task.active]
    first = found.shares[active].argmax(1)
    assert (np.bincount(first, minlength=len(LENSES)) >= 2).all()


@pytest.mark.parametrize("correlation", [-1.0, -0.3, 0.0, 0.5, 1.0])
def test_the_angle_between_tasks_of_one_lens_is_the_dial(correlation: float) -> None:
    found = signal(SMALL, 0.2, correlation, {})
    unit = np.stack([np.cos(found.angle), np.sin(found.angle)], 1)
    cosines = unit @ unit.T
    firsts = np.array([task.lenses[0] for task in found.tasks])
    names = [task.spec.name for task in found.tasks]
    firsts[names.index("retention")] = "turned besides"
    for lens in set(LENSES) - {PERSLAY}:
        rows = np.flatnonzero(firsts == lens)
        assert cosines[rows[0], rows[1]] == pytest.approx(correlation, abs=1e-9)
    churn, retention = names.index("churn"), names.index("retention")
    assert cosines[churn, retention] == pytest.approx(-1)


def test_lenses_can_be_planted_elsewhere() -> None:
    chosen = {"churn": (DEEPFM, PERSLAY, TEMPORAL)}
    usual, found = signal(SMALL, 0.2, 0.5, {}), signal(SMALL, 0.2, 0.5, chosen)
    row = [task.spec.name for task in found.tasks].index("churn")
    moved = (usual.shares != found.shares).any(1)
    assert np.flatnonzero(moved).tolist() == [row]
    order = [LENSES[lens] for lens in np.argsort(-found.shares[row])[:3]]
    assert tuple(order) == chosen["churn"]


@pytest.mark.parametrize(
    ("noise", "correlation", "lenses", "message"),
    [
        (1.0, 0.5, {}, "noise must lie in [0, 1)"),
        (-0.1, 0.5, {}, "noise must lie in [0, 1)"),
        (0.2, 1.1, {}, "Found noise=0.2, correlation=1.1"),
        (0.2, float("nan"), {}, "correlation in [-1, 1]"),
        (0.2, 0.5, {"chrun": LENSES[:3]}, "Found 'chrun'"),
        (0.2, 0.5, {"churn": (DEEPFM, DEEPFM, TEMPORAL)}, "three different ones"),
        (0.2, 0.5, {"churn": (DEEPFM, "mlp", TEMPORAL)}, "'mlp'"),
    ],
)
def test_bad_settings(
    noise: float, correlation: float, lenses: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        signal(SMALL, noise, correlation, lenses)
