"""Saved models that are damaged: a model that answers, or an error of ours."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ple_study import checkpoint
from ple_study.export import FILE, load, save
from ple_study.fitted import Fitted
from ple_study.serving.service import ABOUT, Service
from tests.fuzz.strategies import (
    JSON,
    Refused,
    cases,
    damaged,
    damaged_bytes,
    places,
    tried,
)
from tests.models import customers
from tests.test_export import SPECS, untrained

pytestmark = pytest.mark.plain


@cache
def whole() -> bytes:
    with TemporaryDirectory() as folder:
        return save(untrained(SPECS["mmoe"]), folder).read_bytes()


def loaded(content: bytes) -> Fitted | Refused:
    with TemporaryDirectory() as folder:
        (Path(folder) / FILE).write_bytes(content)
        return tried(load, folder)


def answers(fitted: Fitted) -> None:
    schema = fitted.schema
    found = fitted.predict(customers(schema))
    assert {k: v.shape for k, v in found.items()} == {
        task.name: (5, task.outputs) for task in schema.tasks
    }


@cases(15, 1000)
@given(st.data())
def test_a_damaged_file_is_loaded_or_refused(data: st.DataObject) -> None:
    fitted = loaded(data.draw(damaged_bytes(whole())))
    if not isinstance(fitted, Refused):
        answers(fitted)


CHANGES = {
    "left out": lambda _: None,
    "shorter": lambda x: x.reshape(-1)[:-1],
    "an axis more": lambda x: x[None],
    "halves": lambda x: x.half(),
    "whole": lambda x: x.long(),
    "one number": lambda x: x.sum(),
    "turned": lambda x: x.T.contiguous() if x.ndim == 2 else x,
    "others": lambda x: x + 1,
}


def rewritten(meta: Any, tensors: dict[str, torch.Tensor]) -> Fitted | Refused:
    with TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        checkpoint.write(path, tensors, meta)
        return tried(load, folder)


@cache
def parts() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with TemporaryDirectory() as folder:
        (Path(folder) / FILE).write_bytes(whole())
        return checkpoint.read(Path(folder) / FILE)


@cases(20, 700)
@given(st.data())
def test_a_file_without_its_tensors_is_refused(data: st.DataObject) -> None:
    tensors, meta = parts()
    name = data.draw(st.sampled_from(sorted(tensors)))
    how = data.draw(st.sampled_from(sorted(CHANGES)))
    own = dict(tensors)
    changed = CHANGES[how](own.pop(name))
    if changed is not None:
        own[name] = changed
    if data.draw(st.integers(0, 4)) == 0:
        own[data.draw(st.sampled_from(["model.x", "scaler.x", "y"]))] = torch.zeros(2)
    fitted = rewritten(meta, own)
    kept = changed is not None and changed.shape == tensors[name].shape
    kept = kept and changed.dtype == tensors[name].dtype  # type: ignore[union-attr]
    if not isinstance(fitted, Refused):
        assert kept
        answers(fitted)


@cases(15, 1000)
@given(st.data())
def test_a_file_of_other_words_is_loaded_or_refused(data: st.DataObject) -> None:
    tensors, meta = parts()
    other = data.draw(damaged(meta))
    sizes = [p for path in places(other) for p in [_at(other, path)]]
    if not isinstance(other, dict) or any(
        isinstance(x, int) and x > 999 for x in sizes
    ):
        return  # a layer may be as wide as memory holds
    fitted = rewritten(other, tensors)
    if not isinstance(fitted, Refused):
        answers(fitted)


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


ABOUT_IT = {"format": 1, "model": "MMoESpec", "uncertainty": [], "explanation": None}


@cases(15, 500)
@given(st.data())
def test_a_service_without_its_words_is_refused(data: st.DataObject) -> None:
    _, meta = parts()
    about = ABOUT_IT | {"schema": meta["schema"]}
    text = json.dumps(data.draw(st.one_of(damaged(about), JSON)))
    if data.draw(st.integers(0, 4)) == 0:
        text = text[: data.draw(st.integers(0, len(text) - 1))]
    with TemporaryDirectory() as folder:
        (Path(folder) / ABOUT).write_text(text)
        assert isinstance(tried(Service.load, folder), Refused)  # has no graph
