"""The whole model on real households: trained, saved, and served by ONNX Runtime."""

from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch

from ple_study.data.loader import Study
from ple_study.export import load, onnx_inputs, save, to_onnx
from ple_study.fitted import Fitted
from ple_study.presets import SMALL
from ple_study.training import Training, fit


@pytest.fixture(scope="module")
def trained(whole: Study) -> Fitted:
    training = Training(epochs=1, batch_size=64)
    return fit(whole, SMALL, training=training, device="cpu", progress=False)


def test_a_saved_model_answers_as_before(
    trained: Fitted, whole: Study, tmp_path: Path
) -> None:
    save(trained, tmp_path)
    found, wanted = (
        own.output(whole.rows.batch).logits for own in (load(tmp_path), trained)
    )
    assert len(wanted) == 16
    for task, logits in wanted.items():
        assert torch.equal(found[task], logits), task


@pytest.mark.plain
def test_onnx_runtime_answers_as_torch_does(
    trained: Fitted, whole: Study, tmp_path: Path
) -> None:
    path = to_onnx(trained, tmp_path / "model.onnx", logits=True)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert "Scan" in kinds  # a series' loop is one node, not one a step
    session = onnxruntime.InferenceSession(path)
    for size in (1, 7, len(whole.rows)):
        batch = whole.rows.batch.rows(torch.arange(size))
        given = onnx_inputs(batch)
        asked = {i.name: given[i.name].numpy() for i in session.get_inputs()}
        assert any("diagrams" in name for name in asked)
        assert any("events" in name for name in asked)
        wanted = trained.output(batch).logits
        for (task, logits), answer in zip(
            wanted.items(), session.run(list(wanted), asked), strict=True
        ):
            close = (torch.from_numpy(answer) - logits).abs().max()
            assert close <= 1e-5, task
