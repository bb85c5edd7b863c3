"""Metrics of order: which row, or which class of a row, stands above which."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

Scores = Float[Tensor, "row outputs"]
NAN = float("nan")


def roc_and_precision(
    logits: Float[Tensor, " row"], labels: Float[Tensor, " row"]
) -> tuple[float, float]:
    """Area under the ROC curve, and average precision; NaN where all labels are alike.

    Rows of one score cross the threshold together, so that the order of ties is moot.
    """
    ordered, order = logits.sort(descending=True)
    hits = labels[order].cumsum(0, dtype=torch.float64)
    last = torch.ones_like(hits, dtype=torch.bool)
    last[:-1] = ordered[1:] != ordered[:-1]
    above = torch.arange(1, len(hits) + 1, device=hits.device)[last]
    true = hits[last]
    false, positives = above - true, hits[-1]
    if not 0 < positives < len(hits):
        return NAN, NAN
    start = hits.new_zeros(1)
    auc = torch.trapezoid(torch.cat([start, true]), torch.cat([start, false]))
    # sum_n (R_n - R_(n-1)) P_n
    precision = (true.diff(prepend=start) * true / above).sum()
    return float(auc / (positives * false[-1])), float(precision / positives)


def top(
    logits: Scores, labels: Int[Tensor, " row"], gains: Float[Tensor, " rank"]
) -> float:
    """Mean of what the true class earns at its rank; zero below the last gain.

    Classes that tie share their ranks evenly: the mean over all orders of the tie.
    """
    own = logits.gather(1, labels[:, None])
    better, tied = _count(logits > own), _count(logits == own)
    earned = F.pad(gains, (1, logits.shape[1])).cumsum(0)
    return float(((earned[better + tied] - earned[better]) / tied).mean())


def _count(mask: Bool[Tensor, "row outputs"]) -> Int[Tensor, " row"]:
    return mask.sum(1, dtype=torch.int32)


def ndcg(logits: Scores, labels: Int[Tensor, " row"], k: int) -> float:
    """NDCG@k of one true class a row: 1 / log2(1 + rank) where rank <= k, else 0."""
    ranks = torch.arange(1, k + 1, dtype=torch.float64, device=logits.device)
    return top(logits, labels, 1 / (1 + ranks).log2())


def recall(logits: Scores, labels: Int[Tensor, " row"], k: int) -> float:
    """Share of the rows whose true class is among the k highest."""
    ones = torch.ones(k, dtype=torch.float64, device=logits.device)
    return top(logits, labels, ones)
