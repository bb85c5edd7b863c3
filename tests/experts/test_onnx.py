"""Every expert says in ONNX what it says in torch."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from ple_study.batch import Batch
from ple_study.experts.base import ExpertSpec
from ple_study.export import program
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


def fields(batch: Batch) -> dict[str, np.ndarray]:
    """Every tensor by the name that its input has in ONNX."""
    parts = {"numeric": batch.numeric, "categorical": batch.categorical}
    for name, events in batch.events.items():
        parts |= {
            f"events_{name}_values": events.values,
            f"events_{name}_mask": events.mask,
        }
    for name, shape in batch.diagrams.items():
        parts |= {
            f"diagrams_{name}_points": shape.points,
            f"diagrams_{name}_mask": shape.mask,
        }
    parts |= {f"vectors_{name}": vector for name, vector in batch.vectors.items()}
    return {f"batch_{name}": part.numpy() for name, part in parts.items()}


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
        given = fields(batch)
        asked = {i.name: given[i.name] for i in session.get_inputs()}
        assert 0 < len(asked) < len(given)
        (found,) = session.run(["block"], asked)
        with torch.no_grad():
            wanted = expert(batch)
        torch.testing.assert_close(torch.from_numpy(found), wanted, atol=1e-5, rtol=0)
