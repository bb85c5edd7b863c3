"""torch-rechub: its PLE, trainer and loader.

MIT, github.com/datawhalechina/torch-rechub.
"""

import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from torch import Tensor
from torch_rechub.basic.features import DenseFeature, SparseFeature
from torch_rechub.models.multi_task import PLE as TheirPLE
from torch_rechub.trainers import MTLTrainer
from torch_rechub.utils.data import DataGenerator

from benchmarks.contestant import Contestant, Pair, of_gates, of_linear, of_tables
from ple_study.baselines import PLE
from ple_study.batch import Rows


class TorchRechub(Contestant):
    """Batch normalisation before every activation and before every gate's softmax.

    A ready step gets the dense columns as one tensor, which is fastest; an epoch gets
    one feature a column, as in its tutorials.
    """

    name = "torch-rechub"
    twin = "batch"

    def build(self, *, apart: bool = False) -> TheirPLE:
        shape = self.shape
        dense = [DenseFeature("n", shape.dense)]
        if apart:
            dense = [DenseFeature(f"n{i}") for i in range(shape.dense)]
        sparse = [
            SparseFeature(f"c{i}", shape.vocabulary, shape.dim)
            for i in range(shape.sparse)
        ]
        return TheirPLE(
            sparse + dense,
            ["classification"] * shape.tasks,
            shape.levels,
            shape.private,
            shape.shared,
            {"dims": list(shape.expert)},
            [{"dims": list(shape.tower)} for _ in range(shape.tasks)],
        )

    def pairs(self, ours: PLE, theirs: Any) -> Iterator[Pair]:
        yield from of_tables(ours, theirs.embedding.embed_dict.values())
        for level, layer in zip(ours.levels, theirs.cgc_layers, strict=True):
            yield from _mlps(level.private, layer.experts_specific)
            yield from _mlps(level.shared, layer.experts_shared)
            gates = [gate.mlp for gate in layer.gates_specific]
            if layer.cur_level < layer.n_level:
                gates.append(layer.gate_shared.mlp)
            linears, norms = [g[0] for g in gates], [g[1] for g in gates]
            yield from of_gates(level.gate, linears, norms)
        yield from _mlps(ours.towers.hidden, theirs.towers)
        for lane, tower in enumerate(theirs.towers):
            yield from of_linear(ours.towers.heads[0], lane, tower.mlp[-1])

    def steps(self, model: Any, rows: Rows) -> Callable[[], None]:
        trainer, ready = self._trainer(model), [self._inputs(rows)]

        def step() -> None:
            with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
                trainer.train_one_epoch(ready)

        return step

    def answers(self, model: Any, rows: Rows) -> Callable[[], Tensor]:
        inputs, _ = self._inputs(rows)
        return lambda: model(inputs)

    def epoch(self, train: Rows, val: Rows, batch_size: int) -> Callable[[], object]:
        (x, y), (x_val, y_val) = self._arrays(train), self._arrays(val)

        def run() -> object:
            with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
                loaders = DataGenerator(x, y).generate_dataloader(
                    x_val, y_val, x_val, y_val, batch_size=batch_size
                )
                return self._trainer(self.build(apart=True)).fit(*loaders[:2])

        return run

    def _trainer(self, model: Any) -> Any:
        return MTLTrainer(
            model,
            ["classification"] * self.shape.tasks,
            n_epoch=1,
            device=str(next(model.parameters()).device),
            model_path=tempfile.mkdtemp(),
        )

    def _inputs(self, rows: Rows) -> tuple[dict[str, Tensor], Tensor]:
        columns = [c.contiguous() for c in rows.batch.categorical.unbind(1)]
        inputs = {f"c{i}": column for i, column in enumerate(columns)}
        return inputs | {"n": rows.batch.numeric}, self.shape.labels(rows)

    def _arrays(self, rows: Rows) -> tuple[dict[str, Any], Any]:
        """One array a column."""
        inputs, labels = self._inputs(rows)
        dense = inputs.pop("n").unbind(1)
        columns = inputs | {f"n{i}": n.contiguous() for i, n in enumerate(dense)}
        return {k: c.numpy() for k, c in columns.items()}, labels.numpy()


def _mlps(ours: Any, theirs: Any) -> Iterator[Pair]:
    """A layer of theirs is linear, batch normalisation, activation, dropout."""
    for lane, mlp in enumerate(theirs):
        for depth, layer in enumerate(ours.layers):
            yield from of_linear(layer, lane, mlp.mlp[4 * depth])
            norm = ours.norms[depth][lane]
            yield from of_linear(norm, slice(None), mlp.mlp[4 * depth + 1])
