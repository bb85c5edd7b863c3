"""What is merged part by part is what all rows say together."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ple_study.batch import Batch
from ple_study.data.loader import Scaler
from ple_study.data.scaler import Moments
from ple_study.schema import Feature, Schema, TaskSpec

SCHEMA = Schema(
    features=(
        Feature(name="far"),
        Feature(name="share", kind="probability"),
        Feature(name="constant"),
        Feature(name="small"),
    ),
    tasks=(TaskSpec(name="y"),),
)


def batch(rows: int, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    numeric = torch.randn(rows, 4, generator=draw) * torch.tensor([3.0, 0.1, 0.0, 1e-4])
    numeric = numeric + torch.tensor([1e4, 0.5, 0.1, -2e-3])
    return Batch(numeric, torch.zeros(rows, 0, dtype=torch.int64))


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_a_scaler_of_parts_is_the_scaler_of_all(sizes: list[int]) -> None:
    whole = batch(max(sum(sizes), 1))
    cuts = torch.tensor(sizes).cumsum(0)[:-1].tolist()
    parts = [whole.rows(index) for index in torch.arange(len(whole)).tensor_split(cuts)]
    found, wanted = Scaler.merged(SCHEMA, parts), Scaler.fit(SCHEMA, whole)
    torch.testing.assert_close(found.mean, wanted.mean, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.std, wanted.std, rtol=1e-6, atol=1e-9)
    assert found.mean[1] == 0
    assert found.std[1] == found.std[2] == 1


def test_moments_are_those_of_numpy_in_double_precision() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(37, 2)) * [1.0, 1e3] + [1e6, -5.0]
    seen = Moments(2)
    for part in np.split(values, [1, 6, 6, 30]):
        seen.add(torch.from_numpy(part))
    assert seen.count == 37
    np.testing.assert_allclose(seen.mean, values.mean(0), rtol=1e-14)
    np.testing.assert_allclose(seen.std, values.std(0), rtol=1e-9)
    np.testing.assert_array_equal(seen.top, np.abs(values).max(0))


def test_no_rows_and_no_columns_are_left_as_they_are() -> None:
    assert Scaler.merged(SCHEMA, []).std.tolist() == [1.0] * 4
    bare = Schema(features=(), tasks=(TaskSpec(name="y"),))
    none = Batch(torch.zeros(3, 0), torch.zeros(3, 0, dtype=torch.int64))
    assert Scaler.merged(bare, [none]).mean.shape == (0,)
    assert Scaler.merged(bare, [none]).std == pytest.approx(torch.ones(0))
