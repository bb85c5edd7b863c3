import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from ple_study.ranking import ndcg, recall, roc_and_precision

ROWS, CLASSES = 211, 7


def binary(seed, step):
    """Scores, in multiples of ``step`` so that many tie, and labels."""
    draw = np.random.default_rng(seed)
    labels = (draw.random(ROWS) < 0.2).astype(float)
    scores = draw.normal(size=ROWS) + labels
    return (np.round(scores / step) * step if step else scores), labels


@pytest.mark.parametrize("step", [0.0, 0.5, 100.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_curves_agree_with_sklearn(seed, step):
    scores, labels = binary(seed, step)
    found = roc_and_precision(torch.tensor(scores), torch.tensor(labels))
    expected = roc_auc_score(labels, scores), average_precision_score(labels, scores)
    assert found == pytest.approx(expected, abs=1e-12)


def test_curves_ignore_the_order_of_rows_and_any_rising_map():
    scores, labels = map(torch.tensor, binary(2, 0.5))
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(0))
    found = roc_and_precision((3 * scores[order] - 1).exp(), labels[order])
    assert found == roc_and_precision(scores, labels)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_labels_all_alike_have_no_curve(label):
    found = roc_and_precision(torch.randn(5), torch.full((5,), label))
    assert np.isnan(found).all()


@pytest.mark.parametrize("k", [1, 3, 7, 10])
@pytest.mark.parametrize("step", [0.0, 1.0, 100.0])
def test_ndcg_agrees_with_sklearn(step, k):
    draw = np.random.default_rng(0)
    scores = draw.normal(size=(ROWS, CLASSES))
    scores = np.round(scores / step) * step if step else scores
    labels = draw.integers(CLASSES, size=ROWS)
    expected = ndcg_score(np.eye(CLASSES)[labels], scores, k=k)
    found = ndcg(torch.tensor(scores), torch.tensor(labels), k)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("k", [1, 3, 7, 10])
def test_recall_is_the_mean_over_all_orders_of_a_tie(k):
    draw = np.random.default_rng(0)
    scores = np.round(draw.normal(size=(ROWS, CLASSES)))
    labels = draw.integers(CLASSES, size=ROWS)
    own = scores[np.arange(ROWS), labels][:, None]
    hits = []
    for better, tied in zip((scores > own).sum(1), (scores == own).sum(1), strict=True):
        ranks = better + np.arange(1, tied + 1)
        hits.append((ranks <= k).mean())
    found = recall(torch.tensor(scores), torch.tensor(labels), k)
    assert found == pytest.approx(np.mean(hits), abs=1e-12)


def test_rank_by_hand():
    logits = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [2.0, 2.0, 1.0]])
    labels = torch.tensor([1, 0, 0])
    # Ranks 2, 3, and a tie of ranks 1 and 2.
    assert recall(logits, labels, 1) == pytest.approx((0 + 0 + 0.5) / 3)
    assert recall(logits, labels, 2) == pytest.approx((1 + 0 + 1) / 3)
    second = 1 / np.log2(3)
    assert ndcg(logits, labels, 2) == pytest.approx((second + 0 + (1 + second) / 2) / 3)
