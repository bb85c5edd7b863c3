"""What a study must be: each check raises ValueError, expected and found."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ple_study.batch import Batch, Rows
from ple_study.data import rows as of_rows
from ple_study.names import nearest
from ple_study.schema import Schema, TaskSpec

SPLITS = ("train", "val", "test")
ROUNDING = 1e-4  # by which a customer's shares of clusters may miss one


def check_split(split: Mapping[str, Tensor], size: int) -> None:
    if set(split) != set(SPLITS) or not all(len(split[name]) for name in SPLITS):
        found = {name: len(index) for name, index in split.items()}
        raise ValueError(f"A split has rows for each of {SPLITS}. Found {found}.")
    kinds = {index.dtype for index in split.values()}
    if kinds != {torch.int64}:
        raise ValueError(f"A split holds row numbers (int64). Found {kinds}.")
    index = torch.cat([split[name] for name in SPLITS])
    if torch.unique(index).numel() != len(index):
        raise ValueError("A row belongs to one part of the split. Found some in two.")
    if index.min() < 0 or index.max() >= size:
        ends = f"{int(index.min())}..{int(index.max())}"
        raise ValueError(f"The split names rows outside 0..{size - 1}. Found {ends}.")


def check_lengths(schema: Schema, rows: Rows) -> None:
    of_rows.check_axes(rows)
    unknown = sorted(set(rows.weights) - set(schema.task_names))
    if unknown:
        raise ValueError(
            f"Weights must name tasks of {list(schema.task_names)}. Found {unknown}."
            f"{nearest(unknown[0], schema.task_names)}"
        )
    flat = {**{f"weights of {k}": v for k, v in rows.weights.items()}, **rows.labels}
    named = flat | {k: v.values for k, v in rows.batch.events.items()}
    named |= {k: v.points for k, v in rows.batch.diagrams.items()}
    named |= rows.batch.vectors
    whole = {f"batch.{k}": v for k, v in vars(rows.batch).items()}
    named |= {k: v for k, v in whole.items() if isinstance(v, Tensor)}
    wrong = {k: len(v) for k, v in named.items() if len(v) != len(rows)}
    if wrong:
        raise ValueError(f"All parts need {len(rows)} rows. Found {wrong}.")
    other = {k: v.dtype for k, v in flat.items() if not v.is_floating_point()}
    if other:
        raise ValueError(f"Labels and weights are floating point. Found {other}.")


def check_weights(weights: Mapping[str, Tensor]) -> None:
    for name, weight in weights.items():
        good = weight.isfinite() & (weight >= 0)
        if not good.all():
            raise ValueError(
                f"Weights of task {name!r} must be finite and zero or more. Found "
                f"{float(weight[~good][0])}."
            )
        if not weight.any():
            raise ValueError(
                f"Weights of task {name!r} are above zero in some row. Found zero "
                "throughout; a task that should not train has weight=0 itself."
            )


def check_shapes(schema: Schema, batch: Batch) -> None:
    """The series, diagrams, states, clusters and vectors that the schema promises."""
    states, clusters = batch.states, batch.clusters
    wanted = (
        {s.name: (s.steps, len(s.channels)) for s in schema.sequences},
        set(schema.diagrams),
        tuple(schema.states),
        (schema.clusters,),
        {v.name: v.dim for v in schema.vectors},
    )
    found = (
        {name: tuple(e.values.shape[1:]) for name, e in batch.events.items()},
        set(batch.diagrams),
        (0, 0) if states is None else tuple(states.shape[1:]),
        (0,) if clusters is None else tuple(clusters.shape[1:]),
        {name: vector.shape[1] for name, vector in batch.vectors.items()},
    )
    if wanted != found:
        raise ValueError(
            "The schema promises the series, diagrams, states, clusters and vectors "
            f"{wanted}. Found {found}."
        )
    rows = {f"vector {name!r}": vector for name, vector in batch.vectors.items()}
    if states is not None:
        rows |= {
            f"mode {i} of the states": row for i, row in enumerate(states.unbind(1))
        }
    for name, row in rows.items():
        good = row.isfinite().all(1) | row.isnan().all(1)
        if not good.all():
            raise ValueError(
                f"A row of {name} is finite, or NaN throughout where there is none. "
                f"Found {row[~good][0].tolist()[:5]}."
            )
    if clusters is not None:
        _check_clusters(clusters)


def _check_clusters(clusters: Tensor) -> None:
    """A customer's shares of the clusters; NaN throughout for one of whom none are."""
    if not clusters.is_floating_point():
        raise ValueError(
            "Clusters are shares, a row a customer, in floating point. Found "
            f"{clusters.dtype}."
        )
    good = (clusters >= 0).all(1) & ((clusters.sum(1) - 1).abs() <= ROUNDING)
    wrong = (~(good | clusters.isnan().all(1))).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(
            f"A row of clusters is zero or more and adds up to 1 within {ROUNDING}, or "
            "is NaN throughout where there is none. Found "
            f"{clusters[row].tolist()[:5]}, whose sum is {float(clusters[row].sum())}, "
            f"in row {row}."
        )


def check_real(batch: Batch) -> None:
    """What a mask says is real is finite: the steps of series, the points of diagrams.

    A model that is traced cannot refuse it; padding may hold anything.
    """
    parts = {
        f"steps of sequence {name!r}": (events.values, events.mask)
        for name, events in batch.events.items()
    }
    parts |= {
        f"points of diagram {name!r}": (diagrams.points, diagrams.mask)
        for name, diagrams in batch.diagrams.items()
    }
    for name, (values, mask) in parts.items():
        wrong = (~values.isfinite() & mask[..., None]).nonzero()
        if len(wrong):
            row, place, column = wrong[0].tolist()
            found = float(values[row, place, column])
            raise ValueError(
                f"Real {name} must be finite. Found {found} in row {row}, place "
                f"{place}, column {column}."
            )


def check_batch(schema: Schema, batch: Batch) -> None:
    kinds = (batch.numeric.dtype, batch.categorical.dtype)
    if kinds != (torch.float32, torch.int64):
        raise ValueError(
            f"Numeric columns are float32 and categorical codes int64. Found {kinds}."
        )
    widths = (len(schema.numeric), len(schema.categorical))
    found = (batch.numeric.shape[1], batch.categorical.shape[1])
    if widths != found:
        raise ValueError(
            f"The schema has {widths} numeric and categorical columns. Found {found}."
        )
    finite = batch.numeric.isfinite().all(0)
    if not finite.all():
        bad = [f.name for f, ok in zip(schema.numeric, finite, strict=True) if not ok]
        raise ValueError(
            f"Numeric columns must be finite. Found NaN or infinity in {bad[:5]}."
        )
    for column, feature in enumerate(schema.categorical):
        codes = batch.categorical[:, column]
        if codes.min() < 0 or codes.max() >= feature.size:
            raise ValueError(
                f"Codes of {feature.name!r} must lie in 0..{feature.size - 1}. Found "
                f"{int(codes.min())}..{int(codes.max())}."
            )


def check_labels(
    task: TaskSpec, labels: Mapping[str, Tensor], train: Tensor | None = None
) -> None:
    if task.name not in labels:
        raise ValueError(f"Task {task.name!r} has no labels. Found {list(labels)}.")
    label = labels[task.name]
    known = label[~label.isnan()]
    if train is not None and label[train].isnan().all():
        raise ValueError(
            f"Task {task.name!r} has no observed label among the training rows."
        )
    if task.kind == "regression":
        good = known.isfinite()
    else:
        good = (known >= 0) & (known < max(task.classes, 2)) & (known == known.round())
    if not good.all():
        whole = f"whole numbers in 0..{max(task.classes, 2) - 1}"
        allowed = "finite" if task.kind == "regression" else whole
        raise ValueError(
            f"Labels of the {task.kind} task {task.name!r} must be {allowed}, or NaN "
            f"where not observed. Found {float(known[~good][0])}."
        )
