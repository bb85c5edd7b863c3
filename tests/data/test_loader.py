"""Split, scale, draw: what a study holds, and what it refuses to hold."""

from dataclasses import replace

import pytest
import torch

from ple_study.batch import Batch, Diagrams, Events, Rows
from ple_study.data.loader import Loader, Scaler, Study, random_split
from ple_study.schema import Feature, Schema, Sequence, TaskSpec, Vector

SIZE = 23
SCHEMA = Schema(
    features=(
        Feature(name="income"),
        Feature(name="share", kind="probability"),
        Feature(name="constant"),
        Feature(name="city", kind="categorical", vocabulary=("a", "b", "c")),
    ),
    tasks=(
        TaskSpec(name="churn"),
        TaskSpec(name="stage", kind="multiclass", classes=4),
        TaskSpec(name="spend", kind="regression"),
    ),
    sequences=(Sequence(name="days", steps=6, channels=("visits", "spend")),),
    diagrams=("app",),
    states=(3, 16),
    clusters=5,
    vectors=(Vector(name="graph", dim=4),),
)


def _rows() -> Rows:
    draw = torch.Generator().manual_seed(0)
    numeric = torch.rand(SIZE, 3, generator=draw) * torch.tensor([900.0, 1.0, 0.0])
    batch = Batch(
        numeric=numeric + torch.tensor([50.0, 0.0, 0.1]),
        categorical=torch.arange(SIZE)[:, None] % 4,
        events={"days": Events(torch.rand(SIZE, 6, 2), torch.ones(SIZE, 6) > 0)},
        diagrams={"app": Diagrams(torch.rand(SIZE, 7, 3), torch.ones(SIZE, 7) > 0)},
        states=torch.rand(SIZE, 3, 16),
        clusters=torch.rand(SIZE, 5),
        vectors={"graph": torch.rand(SIZE, 4)},
        customer=torch.arange(SIZE),
    )
    labels = {
        "churn": (torch.arange(SIZE) % 2).float(),
        "stage": (torch.arange(SIZE) % 4).float(),
        "spend": torch.rand(SIZE, generator=draw),
    }
    return Rows(batch, labels, {"spend": torch.ones(SIZE)})


def _study(rows: Rows | None = None, **split: list[int]) -> Study:
    parts = {"train": range(11), "val": range(11, 16), "test": range(16, SIZE), **split}
    index = {name: torch.tensor(list(part)) for name, part in parts.items()}
    return Study(SCHEMA, rows or _rows(), index)


def test_scaler_is_fitted_on_training_rows_alone() -> None:
    study = _study()
    moved = _rows()
    moved.batch.numeric[11:] *= 1000
    first = Scaler.fit(SCHEMA, study.part("train").batch)
    scaled = study.scaled().part("train").batch.numeric[:, 0].double()
    assert scaled.mean().item() == pytest.approx(0, abs=1e-6)
    assert scaled.std(correction=0).item() == pytest.approx(1, abs=1e-6)
    again = _study(moved).scaled()
    assert torch.equal(
        again.part("train").batch.numeric, study.scaled().part("train").batch.numeric
    )
    assert torch.equal(
        Scaler.fit(SCHEMA, _study(moved).part("train").batch).mean, first.mean
    )


def test_scaler_leaves_probabilities_and_constants_alone() -> None:
    study = _study()
    scaled = study.scaled().rows.batch.numeric
    assert torch.equal(scaled[:, 1], study.rows.batch.numeric[:, 1])
    assert (scaled[:, 2].abs() < 1e-6).all()
    assert torch.equal(
        study.scaled().rows.batch.categorical, study.rows.batch.categorical
    )


def test_scaler_undoes_exactly_what_it_says() -> None:
    batch = _rows().batch
    mean, std = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([4.0, 1.0, 0.5])
    scaled = Scaler(mean, std)(batch)
    torch.testing.assert_close(scaled.numeric * std + mean, batch.numeric)


def test_a_part_is_its_rows_in_the_order_of_the_split() -> None:
    study = _study(val=[15, 11, 13])
    assert study.part("val").batch.customer.tolist() == [15, 11, 13]  # type: ignore[union-attr]
    assert study.part("val").labels["stage"].tolist() == [3, 3, 1]
    assert len(study.part("test")) == 7


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"val": [0, 11]}, r"A row belongs to one part of the split"),
        ({"val": [11, 11]}, r"A row belongs to one part of the split"),
        ({"test": [16, SIZE]}, rf"names rows outside 0..{SIZE - 1}"),
        ({"test": [-1]}, rf"names rows outside 0..{SIZE - 1}"),
        ({"val": []}, r"A split has rows for each of .*'val': 0"),
        ({"extra": [20]}, r"A split has rows for each of"),
    ],
)
def test_a_wrong_split_is_refused(split: dict[str, list[int]], message: str) -> None:
    typed = {
        name: torch.tensor(part, dtype=torch.int64) for name, part in split.items()
    }
    whole = {name: _study().split[name] for name in ("train", "val", "test")}
    with pytest.raises(ValueError, match=message):
        Study(SCHEMA, _rows(), {**whole, **typed})


def _changed(rows: Rows, **fields: object) -> Rows:
    return replace(rows, batch=replace(rows.batch, **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"numeric": torch.zeros(SIZE, 2)}, r"has \(3, 1\) numeric.*Found \(2, 1\)"),
        ({"numeric": torch.zeros(SIZE, 3).double()}, r"are float32.*float64"),
        ({"numeric": torch.full((SIZE, 3), torch.nan)}, r"infinity in \['income'"),
        ({"categorical": torch.full((SIZE, 1), 4)}, r"city' must lie in 0..3. Found 4"),
        ({"categorical": torch.full((SIZE, 1), -1)}, r"must lie in 0..3. Found -1"),
        ({"events": {}}, r"promises the series.*'days': \(6, 2\).*Found \(\{\}"),
        ({"events": {"days": Events(torch.zeros(SIZE, 6, 3), torch.ones(SIZE, 6) > 0)}},
         r"Found \(\{'days': \(6, 3\)\}"),
        ({"events": {"days": Events(torch.zeros(9, 6, 2), torch.ones(9, 6) > 0)}},
         r"All parts need 23 rows. Found \{'days': 9\}"),
        ({"diagrams": {}}, r"Found .*set\(\)"),
        ({"states": None}, r"Found .*\(0, 0\), 5"),
        ({"vectors": {}}, r"vectors .*\{'graph': 4\}\). Found .*5, \{\}"),
        ({"vectors": {"graph": torch.eye(SIZE)[:, :4].log() * 0}},
         r"A row of vector 'graph' is finite, or NaN throughout.*Found \[-?0.0, nan"),
        ({"clusters": torch.zeros(SIZE, 6)}, r"Found .*\(3, 16\), 6"),
    ],
)  # fmt: skip
def test_a_batch_that_breaks_the_schema_is_refused(
    fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _study(_changed(_rows(), **fields))


@pytest.mark.parametrize(
    ("task", "value", "message"),
    [
        ("churn", 2.0, r"binary task 'churn' must be whole numbers in 0..1.*Found 2.0"),
        (
            "churn",
            -1.0,
            r"binary task 'churn' must be whole numbers in 0..1.*Found -1.0",
        ),
        ("churn", 0.5, r"binary task 'churn' must be whole .*Found 0.5"),
        ("stage", 4.0, r"multiclass task 'stage' must be whole numbers in 0..3"),
        ("spend", torch.inf, r"regression task 'spend' must be finite"),
    ],
)
def test_a_label_out_of_range_is_refused(task: str, value: float, message: str) -> None:
    rows = _rows()
    rows.labels[task][7] = value
    with pytest.raises(ValueError, match=message):
        _study(rows)


def test_holes_in_labels_are_fine_but_not_all_of_training() -> None:
    rows = _rows()
    rows.labels["churn"][3:] = torch.nan
    assert _study(rows).part("val").labels["churn"].isnan().all()
    rows.labels["churn"][:11] = torch.nan
    rows.labels["churn"][11:] = 1.0
    with pytest.raises(
        ValueError, match=r"'churn' has no observed label among the train"
    ):
        _study(rows)


@pytest.mark.plain
def test_labels_and_weights_belong_to_tasks() -> None:
    rows = _rows()
    spare = {name: label for name, label in rows.labels.items() if name != "stage"}
    with pytest.raises(
        ValueError, match=r"Task 'stage' has no labels. Found \['churn'"
    ):
        _study(replace(rows, labels=spare))
    with pytest.raises(
        ValueError, match=r"Weights must name tasks of .*Found \['sold'\]"
    ):
        _study(replace(rows, weights={"sold": torch.ones(SIZE)}))
    with pytest.raises(
        ValueError, match=r"need 23 rows. Found \{'weights of spend': 4\}"
    ):
        _study(replace(rows, weights={"spend": torch.ones(4)}))
    deep = {**rows.labels, "spend": rows.labels["spend"][:, None]}
    with pytest.raises(ValueError, match=r"one number a row. Found .*'spend': \(23, 1"):
        _study(replace(rows, labels=deep))


@pytest.mark.parametrize("value", [-1.0, torch.nan, torch.inf])
def test_weights_are_finite_and_not_negative(value: float) -> None:
    weights = torch.ones(SIZE)
    weights[4] = value
    with pytest.raises(ValueError, match=rf"Weights of task 'spend'.*Found {value}"):
        _study(replace(_rows(), weights={"spend": weights}))


def test_parts_of_a_split_come_in_any_order_but_as_numbers() -> None:
    split = _study().split
    turned = {name: split[name] for name in ("test", "train", "val")}
    assert Study(SCHEMA, _rows(), turned).part("val")
    mask = torch.arange(SIZE) < 5
    with pytest.raises(ValueError, match=r"A part is one of .*Found 'tset'"):
        _study().part("tset")
    with pytest.raises(ValueError, match=r"row numbers \(int64\).*torch.bool"):
        Study(SCHEMA, _rows(), {**split, "val": mask})


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
    rows = _rows()
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
    loader = Loader(_rows(), 5, drop_last=True)
    assert [len(batch) for batch in loader] == [5] * 4
    assert len(Loader(_rows(), SIZE, drop_last=True)) == 1
    assert len(Loader(_rows(), SIZE + 1)) == 1


def test_loader_draws_anew_each_time_and_resumes() -> None:
    def order(loader: Loader) -> list[int]:
        return [int(c) for batch in loader for c in batch.batch.customer]  # type: ignore[union-attr]

    loader = Loader(_rows(), 5, shuffle=True, seed=1)
    first, state = order(loader), loader.generator.get_state()
    second = order(loader)
    assert first != second
    again = Loader(_rows(), 5, shuffle=True, seed=1)
    assert order(again) == first
    other = Loader(_rows(), 5, shuffle=True, seed=2)
    other.generator.set_state(state)
    assert order(other) == second


def test_loader_needs_a_batch_of_one_row_or_more() -> None:
    with pytest.raises(ValueError, match=r"batch_size must be 1 or more. Found 0"):
        Loader(_rows(), 0)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    random_split(SIZE, seed=0)
    list(Loader(_rows_without_draws(), 5, shuffle=True))
    assert torch.equal(torch.random.get_rng_state(), before)


def _rows_without_draws() -> Rows:
    batch = Batch(torch.zeros(SIZE, 3), torch.zeros(SIZE, 1, dtype=torch.int64))
    return Rows(batch, {})


def test_a_study_takes_more_inputs_and_describes_them() -> None:
    bare = Study(
        replace(
            SCHEMA, sequences=(), diagrams=(), states=(0, 0), clusters=0, vectors=()
        ),
        replace(_rows(), batch=replace(_rows().batch, **NOTHING)),
        _study().split,
    )
    whole = _rows().batch
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
        _study().with_inputs(vectors={"more": torch.zeros(9, 2)})
    with pytest.raises(ValueError, match=r"named of the series \[\].*Found \['dsya'\]"):
        _study().with_inputs(channels={"dsya": ("a",)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.events["days"].values, r"Real steps of sequence 'days' must be"),
        (lambda b: b.diagrams["app"].points, r"Real points of diagram 'app' must be"),
    ],
)
def test_what_is_real_is_finite_and_padding_is_anything(change, message: str) -> None:
    rows = _rows()
    change(rows.batch)[7, 2, 1] = torch.nan
    with pytest.raises(ValueError, match=message + ".*nan in row 7, place 2, column 1"):
        _study(rows)
    for part in (rows.batch.events["days"], rows.batch.diagrams["app"]):
        part.mask[7, 2] = False
    _study(rows)
