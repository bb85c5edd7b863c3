"""Every expert says in ONNX what it says in torch."""

from pathlib import Path

import onnxruntime
import pytest
import torch

from ple_study.experts.base import ExpertSpec
from ple_study.export import onnx_inputs, program
from tests.customers import SCHEMA, customers
from tests.experts.specs import EVERY
from tests.experts.test_laws import built

DEFAULTS = (
    "deepfm-groups",
    "vectors-lightgcn",
    "vectors-hgcn",
    "temporal-default",
    "perslay-both",
    "causal-stable",
    "transport-metric",
)


@pytest.mark.plain
@pytest.mark.parametrize("spec", [EVERY[k] for k in DEFAULTS], ids=DEFAULTS)
def test_an_expert_says_in_onnx_what_it_says_in_torch(
    spec: ExpertSpec, tmp_path: Path
) -> None:
    expert = built(spec)
    path = tmp_path / "expert.onnx"
    program(expert, SCHEMA, ["block"]).save(path)
    session = onnxruntime.InferenceSession(path)
    for size in (1, 7, 100):
        batch = customers(size)
        given = onnx_inputs(batch)
        asked = {i.name: given[i.name].numpy() for i in session.get_inputs()}
        assert 0 < len(asked) < len(given)
        (found,) = session.run(["block"], asked)
        with torch.no_grad():
            wanted = expert(batch)
        torch.testing.assert_close(torch.from_numpy(found), wanted, atol=1e-5, rtol=0)
