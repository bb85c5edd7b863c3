"""A PLE trained with torch-rechub, brought over: the same weights, the same answers.

torch-rechub keeps one tensor an expert, a gate and a feature; here they lie stacked.
Names and order are those of its version 0.9.0 (github.com/datawhalechina/torch-rechub).
The library itself is not needed, only the weights that it saved.
"""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from ple_study.baselines import PLE, PLESpec
from ple_study.schema import Schema

Named = Iterator[tuple[str, Tensor]]

LINEAR = ("weight", "bias")
NORM = (*LINEAR, "running_mean", "running_var", "num_batches_tracked")
STEP = 4  # modules a layer: linear, batch normalisation, activation, dropout
LOSS = "loss weight."  # what their trainer learns about the loss, saved with the model


def from_torch_rechub(
    saved: Mapping[str, Tensor], schema: Schema, spec: PLESpec
) -> PLE:
    """The PLE of this spec with the weights of a torch-rechub PLE, in eval mode.

    ``saved`` is the other model's ``state_dict()``. The schema has its features, by the
    same names and in the same order: dense ones numeric, sparse ones categorical with
    the vocabulary ``range(vocab_size)`` and one width, so that row v there is row v + 1
    here. Row 0, for values never seen, becomes the mean of the others. The spec has the
    same counts and widths, ``norm="batch"`` in experts and tower, and gates with
    ``bias`` and ``norm``.

    Raises ValueError when a weight is missing, left over, or of another shape.
    """
    model = spec.build(schema)
    left = Left({k: t for k, t in saved.items() if not k.startswith(LOSS)})
    found = dict(_weights(left, schema, spec))
    if left.tensors:
        raise ValueError(
            f"Every weight of torch-rechub's PLE needs a place in this spec and "
            f"schema. Found none for {list(left.tensors)[:5]}."
        )
    wanted, there = _shapes(model.state_dict()), _shapes(found)
    for name in wanted | there:
        if wanted.get(name) != there.get(name):
            raise ValueError(
                f"Ours and torch-rechub's PLE must have the same weights. Found shape "
                f"{there.get(name)} there and {wanted.get(name)} here for {name!r}."
            )
    model.load_state_dict(found)
    return model.eval()


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


class Left:
    """The weights that nobody took yet."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors

    def take(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise ValueError(
                f"A torch-rechub PLE of this spec and schema has a weight {name!r}. "
                f"Found none."
            )
        return self.tensors.pop(name)

    def stack(self, names: Iterable[str]) -> Tensor:
        return torch.stack([self.take(name) for name in names])

    def join(self, names: Iterable[str]) -> Tensor:
        """Vectors and matrices end to end; of counters, the first."""
        parts = [self.take(name) for name in names]
        return torch.cat(parts) if parts[0].ndim else parts[0]


def _weights(left: Left, schema: Schema, spec: PLESpec) -> Named:
    tasks, private = len(schema.tasks), sum(spec.counts(schema))
    depth = len(spec.expert.dims)
    for level in range(spec.levels):
        ours, theirs = f"levels.{level}", f"cgc_layers.{level}"
        own, shared = f"{theirs}.experts_specific", f"{theirs}.experts_shared"
        yield from _mlps(left, f"{ours}.private", own, private, depth)
        yield from _mlps(left, f"{ours}.shared", shared, spec.shared, depth)
        heard = [f"{theirs}.gates_specific.{task}" for task in range(tasks)]
        if level < spec.levels - 1:
            heard.append(f"{theirs}.gate_shared")
        yield from _gates(left, f"{ours}.gate", heard)
    depth = len(spec.tower.dims)
    yield from _mlps(left, "towers.hidden", "towers", tasks, depth)
    for part in LINEAR:
        names = [f"towers.{task}.mlp.{STEP * depth}.{part}" for task in range(tasks)]
        yield f"towers.heads.0.{part}", left.stack(names)
    if schema.categorical:
        yield "tabular.tables.0.weight", _table(left, schema)


def _table(left: Left, schema: Schema) -> Tensor:
    """All columns share a table here; the rows of each begin with its row 0."""
    names = [f"embedding.embed_dict.{f.name}.weight" for f in schema.categorical]
    tables = [left.take(name) for name in names]
    return torch.cat([part for t in tables for part in (t.mean(0, keepdim=True), t)])


def _mlps(left: Left, ours: str, theirs: str, lanes: int, depth: int) -> Named:
    """A list of networks there, a stack of them here."""
    if not lanes:
        return
    mlps = [f"{theirs}.{lane}.mlp" for lane in range(lanes)]
    for layer in range(depth):
        for part in LINEAR:
            names = [f"{mlp}.{STEP * layer}.{part}" for mlp in mlps]
            yield f"{ours}.layers.{layer}.{part}", left.stack(names)
        for lane, mlp in enumerate(mlps):
            for part in NORM:
                name = f"{mlp}.{STEP * layer + 1}.{part}"
                yield f"{ours}.norms.{layer}.{lane}.{part}", left.take(name)


def _gates(left: Left, ours: str, theirs: list[str]) -> Named:
    """A gate a task there, one product for all here."""
    for place, ours_part, parts in ((0, "linear", LINEAR), (1, "norm", NORM)):
        for part in parts:
            names = [f"{gate}.mlp.{place}.{part}" for gate in theirs]
            yield f"{ours}.{ours_part}.{part}", left.join(names)
    yield f"{ours}.frozen", torch.tensor(False)
