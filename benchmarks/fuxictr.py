"""FuxiCTR: its PLE, trainer and loader.

Apache-2.0, github.com/reczoo/FuxiCTR. The PLE is in the repository's model zoo, not in
the package: the environment's FUXICTR names a clone.
"""

import importlib.util
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.contestant import Contestant
from ple_study.batch import Rows

if "FUXICTR" not in os.environ:
    raise ImportError(
        "its PLE is not in its package. To have it: "
        "git clone https://github.com/reczoo/FuxiCTR; "
        "pip install polars h5py keras-preprocessing; export FUXICTR=FuxiCTR"
    )
ROOT = Path(os.environ["FUXICTR"])
sys.path.append(str(ROOT))

from fuxictr.features import FeatureMap  # noqa: E402
from fuxictr.pytorch.dataloaders import RankDataLoader  # noqa: E402

PLE = ROOT / "model_zoo/multitask/PLE/src/PLE.py"


class FuxiCTR(Contestant):
    """Another function: its shared gate hears the shared experts alone.

    It embeds numbers as well, and its steps clip the gradient.
    """

    name = "FuxiCTR"
    embeds = True

    def build(self) -> Any:
        shape, folder = self.shape, tempfile.mkdtemp()
        Path(folder, "study").mkdir()  # where it saves its best weights
        return _model_zoo().PLE(
            self._features(folder),
            task=["binary_classification"] * shape.tasks,
            num_tasks=shape.tasks,
            embedding_dim=shape.dim,
            num_layers=shape.levels,
            num_shared_experts=shape.shared,
            num_specific_experts=shape.private,
            expert_hidden_units=list(shape.expert),
            gate_hidden_units=[],
            tower_hidden_units=list(shape.tower),
            optimizer="adam",
            loss=["binary_crossentropy"] * shape.tasks,
            metrics=["logloss", "AUC"],
            monitor="AUC",
            model_root=folder,
            verbose=0,
        )

    def steps(self, model: Any, rows: Rows) -> Callable[[], None]:
        inputs = _inputs(rows)
        model._max_gradient_norm = 10.0  # what its fit sets

        def step() -> None:
            model.train_step(inputs).item()

        return step

    def answers(self, model: Any, rows: Rows) -> Callable[[], Tensor]:
        inputs = _inputs(rows)
        return lambda: torch.cat(list(model(inputs).values()), dim=1)

    def epoch(self, train: Rows, val: Rows, batch_size: int) -> Callable[[], object]:
        folder = Path(tempfile.mkdtemp())
        for name, rows in (("train", train), ("val", val)):
            columns = {k: v.numpy() for k, v in _inputs(rows).items()}
            np.savez(folder / name, **columns)  # type: ignore[arg-type]
        logging.disable(logging.INFO)

        def run() -> object:
            model = self.build()
            loaders = RankDataLoader(
                model.feature_map,
                stage="train",
                train_data=str(folder / "train.npz"),
                valid_data=str(folder / "val.npz"),
                batch_size=batch_size,
                num_workers=0,
            ).make_iterator()
            return model.fit(loaders[0], validation_data=loaders[1])

        return run

    def _features(self, folder: str) -> FeatureMap:
        shape, features = self.shape, FeatureMap("study", folder)
        code = {"source": "", "type": "categorical", "vocab_size": shape.vocabulary}
        number = {"source": "", "type": "numeric"}
        features.features = {f"c{i}": code for i in range(shape.sparse)}
        features.features |= {f"n{i}": number for i in range(shape.dense)}
        features.labels = [f"t{i}" for i in range(shape.tasks)]
        features.num_fields = features.get_num_fields()
        features.set_column_index()
        return features


def _model_zoo() -> Any:
    spec = importlib.util.spec_from_file_location("fuxictr_ple", PLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _inputs(rows: Rows) -> dict[str, Tensor]:
    codes, dense = rows.batch.categorical.unbind(1), rows.batch.numeric.unbind(1)
    columns = {f"c{i}": c.contiguous() for i, c in enumerate(codes)}
    columns |= {f"n{i}": n.contiguous() for i, n in enumerate(dense)}
    return columns | dict(rows.labels)
