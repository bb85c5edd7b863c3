"""DeepCTR-Torch: its PLE and its fit.

Apache-2.0, github.com/shenweichen/DeepCTR-Torch.
"""

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from itertools import chain
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from benchmarks.contestant import Contestant, Pair, of_gates, of_linear, of_tables
from ple_study.baselines import PLE
from ple_study.batch import Rows

# On import it asks the network for its newest version, in a thread.
_quiet: Any = ModuleType("deepctr_torch.utils")
_quiet.check_version = str
sys.modules.setdefault("deepctr_torch.utils", _quiet)

from deepctr_torch.inputs import DenseFeat, SparseFeat  # noqa: E402
from deepctr_torch.layers import DNN  # noqa: E402
from deepctr_torch.models import PLE as TheirPLE  # noqa: E402


class DeepCTRTorch(Contestant):
    """No normalisation; an L2 term over the tables; the loss is a sum over rows.

    A ready step gets the dense columns as one feature, which is fastest.
    """

    name = "DeepCTR-Torch"
    twin = "none"

    def build(self, *, apart: bool = False) -> TheirPLE:
        shape = self.shape
        dense = [DenseFeat("n", shape.dense)]
        if apart:
            dense = [DenseFeat(f"n{i}") for i in range(shape.dense)]
        sparse = [
            SparseFeat(f"c{i}", shape.vocabulary, embedding_dim=shape.dim)
            for i in range(shape.sparse)
        ]
        model = TheirPLE(
            sparse + dense,
            shared_expert_num=shape.shared,
            specific_expert_num=shape.private,
            num_levels=shape.levels,
            expert_dnn_hidden_units=shape.expert,
            gate_dnn_hidden_units=(),
            tower_dnn_hidden_units=shape.tower,
            task_types=["binary"] * shape.tasks,
            task_names=[f"t{i}" for i in range(shape.tasks)],
        )
        # It makes as many shared experts as private ones, whatever was asked for.
        for level, (experts,) in enumerate(model.shared_experts):
            dim = shape.expert[-1] if level else shape.width
            missing = range(len(experts), shape.shared)
            experts.extend(DNN(dim, shape.expert) for _ in missing)
            del experts[shape.shared :]
        losses = ["binary_crossentropy"] * shape.tasks
        model.compile("adam", loss=losses, metrics=["auc"])
        return model

    def pairs(self, ours: PLE, theirs: Any) -> Iterator[Pair]:
        yield from of_tables(ours, theirs.embedding_dict.values())
        for i, level in enumerate(ours.levels):
            private = list(chain.from_iterable(theirs.specific_experts[i]))
            yield from _mlps(level.private, private)
            yield from _mlps(level.shared, theirs.shared_experts[i][0])
            gates = list(theirs.specific_gate_dnn_final_layer[i])
            gates.append(theirs.shared_gate_dnn_final_layer[i])
            yield from of_gates(level.gate, gates)
        yield from _mlps(ours.towers.hidden, theirs.tower_dnn)
        head: Any = ours.towers.heads[0]
        last = zip(theirs.tower_dnn_final_layer, theirs.out, strict=True)
        for lane, (linear, out) in enumerate(last):
            yield Pair(head.weight, lane, linear.weight)
            yield Pair(head.bias, lane, out.bias)

    def steps(self, model: Any, rows: Rows) -> Callable[[], None]:
        x, y = self._inputs(rows)

        def step() -> None:  # the body of its fit
            answers = model(x)
            model.optim.zero_grad()
            losses = [
                function(answers[:, i], y[:, i], reduction="sum")
                for i, function in enumerate(model.loss_func)
            ]
            loss = sum(losses)
            total = loss + model.get_regularization_loss() + model.aux_loss
            loss.item(), total.item()
            total.backward()
            model.optim.step()

        return step

    def answers(self, model: Any, rows: Rows) -> Callable[[], Tensor]:
        x, _ = self._inputs(rows)
        return lambda: model(x)

    def epoch(self, train: Rows, val: Rows, batch_size: int) -> Callable[[], object]:
        (x, y), (x_val, y_val) = self._arrays(train), self._arrays(val)

        def run() -> object:
            model, data = self.build(apart=True), (dict(x_val), y_val)
            with redirect_stdout(io.StringIO()):
                return model.fit(
                    dict(x), y, batch_size, verbose=0, validation_data=data
                )

        return run

    def _inputs(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """All columns as one matrix of floats."""
        batch = rows.batch
        columns = torch.cat([batch.categorical.float(), batch.numeric], dim=1)
        return columns, self.shape.labels(rows)

    def _arrays(self, rows: Rows) -> tuple[dict[str, Any], Any]:
        """One array a column."""
        codes, dense = rows.batch.categorical.unbind(1), rows.batch.numeric.unbind(1)
        columns = {f"c{i}": c.contiguous() for i, c in enumerate(codes)}
        columns |= {f"n{i}": n.contiguous() for i, n in enumerate(dense)}
        arrays = {name: column.numpy() for name, column in columns.items()}
        return arrays, self.shape.labels(rows).numpy()


def _mlps(ours: Any, theirs: Any) -> Iterator[Pair]:
    for lane, dnn in enumerate(theirs):
        for layer, linear in zip(ours.layers, dnn.linears, strict=True):
            yield from of_linear(layer, lane, linear)
