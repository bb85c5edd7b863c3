"""The registry of tasks: names, weights, groups and edges are those of the thread."""

import pytest

from ple_study.data.journey.tasks import LABELS, TRANSFERS


def test_the_thread_weights_and_groups() -> None:
    weights = {label.spec.name: label.spec.weight for label in LABELS}
    assert [weights[n] for n in ("ctr", "cvr", "churn", "ltv", "nba")] == [
        1.0, 1.5, 1.2, 1.5, 2.0,
    ]  # fmt: skip
    assert sum(weights.values()) == pytest.approx(18.2)
    groups = [label.spec.group for label in LABELS]
    assert [groups.count(g) for g in dict.fromkeys(groups)] == [3, 4, 3, 6]
    assert (
        sum(label.spec.outputs for label in LABELS)
        == 12 + 6 + 12 + 3 + 28 + 7 + 9 + 200
    )


def test_the_thread_edges() -> None:
    assert [(edge.source, edge.target) for edge in TRANSFERS] == [
        ("ctr", "cvr"),
        ("churn", "retention"),
        ("cvr", "ltv"),
        ("nba", "spending_category"),
        ("spending_category", "brand_prediction"),
    ]


def test_every_task_is_said_in_words_with_a_unit() -> None:
    for label in LABELS:
        assert len(label.words.split()) >= 5, label.spec.name
        assert label.unit
        assert label.horizon in (0, 28, 56)
    words = [label.words for label in LABELS]
    assert len(set(words)) == len(words) == 16
