"""A study refuses what it must not hold, by name."""

import inspect
from dataclasses import replace

import pytest
import torch

from ple_study.batch import Events, Rows
from ple_study.data import checks
from ple_study.data.loader import Study
from tests.data.whole import SCHEMA, SIZE, rows_of, study_of


def test_a_study_runs_every_check() -> None:
    made = inspect.getsource(Study.__post_init__)
    names = [name for name in vars(checks) if name.startswith("check_")]
    assert len(names) == 7
    assert all(name in made for name in names)


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
    whole = {name: study_of().split[name] for name in ("train", "val", "test")}
    with pytest.raises(ValueError, match=message):
        Study(SCHEMA, rows_of(), {**whole, **typed})


def changed(rows: Rows, **fields: object) -> Rows:
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
        ({"states": None}, r"Found .*\(0, 0\), \(5,\)"),
        ({"vectors": {}}, r"vectors .*\{'graph': 4\}\). Found .*\(5,\), \{\}"),
        ({"vectors": {"graph": torch.eye(SIZE)[:, :4].log() * 0}},
         r"A row of vector 'graph' is finite, or NaN throughout.*Found \[-?0.0, nan"),
        ({"clusters": torch.zeros(SIZE, 6)}, r"Found .*\(3, 16\), \(6,\)"),
        ({"clusters": None}, r"Found .*\(3, 16\), \(0,\)"),
    ],
)  # fmt: skip
def test_a_batch_that_breaks_the_schema_is_refused(
    fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        study_of(changed(rows_of(), **fields))


@pytest.mark.plain
@pytest.mark.parametrize("name", ["categorical", "states", "clusters", "customer"])
def test_every_part_has_a_row_a_customer(name: str) -> None:
    rows = rows_of()
    some = {name: getattr(rows.batch, name)[:9]}
    with pytest.raises(ValueError, match=rf"need 23 rows. Found \{{'batch.{name}': 9"):
        study_of(changed(rows, **some))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_customers_states_are_whole_or_absent(value: float) -> None:
    rows = rows_of()
    rows.batch.states[4, 1] = torch.nan
    rows.batch.states[5, 2] = 0.0
    study_of(rows)
    rows.batch.states[9, 2, 3] = value
    found = rf"A row of mode 2 of the states is finite, or NaN throughout.*{value}"
    with pytest.raises(ValueError, match=found):
        study_of(rows)


ROW = "adds up to 1 within 0.0001, or is NaN throughout"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.25, 0.25, 0.25, 0.25, 0.25], r"\[0.25, .*sum is 1.25, in row 9"),
        ([0.2, 0.2, 0.2, 0.2, 0.1998], r".*sum is 0.999[78].*, in row 9"),
        ([0.0, 0.0, 0.0, 0.0, 0.0], r".*sum is 0.0, in row 9"),
        ([-0.5, 0.5, 0.5, 0.25, 0.25], r"\[-0.5, 0.5.*sum is 1.0, in row 9"),
        ([torch.nan, 0.25, 0.25, 0.25, 0.25], r"\[nan, 0.25.*sum is nan, in row 9"),
        ([torch.inf, 0.0, 0.0, 0.0, 0.0], r"\[inf, .*sum is inf, in row 9"),
    ],
)
def test_shares_of_clusters_add_up_to_one_or_there_are_none(
    row: list[float], message: str, dtype: torch.dtype
) -> None:
    rows = rows_of()
    rows = changed(rows, clusters=rows.batch.clusters.to(dtype))
    rows.batch.clusters[4] = torch.nan
    rows.batch.clusters[5] = torch.tensor([0.2, 0.2, 0.2, 0.2, 0.20005])
    rows.batch.clusters[6] = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])
    study_of(rows)
    rows.batch.clusters[9] = torch.tensor(row)
    rows.batch.clusters[17] = -1.0  # the first wrong row is told
    with pytest.raises(ValueError, match=f"A row of clusters.*{ROW}.*Found {message}"):
        study_of(rows)


@pytest.mark.plain
@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        (torch.eye(5).long()[torch.arange(SIZE) % 5], "are shares.*Found torch.int64"),
        (torch.arange(SIZE) % 5, r"clusters must be \[batch, cluster\].*\[23\]"),
    ],
)
def test_a_number_of_a_cluster_is_no_share(
    clusters: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        study_of(changed(rows_of(), clusters=clusters))


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
        ("spend", torch.inf, r"regression task 'spend' must be finite.*Found inf"),
        ("spend", -torch.inf, r"regression task 'spend' must be finite.*Found -inf"),
        ("stage", torch.inf, r"task 'stage' must be whole numbers in 0..3.*Found inf"),
    ],
)
def test_a_label_out_of_range_is_refused(task: str, value: float, message: str) -> None:
    rows = rows_of()
    rows.labels[task][7] = value
    with pytest.raises(ValueError, match=message):
        study_of(rows)


def test_holes_in_labels_are_fine_but_not_all_of_training() -> None:
    rows = rows_of()
    rows.labels["churn"][3:] = torch.nan
    assert study_of(rows).part("val").labels["churn"].isnan().all()
    rows.labels["churn"][:11] = torch.nan
    rows.labels["churn"][11:] = 1.0
    with pytest.raises(
        ValueError, match=r"'churn' has no observed label among the train"
    ):
        study_of(rows)


@pytest.mark.plain
def test_labels_and_weights_belong_to_tasks() -> None:
    rows = rows_of()
    spare = {name: label for name, label in rows.labels.items() if name != "stage"}
    with pytest.raises(
        ValueError, match=r"Task 'stage' has no labels. Found \['churn'"
    ):
        study_of(replace(rows, labels=spare))
    with pytest.raises(
        ValueError, match=r"Weights must name tasks of .*Found \['sold'\]"
    ):
        study_of(replace(rows, weights={"sold": torch.ones(SIZE)}))
    with pytest.raises(
        ValueError, match=r"need 23 rows. Found \{'weights of spend': 4\}"
    ):
        study_of(replace(rows, weights={"spend": torch.ones(4)}))
    deep = {**rows.labels, "spend": rows.labels["spend"][:, None]}
    with pytest.raises(ValueError, match=r"'spend' must be \[batch\]. Found \[23, 1"):
        study_of(replace(rows, labels=deep))


@pytest.mark.plain
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_labels_and_weights_are_floating_point(dtype: torch.dtype) -> None:
    rows, ones = rows_of(), torch.ones(SIZE, dtype=dtype)
    with pytest.raises(ValueError, match=rf"point. Found \{{'stage': {dtype}\}}"):
        study_of(replace(rows, labels={**rows.labels, "stage": ones}))
    with pytest.raises(ValueError, match=rf"\{{'weights of spend': {dtype}\}}"):
        study_of(replace(rows, weights={"spend": ones}))
    wide = {name: label.double() for name, label in rows.labels.items()}
    assert study_of(replace(rows, labels=wide)).rows.labels == wide


def test_weights_that_are_zero_throughout_are_refused() -> None:
    weights = torch.zeros(SIZE)
    with pytest.raises(ValueError, match=r"Weights of task 'spend' are above zero in"):
        study_of(replace(rows_of(), weights={"spend": weights}))
    weights[4] = 0.5
    study_of(replace(rows_of(), weights={"spend": weights}))


@pytest.mark.parametrize("value", [-1.0, torch.nan, torch.inf])
def test_weights_are_finite_and_not_negative(value: float) -> None:
    weights = torch.ones(SIZE)
    weights[4] = value
    with pytest.raises(ValueError, match=rf"Weights of task 'spend'.*Found {value}"):
        study_of(replace(rows_of(), weights={"spend": weights}))


def test_parts_of_a_split_come_in_any_order_but_as_numbers() -> None:
    split = study_of().split
    turned = {name: split[name] for name in ("test", "train", "val")}
    assert Study(SCHEMA, rows_of(), turned).part("val")
    mask = torch.arange(SIZE) < 5
    with pytest.raises(ValueError, match=r"A part is one of .*Found 'tset'"):
        study_of().part("tset")
    with pytest.raises(ValueError, match=r"row numbers \(int64\).*torch.bool"):
        Study(SCHEMA, rows_of(), {**split, "val": mask})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.events["days"].values, r"Real steps of sequence 'days' must be"),
        (lambda b: b.diagrams["app"].points, r"Real points of diagram 'app' must be"),
    ],
)
def test_what_is_real_is_finite_and_padding_is_anything(change, message: str) -> None:
    rows = rows_of()
    change(rows.batch)[7, 2, 1] = torch.nan
    with pytest.raises(ValueError, match=message + ".*nan in row 7, place 2, column 1"):
        study_of(rows)
    for part in (rows.batch.events["days"], rows.batch.diagrams["app"]):
        part.mask[7, 2] = False
    study_of(rows)
