"""Tensors of every wrong kind: a study of them is whole, or it is refused."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ple_study.baselines import SharedBottomSpec
from ple_study.batch import Batch, Rows
from ple_study.data.loader import Study
from ple_study.experts.mlp import MLPSpec
from tests.data.whole import SCHEMA, SIZE, rows_of, study_of
from tests.fuzz.strategies import Refused, cases, tried
from tests.models import built

pytestmark = pytest.mark.plain
MODEL = built(
    SharedBottomSpec(trunk=MLPSpec(dims=(3,)), tower=MLPSpec(dims=())), SCHEMA
)
SPLIT = {"train": range(11), "val": range(11, 16), "test": range(16, SIZE)}
Change = Callable[[Tensor], Tensor]


def put(value: float, at: int, tensor: Tensor) -> Tensor:
    """The tensor with one number that is another."""
    if tensor.dtype == torch.bool:
        return ~tensor
    if not tensor.is_floating_point():
        value = int(max(min(value, 2**40), -(2**40))) if value == value else 7
    flat = tensor.clone().flatten()
    if len(flat):
        flat[at % len(flat)] = value
    return flat.view(tensor.shape)


CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(
        partial,
        st.just(put),
        st.sampled_from([0.0, 1.0, -1.0, 0.5, 9.0, 3e38, *map(float, ("nan", "inf"))]),
        st.integers(0, 999),
    ),
    st.sampled_from(
        [torch.float64, torch.float16, torch.int32, torch.int64, torch.bool]
    ).map(lambda kind: lambda x: x.to(kind)),
    st.sampled_from(
        [
            lambda x: x[1:],
            lambda x: x[:0],
            lambda x: x[..., None],
            lambda x: x[..., :-1],
            lambda x: x.flatten(),
            lambda x: x.sum(),
            lambda x: torch.cat([x, x]),
            lambda x: x.flip(0),
            lambda x: x * 1,
        ]
    ),
)
PARTS = """numeric categorical states clusters customer values mask points shown graph
churn stage spend weight""".split()


def changed(rows: Rows, part: str, change: Change) -> Rows:
    batch = rows.batch
    if part in rows.labels:
        return replace(rows, labels={**rows.labels, part: change(rows.labels[part])})
    if part == "weight":
        return replace(rows, weights={"spend": change(rows.weights["spend"])})
    if part == "graph":
        own: Batch = replace(batch, vectors={"graph": change(batch.vectors["graph"])})
    elif part in ("values", "mask"):
        days = replace(
            batch.events["days"], **{part: change(vars(batch.events["days"])[part])}
        )
        own = replace(batch, events={"days": days})
    elif part in ("points", "shown"):
        name = "points" if part == "points" else "mask"
        app = batch.diagrams["app"]
        own = replace(
            batch, diagrams={"app": replace(app, **{name: change(vars(app)[name])})}
        )
    else:
        own = replace(batch, **{part: change(vars(batch)[part])})
    return replace(rows, batch=own)


@cases(30, 1500)
@given(st.lists(st.tuples(st.sampled_from(PARTS), CHANGES), min_size=1, max_size=2))
def test_a_study_is_whole_or_refused(damage: list[tuple[str, Change]]) -> None:
    rows = rows_of()
    for part, change in damage:
        try:
            rows = changed(rows, part, change)
        except (RuntimeError, IndexError):
            return  # two changes that torch itself cannot make
    if not rows.batch.numeric.ndim:
        return  # has no length
    study = tried(study_of, rows)
    if isinstance(study, Refused):
        return
    scaler = study.scaler()
    loader = study.loader(4, seed=0, scaler=scaler, device=torch.device("cpu"))
    batches = list(loader)
    assert sorted(c for b in batches for c in b.batch.customer.tolist()) == sorted(
        study.part("train").batch.customer.tolist()
    )
    for batch in batches:
        assert batch.batch.numeric.isfinite().all()
        logits = MODEL(batch.batch).logits
        assert all(z.isfinite().all() for z in logits.values())
    assert len(study.fingerprint()) == 32


SPLITS = st.dictionaries(
    st.sampled_from(["train", "val", "test", "tset"]),
    st.lists(st.integers(-1, SIZE), max_size=5).map(
        lambda rows: torch.tensor(rows, dtype=torch.int64)
    ),
    max_size=4,
)


@cases(15, 500)
@given(SPLITS)
def test_a_split_is_whole_or_refused(parts: dict[str, Tensor]) -> None:
    split = {k: torch.tensor([*v]) for k, v in SPLIT.items()} | parts
    study = tried(Study, SCHEMA, rows_of(), split)
    rows = [row for part in split.values() for row in part.tolist()]
    good = set(split) == set(SPLIT) and all(map(len, split.values()))
    good = good and len({*rows}) == len(rows) and {*rows} <= {*range(SIZE)}
    assert good != isinstance(study, Refused)
