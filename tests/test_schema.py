"""Schemas are checked when made, refuse by name, and survive JSON."""

import json
from dataclasses import FrozenInstanceError
from itertools import pairwise

import pytest

from ple_study.schema import Feature, Schema, Sequence, TaskSpec, Transfer, Vector

FEATURES = (
    Feature(name="income", group="money"),
    Feature(name="share", kind="probability"),
    Feature(name="city", kind="categorical", vocabulary=("Rome", "Oslo"), dim=6),
    Feature(name="age"),
)
TASKS = (
    TaskSpec(name="ctr"),
    TaskSpec(name="cvr", weight=1.5, group="engagement"),
    TaskSpec(name="stage", kind="multiclass", classes=6),
    TaskSpec(name="spend", kind="regression"),
    TaskSpec(name="brand", kind="contrastive", classes=50, dim=7),
)


def full() -> Schema:
    return Schema(
        features=FEATURES,
        tasks=TASKS,
        sequences=(Sequence(name="days", steps=8, channels=("spend", "visits")),),
        diagrams=("app",),
        states=(3, 16),
        clusters=20,
        vectors=(Vector(name="graph", dim=64),),
        transfers=(
            Transfer(source="ctr", target="cvr"),
            Transfer(source="cvr", target="spend", kind="inverse", strength=-0.3),
        ),
    )


def test_columns_keep_their_order_and_kind() -> None:
    schema = full()
    assert [f.name for f in schema.numeric] == ["income", "share", "age"]
    assert [f.name for f in schema.categorical] == ["city"]
    assert schema.categorical[0].size == 3  # two values and the unknown
    assert schema.task_names == ("ctr", "cvr", "stage", "spend", "brand")
    assert [task.outputs for task in schema.tasks] == [1, 1, 6, 1, 50]
    assert schema.task("cvr").weight == 1.5


def test_a_schema_survives_json() -> None:
    schema = full()
    found = Schema.from_json(json.loads(json.dumps(schema.to_json())))
    assert found == schema
    kinds = [(edge.kind, edge.strength) for edge in found.transfers]
    assert kinds == [("sequential", 0.5), ("inverse", -0.3)]


def test_an_edge_of_an_older_file_is_sequential() -> None:
    data = full().to_json()
    data["transfers"] = [{"source": "ctr", "target": "cvr"}]
    (edge,) = Schema.from_json(data).transfers
    assert edge == Transfer(source="ctr", target="cvr", kind="sequential", strength=0.5)


def test_a_task_may_weigh_nothing() -> None:
    assert TaskSpec(name="t", weight=0.0).weight == 0


@pytest.mark.plain
def test_lists_become_tuples_so_that_schemas_compare() -> None:
    listed = Feature(name="c", kind="categorical", vocabulary=["a"])  # type: ignore[arg-type]
    assert listed == Feature(name="c", kind="categorical", vocabulary=("a",))
    assert hash(full()) == hash(full())


def test_nothing_can_be_changed_afterwards() -> None:
    for part in (*full().features, *full().tasks, full()):
        with pytest.raises(FrozenInstanceError):
            part.name = "other"  # type: ignore[union-attr]


@pytest.mark.plain
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Feature(name="c", kind="text"), "Kind of feature 'c' must be one of"),
        (lambda: Feature(name="c", kind="categorical"), "'categorical' with 0 values"),
        (lambda: Feature(name="c", vocabulary=("a",)), "'numeric' with 1 values"),
        (lambda: Feature(name="c", kind="categorical", vocabulary=("a", "a")),
         r"Vocabulary of feature 'c' must be unique.*\['a'\]"),
        (lambda: Feature(name="c", dim=0), "'c' needs dim >= 1. Found 0"),
        (lambda: Sequence(name="s", steps=0, channels=("a",)), "0 steps and 1 ch"),
        (lambda: Sequence(name="s", steps=2, channels=()), "2 steps and 0 channels"),
        (lambda: Sequence(name="s", steps=2, channels=("a", "a")),
         r"Channels of sequence 's' must be unique"),
        (lambda: TaskSpec(name="t", kind="rank"), "Kind of task 't' must be one of"),
        (lambda: TaskSpec(name="t", kind="multiclass"), "'multiclass' with classes=1"),
        (lambda: TaskSpec(name="t", classes=2), "'binary' with classes=2"),
        (lambda: TaskSpec(name="t", classes=-1), "'binary' with classes=-1"),
        (lambda: TaskSpec(name="t", dim=0), "Task 't' needs dim >= 1. Found 0"),
        (lambda: Feature(name="f", kind="categorical", vocabulary=(1, "a")),
         r"of one kind. Found \['int', 'str'\] for feature 'f'"),
        (lambda: TaskSpec(name="t", weight=-1.0), "'t' needs a finite weight .*-1.0"),
        (lambda: TaskSpec(name="t", weight=float("nan")), "weight >= 0. Found nan"),
        (lambda: TaskSpec(name="t", weight=float("inf")), "weight >= 0. Found inf"),
        (lambda: Transfer(source="a", target="b", kind="invers"),
         "Kind of transfer a -> b must .*'feature'.*Found 'invers'. Did .*'inverse'"),
        (lambda: Transfer(source="a", target="b", strength=float("nan")),
         "strength of transfer a -> b must be finite. Found nan"),
        (lambda: Transfer(source="a", target="b", strength=float("-inf")),
         "strength of transfer a -> b must be finite. Found -inf"),
        (lambda: TaskSpec(name="t", scale=(0.0, 2.0)), "Only a regression has a scale"),
        (lambda: TaskSpec(name="t", kind="regression", scale=(0.0, 0.0)),
         r"finite deviation above zero. Found \(0.0, 0.0\)"),
        (lambda: TaskSpec(name="t", kind="regression", scale=(1.0, 2.0, 3.0)),
         r"scale of task 't' is a finite value and"),
    ],
)  # fmt: skip
def test_a_part_that_makes_no_sense_is_refused(make: "object", message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": FEATURES + FEATURES[:1]}, r"Feature names must .*\['income'\]"),
        ({"tasks": TASKS + TASKS[1:2]}, r"Task names must be unique.*\['cvr'\]"),
        ({"tasks": ()}, "needs at least one task"),
        ({"tasks": (TaskSpec(name="age"),)}, r"a feature or a task. Both: \['age'\]"),
        ({"diagrams": ("a", "a")}, "Diagram names must be unique"),
        ({"clusters": -1}, r"has clusters >= 0.* Found -1 and \(0, 0\)"),
        ({"states": (3, 0)}, r"both or none are zero. Found 0 and \(3, 0\)"),
        ({"states": (-3, -2)}, r"both or none are zero. Found 0 and \(-3, -2\)"),
        (
            {"sequences": (Sequence(name="s", steps=2, channels=("a",)),) * 2},
            "Sequence names must be unique",
        ),
    ],
)
def test_a_schema_whose_names_clash_is_refused(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Schema(**{"features": FEATURES, "tasks": TASKS, **change})  # type: ignore[arg-type]


def _transfers(*edges: tuple[str, str]) -> tuple[Transfer, ...]:
    return tuple(Transfer(source=a, target=b) for a, b in edges)


def test_transfers_name_tasks_and_form_no_cycle() -> None:
    for edge in (("ctr", "satge"), ("satge", "ctr")):
        unknown = "{} -> {} names an unknown task 'satge'.*Did you mean 'stage'"
        with pytest.raises(ValueError, match=unknown.format(*edge)):
            Schema(features=(), tasks=TASKS, transfers=_transfers(edge))
    for cycle, told in (
        ([("ctr", "ctr")], "ctr -> ctr"),
        ([("ctr", "cvr"), ("spend", "spend")], "spend -> spend"),
        ([("ctr", "cvr"), ("cvr", "ctr")], "(ctr -> cvr -> ctr|cvr -> ctr -> cvr)"),
    ):
        with pytest.raises(ValueError, match=rf"must form no cycle. Found {told}\.$"):
            Schema(features=(), tasks=TASKS, transfers=_transfers(*cycle))
    twice = _transfers(("ctr", "cvr"), ("ctr", "spend"), ("ctr", "cvr"))
    with pytest.raises(ValueError, match=r"Transfers must be unique.*\['ctr -> cvr'\]"):
        Schema(features=(), tasks=TASKS, transfers=twice)
    forks = _transfers(("ctr", "cvr"), ("ctr", "spend"), ("cvr", "spend"))
    assert len(Schema(features=(), tasks=TASKS, transfers=forks).transfers) == 3


def test_a_cycle_is_told_in_the_direction_of_its_edges() -> None:
    edges = [("ctr", "cvr"), ("cvr", "spend"), ("spend", "ctr")]
    with pytest.raises(ValueError, match="Found") as refused:
        Schema(features=(), tasks=TASKS, transfers=_transfers(*edges))
    told = str(refused.value).removesuffix(".").split("Found ")[1].split(" -> ")
    assert set(pairwise(told)) == set(edges)


def test_an_unknown_task_is_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match=r"Unknown task 'ltv'. Tasks are \['ctr', 'cvr'"
    ):
        full().task("ltv")


def test_a_vector_has_a_width_and_a_name_of_its_own() -> None:
    with pytest.raises(ValueError, match=r"Vector 'graph' needs dim >= 1. Found 0"):
        Vector(name="graph", dim=0)
    twice = (Vector(name="graph", dim=2), Vector(name="graph", dim=3))
    with pytest.raises(ValueError, match=r"Vector names.*graph"):
        Schema(features=FEATURES, tasks=TASKS, vectors=twice)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": 3}, "features must be a list. Found 3"),
        ({"tasks": ["a"]}, "TaskSpec needs its arguments by name. Found 'a'"),
        (
            {"tasks": [{"kind": "binary"}]},
            r"TaskSpec needs \['name'\]. Found no 'name'",
        ),
        ({"tasks": [{"name": 3}]}, "TaskSpec needs name of type str. Found 3"),
        ({"tasks": [{"name": "a", "clases": 3}]}, "'clases'. Did you mean 'classes'"),
        ({"states": [1, 2, 3]}, r"states of type tuple\[int, int\]. Found \[1, 2, 3\]"),
        ({"clusters": 1.5}, "Schema needs clusters of type int. Found 1.5"),
        ({"cluster": 1}, "Found another argument 'cluster'. Did you mean 'clusters'"),
    ],
)
def test_json_of_another_kind_is_refused(
    change: dict[str, object], message: str
) -> None:
    whole = Schema(features=FEATURES, tasks=TASKS).to_json()
    with pytest.raises(ValueError, match=message):
        Schema.from_json({**whole, **change})


def test_a_schema_is_a_json_object_with_tasks() -> None:
    for data in (None, [], "features"):
        with pytest.raises(ValueError, match=r"A schema is a JSON object\. Found"):
            Schema.from_json(data)
    with pytest.raises(ValueError, match=r"Schema needs .* Found no 'tasks'"):
        Schema.from_json({"features": []})
