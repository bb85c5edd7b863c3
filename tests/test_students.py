"""Students learn what the teacher says, and fidelity is counted as it is defined."""

import math
from dataclasses import replace

import lightgbm as lgb
import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from ple_study import students as module
from ple_study.batch import Batch
from ple_study.fidelity import closeness, shifted
from ple_study.fitted import Fitted
from ple_study.students import (
    Students,
    StudentSpec,
    columns,
    cross_entropy,
    distill,
    slopes,
    softmax,
)
from tests import customers
from tests.studies import SCHEMA, mixed
from tests.test_export import SPECS, fitted
from tests.test_model import people

QUICK = StudentSpec(rounds=150, rate=0.1, threads=1)
BINARY, CLASSES, VALUE, BRAND = SCHEMA.tasks


@pytest.fixture(scope="module")
def teacher() -> Fitted:
    return fitted(SPECS["ple"])


@pytest.fixture(scope="module")
def students(teacher: Fitted) -> Students:
    return distill(teacher, mixed(1500, seed=1).rows.batch, spec=QUICK)


def others(rows: int = 400) -> Batch:
    return mixed(rows, seed=2).rows.batch


def test_students_answer_as_their_teacher_on_rows_like_theirs(
    teacher: Fitted, students: Students
) -> None:
    found = students.fidelity(teacher, others())
    assert list(found) == list(SCHEMA.task_names)
    assert found["churn"]["logit_r2"] > 0.9
    assert found["churn"]["mae"] < 0.01
    assert found["churn"]["decision"] > 0.95
    assert found["channel"]["class"] > 0.95
    assert found["channel"]["variation"] < 0.01
    assert found["spend"]["r2"] > 0.9
    assert found["brand"]["class"] > 0.8


def test_answers_have_the_teachers_shape(teacher: Fitted, students: Students) -> None:
    found, wanted = (own.predict(others(7)) for own in (students, teacher))
    assert list(found) == list(wanted)
    for task, answer in wanted.items():
        assert found[task].shape == answer.shape
        assert found[task].dtype == answer.dtype
    for task in ("channel", "brand"):
        torch.testing.assert_close(found[task].sum(1), torch.ones(7))
    (alone,) = (students.predict(others(7).rows(torch.tensor([3]))) for _ in "1")
    for task, answer in found.items():
        assert torch.equal(alone[task], answer[3:4])


def test_fidelity_is_less_where_columns_have_moved(
    teacher: Fitted, students: Students
) -> None:
    far = shifted(teacher, others(), "base", by=4.0)
    near, moved = (students.fidelity(teacher, rows) for rows in (others(), far))
    assert moved["churn"]["mae"] > 2 * near["churn"]["mae"]
    assert moved["spend"]["mae"] > 2 * near["spend"]["mae"]
    assert moved["channel"]["variation"] > near["channel"]["variation"]


def test_a_student_is_the_same_each_time(teacher: Fitted) -> None:
    quick, batch = replace(QUICK, rounds=20), mixed(300, seed=1).rows.batch
    one, two = (distill(teacher, batch, tasks=["brand"], spec=quick) for _ in "12")
    assert torch.equal(*(x.predict(others(9))["brand"] for x in (one, two)))
    assert [task.name for task in one.tasks] == ["brand"]
    other = distill(teacher, batch, tasks=["brand"], spec=replace(quick, seed=5))
    assert not torch.equal(*(x.predict(others(9))["brand"] for x in (one, other)))


def test_codes_are_categories_to_the_trees(students: Students) -> None:
    text = students.trees["churn"].model_to_string()
    (kinds,) = (x for x in text.splitlines() if x.startswith("feature_infos="))
    given = kinds.removeprefix("feature_infos=").split(" ")
    assert [kind.startswith("[") for kind in given] == [True] * 3 + [False] * 2


def test_slopes_are_those_of_the_cross_entropy() -> None:
    rng = np.random.default_rng(0)
    raw, p = rng.normal(size=(5, 4)), rng.dirichlet(np.ones(4), size=5)
    rows = [-sum(p[i] * log_softmax(raw[i])) for i in range(5)]
    assert math.isclose(cross_entropy(raw, p), sum(rows) / 5, rel_tol=1e-12)
    assert math.isclose(cross_entropy(raw + 800, p), sum(rows) / 5, rel_tol=1e-10)
    first, second = slopes(raw, p)
    for row in range(5):
        for k in range(4):
            step = np.zeros((5, 4))
            step[row, k] = 1e-5
            up, down = (5 * cross_entropy(raw + s, p) for s in (step, -step))
            assert abs((up - down) / 2e-5 - first[row, k]) < 1e-8
            q = np.exp(raw[row, k]) / np.exp(raw[row]).sum()
            assert math.isclose(second[row, k], q * (1 - q) * 4 / 3, rel_tol=1e-12)
    np.testing.assert_allclose(softmax(raw + 900), softmax(raw), rtol=1e-9)


def test_soft_classes_are_copies_of_rows_weighed() -> None:
    """LightGBM's own multiclass on K weighted copies grows the same first tree."""
    rng = np.random.default_rng(1)
    table, p = rng.normal(size=(200, 3)), rng.dirichlet(np.ones(3), size=200)
    options = {"num_class": 3, "verbosity": -1, "num_threads": 1, "learning_rate": 1.0}
    options |= {"num_leaves": 4, "min_child_samples": 1, "lambda_l2": 0.0}
    options |= {
        "min_sum_hessian_in_leaf": 0.0,
        "min_data_in_bin": 1,
        "boost_from_average": False,
    }
    data = lgb.Dataset(table, np.zeros(200))
    soft = options | {"objective": lambda raw, _: slopes(raw, p)}
    ours = lgb.train(soft, data, 1).predict(table, raw_score=True)
    many, label = np.repeat(table, 3, axis=0), np.tile(np.arange(3), 200)
    copies = lgb.Dataset(many, label, weight=p.flatten())
    hard = options | {"objective": "multiclass"}
    theirs = lgb.train(hard, copies, 1).predict(table, raw_score=True)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert np.abs(ours).max() > 0.1


def test_columns_hold_all_that_is_a_number() -> None:
    batch = people()
    found = columns(batch)
    parts = [batch.numeric, batch.categorical, batch.states.flatten(1)]
    parts += [batch.clusters, batch.vectors["graph"], batch.vectors["hierarchy"]]
    wanted = torch.cat([part.double() for part in parts], dim=1).numpy()
    np.testing.assert_array_equal(found, wanted)
    assert np.isnan(found[1]).any()
    assert found.shape == (5, 9 + 1 + 48 + 5 + 7 + 6)
    assert columns(mixed(4).rows.batch).shape == (4, 5)


def test_closeness_of_a_binary_task() -> None:
    said = torch.tensor([0.1, 0.5, 0.7, 0.9, 1.0])
    own = torch.tensor([0.2, 0.6, 0.4, 0.9, 0.99])
    found = closeness(BINARY, said[:, None], own[:, None])
    a, b = (
        [min(max(x, 1e-6), 1 - 1e-6) for x in y.double().tolist()] for y in (said, own)
    )
    z, w = ([math.log(x / (1 - x)) for x in y] for y in (a, b))
    mean = sum(z) / 5
    rest = sum((x - y) ** 2 for x, y in zip(z, w, strict=True))
    wanted = 1 - rest / sum((x - mean) ** 2 for x in z)
    assert math.isclose(found["logit_r2"], wanted, rel_tol=1e-9)
    assert math.isclose(found["mae"], (0.1 + 0.1 + 0.3 + 0 + 0.01) / 5, rel_tol=1e-6)
    assert found["decision"] == 3 / 5


def test_closeness_of_classes_and_values() -> None:
    said = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    own = torch.tensor([[0.2, 0.3, 0.5], [0.5, 0.4, 0.1]])
    found = closeness(CLASSES, said, own)
    assert found["class"] == 1 / 2
    assert math.isclose(found["variation"], (0.2 + 0.1) / 2, rel_tol=1e-6)
    assert closeness(BRAND, said, said) == {"class": 1.0, "variation": 0.0}
    value = torch.tensor([[1.0], [2.0], [6.0]])
    found = closeness(VALUE, value, value + torch.tensor([[1.0], [0.0], [-1.0]]))
    assert math.isclose(found["r2"], 1 - 2 / 14, rel_tol=1e-9)
    assert math.isclose(found["mae"], 2 / 3, rel_tol=1e-9)
    assert math.isnan(closeness(VALUE, value[:1], value[1:2])["r2"])


def test_a_group_moves_by_deviations(teacher: Fitted) -> None:
    batch, std = others(5), teacher.scaler.std
    found = shifted(teacher, batch, "habit", by=-2.0)
    assert torch.equal(found.numeric[:, [0, 2]], batch.numeric[:, [0, 2]])
    torch.testing.assert_close(found.numeric[:, 1], batch.numeric[:, 1] - 2 * std[1])
    assert torch.equal(found.categorical, batch.categorical)
    found = shifted(teacher, batch, "base")  # a probability stays, of the same group
    torch.testing.assert_close(found.numeric[:, 0], batch.numeric[:, 0] + std[0])
    assert torch.equal(found.numeric[:, 1:], batch.numeric[:, 1:])
    with pytest.raises(ValueError, match=r"'habits'. Groups are .* mean 'habit'\?"):
        shifted(teacher, batch, "habits")
    own = replace(teacher, schema=customers.SCHEMA)
    with pytest.raises(ValueError, match=r"No numeric column is of the group 'day'"):
        shifted(own, people(), "day")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 0}, "rounds must be 1 or more. Found 0"),
        ({"patience": 0}, "patience must be 1 or more. Found 0"),
        ({"leaves": 1}, "leaves must be 2 or more. Found 1"),
        ({"held": 0.0}, "held lies in .* Found held=0.0, rate=0.05"),
        ({"held": 1.0}, "held lies in .* Found held=1.0"),
        ({"rate": 0.0}, "rate above 0. Found held=0.2, rate=0.0"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StudentSpec(**options)


def test_what_cannot_be_taught_is_refused(
    teacher: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"two rows or more\. Found 1"):
        distill(teacher, others().rows(torch.arange(1)))
    with pytest.raises(ValueError, match=r"Unknown task 'churns'.*mean 'churn'"):
        distill(teacher, others(9), tasks=["churns"])
    with pytest.raises(ValueError, match="Tasks must be unique"):
        distill(teacher, others(9), tasks=["churn", "churn"])
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"ple-study\[distill\].*no lightgbm"):
        distill(teacher, others(9))
