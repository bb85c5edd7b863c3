"""On a GPU as on a CPU: training of every kind of task, and what is kept of it."""

import pytest
import torch

from ple_study.baselines import MMoESpec, PLESpec, SharedBottomSpec
from ple_study.training import Training, fit
from tests.studies import mixed

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="There is no GPU here."
)
SHORT = Training(epochs=2, batch_size=64)


@pytest.mark.parametrize("spec", [SharedBottomSpec(), MMoESpec(), PLESpec()])
def test_both_devices_learn_the_same(spec):
    here, there = (
        fit(mixed(), spec, training=SHORT, device=device, progress=False)
        for device in ("cpu", "cuda")
    )
    batch = mixed().part("test").batch
    wanted, found = here.predict(batch), there.predict(batch)
    for name, answer in found.items():
        torch.testing.assert_close(answer, wanted[name], atol=0.05, rtol=0.05)


@pytest.mark.parametrize("spec", [MMoESpec(), PLESpec()])
def test_half_precision_trains(spec):
    options = {"training": SHORT, "device": "cuda", "progress": False}
    fitted = fit(mixed(), spec, precision="bf16", **options)
    found = fitted.evaluate(mixed().part("test"))
    assert all(task["skill"] == task["skill"] for task in found.values())


def test_a_run_begun_on_a_cpu_goes_on_on_a_gpu(tmp_path):
    options = {"folder": tmp_path, "progress": False}
    fit(mixed(), PLESpec(), training=SHORT, device="cpu", **options)
    again = fit(
        mixed(), PLESpec(), training=SHORT, device="cuda", resume=True, **options
    )
    assert len(again.history) == SHORT.epochs
