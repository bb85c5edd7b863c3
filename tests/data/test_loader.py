"""Scale, split, draw, and take more inputs."""

from dataclasses import replace

import pytest
import torch

from ple_study.batch import Batch, Events, Rows
from ple_study.data.loader import Loader, Scaler, Study, random_split
from ple_study.schema import Vector
from tests.data.whole import SCHEMA, SIZE, rows_of, study_of


def test_scaler_is_fitted_on_training_rows_alone() -> None:
    study = study_of()
    moved = rows_of()
    moved.batch.numeric[11:] *= 1000
    first = Scaler.fit(SCHEMA, study.part("train").batch)
    scaled = study.scaled().part("train").batch.numeric[:, 0].double()
    assert scaled.mean().item() == pytest.approx(0, abs=1e-6)
    assert scaled.std(correction=0).item() == pytest.approx(1, abs=1e-6)
    again = study_of(moved).scaled()
    assert torch.equal(
        again.part("train").batch.numeric, study.scaled().part("train").batch.numeric
    )
    assert torch.equal(
        Scaler.fit(SCHEMA, study_of(moved).part("train").batch).mean, first.mean
    )


def test_scaler_leaves_probabilities_and_constants_alone() -> None:
    study = study_of()
    scaled = study.scaled().rows.batch.numeric
    assert torch.equal(scaled[:, 1], study.rows.batch.numeric[:, 1])
    assert (scaled[:, 2].abs() < 1e-6).all()
    assert torch.equal(
        study.scaled().rows.batch.categorical, study.rows.batch.categorical
    )


def test_scaler_undoes_exactly_what_it_says() -> None:
    batch = rows_of().batch
    mean, std = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([4.0, 1.0, 0.5])
    scaled = Scaler(mean, std)(batch)
    torch.testing.assert_close(scaled.numeric * std + mean, batch.numeric)


def test_a_part_is_its_rows_in_the_order_of_the_split() -> None:
    study = study_of(val=[15, 11, 13])
    assert study.part("val").batch.customer.tolist() == [15, 11, 13]  # type: ignore[union-attr]
    assert study.part("val").labels["stage"].tolist() == [3, 3, 1]
    assert len(study.part("test")) == 7


def test_random_split_deals_every_row_once_by_its_seed() -> None:
    split = random_split(SIZE, seed=3, val=0.2, test=0.3)
    assert {name: len(part) for name, part in split.items()} == {
        "train": 11, "val": 5, "test": 7,
    }  # fmt: skip
    assert torch.cat(list(split.values())).sort().values.tolist() == list(range(SIZE))
    assert torch.equal(
        random_split(SIZE, seed=3, val=0.2, test=0.3)["val"], split["val"]
    )
    assert not torch.equal(
        random_split(SIZE, seed=4)["test"], random_split(SIZE, seed=3)["test"]
    )


def test_loader_passes_over_all_rows_once() -> None:
    rows = rows_of()
    for shuffle in (False, True):
        loader = Loader(rows, 5, shuffle=shuffle)
        batches = list(loader)
        assert [len(batch) for batch in batches] == [5, 5, 5, 5, 3]
        assert len(loader) == 5
        seen = torch.cat([batch.batch.customer for batch in batches])  # type: ignore[misc]
        assert sorted(seen.tolist()) == list(range(SIZE))
        assert (seen.tolist() == list(range(SIZE))) is not shuffle
        for batch in batches:
            assert torch.equal(
                batch.labels["spend"], rows.labels["spend"][batch.batch.customer]
            )


def test_loader_leaves_out_a_short_last_batch_when_told() -> None:
    loader = Loader(rows_of(), 5, drop_last=True)
    assert [len(batch) for batch in loader] == [5] * 4
    assert len(Loader(rows_of(), SIZE, drop_last=True)) == 1
    assert len(Loader(rows_of(), SIZE + 1)) == 1


def test_loader_draws_anew_each_time_and_resumes() -> None:
    def order(loader: Loader) -> list[int]:
        return [int(c) for batch in loader for c in batch.batch.customer]  # type: ignore[union-attr]

    loader = Loader(rows_of(), 5, shuffle=True, seed=1)
    first, state = order(loader), loader.generator.get_state()
    second = order(loader)
    assert first != second
    again = Loader(rows_of(), 5, shuffle=True, seed=1)
    assert order(again) == first
    other = Loader(rows_of(), 5, shuffle=True, seed=2)
    other.generator.set_state(state)
    assert order(other) == second


def test_loader_needs_a_batch_of_one_row_or_more() -> None:
    with pytest.raises(ValueError, match=r"batch_size must be 1 or more. Found 0"):
        Loader(rows_of(), 0)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    random_split(SIZE, seed=0)
    list(Loader(rows_without_draws(), 5, shuffle=True))
    assert torch.equal(torch.random.get_rng_state(), before)


def rows_without_draws() -> Rows:
    batch = Batch(torch.zeros(SIZE, 3), torch.zeros(SIZE, 1, dtype=torch.int64))
    return Rows(batch, {})


def test_a_study_takes_more_inputs_and_describes_them() -> None:
    bare = Study(
        replace(
            SCHEMA, sequences=(), diagrams=(), states=(0, 0), clusters=0, vectors=()
        ),
        replace(rows_of(), batch=replace(rows_of().batch, **NOTHING)),
        study_of().split,
    )
    whole = rows_of().batch
    parts = {name: getattr(whole, name) for name in NOTHING}
    found = bare.with_inputs(**parts, channels={"days": ("visits", "spend")})
    assert found.schema == SCHEMA
    assert all(getattr(found.rows.batch, name) is not None for name in NOTHING)
    more = {"app": Events(torch.zeros(SIZE, 3, 1), torch.ones(SIZE, 3) > 0)}
    again = found.with_inputs(events=more, vectors={"graph": torch.zeros(SIZE, 2)})
    assert [s.name for s in again.schema.sequences] == ["days", "app"]
    assert again.schema.sequences[1].channels == ("channel_0",)
    assert again.schema.vectors == (Vector(name="graph", dim=2),)
    assert again.schema.states == (3, 16)
    assert bare.schema.sequences == ()  # as it was
    none = torch.full((SIZE, 2), torch.nan)
    assert (
        found.with_inputs(vectors={"graph": none})
        .rows.batch.vectors["graph"]
        .isnan()
        .all()
    )


NOTHING: dict[str, object] = {
    "events": {},
    "diagrams": {},
    "states": None,
    "clusters": None,
    "vectors": {},
}


@pytest.mark.plain  # the checks of shapes would speak first
def test_inputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"All parts need 23 rows.*'more': 9"):
        study_of().with_inputs(vectors={"more": torch.zeros(9, 2)})
    with pytest.raises(ValueError, match=r"named of the series \[\].*Found \['dsya'\]"):
        study_of().with_inputs(channels={"dsya": ("a",)})
    with pytest.raises(ValueError, match=r"The clusters are \[batch, cluster\]. Found"):
        study_of().with_inputs(clusters=torch.zeros(23, dtype=torch.long))
    with pytest.raises(ValueError, match=r"states are \[batch, mode, state\]. Found"):
        study_of().with_inputs(states=torch.zeros(23, 4))
