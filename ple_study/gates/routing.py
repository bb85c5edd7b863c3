"""From scores to weights: how much a listener hears of each expert that it may hear."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ple_study.names import one_of

Kind = Literal["softmax", "sigmoid", "top_k"]
Rows = Float[Tensor, "*listener slot batch"]


@dataclass(frozen=True, kw_only=True)
class GateSpec:
    """How a gate turns its scores into weights that sum to one.

    ``kind``: ``softmax`` over all slots; ``sigmoid``, each score's own, divided by
    their sum, still one choice among all and no set of independent gates; ``top_k``, a
    softmax over the ``top_k`` largest scores alone (Shazeer et al., ICLR 2017; Mixtral,
    2024). ``balance`` weighs the loss that keeps a sparse gate from sending everyone to
    the same experts (``load_balance``).

    ``scaled`` divides the scores by the square root of the number of inputs, as
    attention does: else a step of Adam moves them by as much as there are inputs, and a
    wide gate shuts. Neither that nor ``bias`` nor ``norm`` (batch normalisation before
    the softmax) is in the papers of MMoE and PLE; other libraries have the last two.
    """

    kind: Kind = "softmax"
    top_k: int = 2
    balance: float = 0.01
    scaled: bool = False
    bias: bool = False
    norm: bool = False

    def __post_init__(self) -> None:
        one_of("The kind of a gate", self.kind, get_args(Kind))
        if self.top_k < 1 or not self.balance >= 0:
            raise ValueError(
                f"A gate needs top_k >= 1 and balance >= 0. Found top_k={self.top_k}, "
                f"balance={self.balance}."
            )

    def weights(self, scores: Rows) -> Rows:
        """Down the slots, so that the many rows of a batch keep a CPU's lanes full."""
        if self.kind == "sigmoid":
            open_ = scores.sigmoid()
            return open_ / (open_.sum(-2, keepdim=True) + 1e-6)
        if self.kind == "top_k":
            scores = scores.masked_fill(~self.chosen(scores), -torch.inf)
        return scores.softmax(-2)

    def chosen(self, scores: Rows) -> Tensor:
        """Which slots are among the ``top_k`` of their row, whichever of equals."""
        best = scores.topk(min(self.top_k, scores.shape[-2]), dim=-2).indices
        return torch.zeros_like(scores, dtype=torch.bool).scatter(-2, best, True)

    @property
    def asks(self) -> bool:
        """Whether the gate asks the loss for something: only a sparse one does."""
        return self.kind == "top_k" and self.balance > 0

    def penalty(self, scores: Rows) -> Float[Tensor, ""]:
        """``load_balance``, weighed."""
        return self.balance * load_balance(scores, self.chosen(scores))


SOFTMAX = GateSpec()


def load_balance(scores: Rows, chosen: Tensor) -> Float[Tensor, ""]:
    """E sum_i f_i P_i, the mean over listeners: 1 where all experts are used alike.

    f_i is the share of choices that fell on expert i, P_i its mean probability under
    the softmax of all scores (Fedus et al., JMLR 2022, equations 4 to 6); for more
    choices than one a customer, f_i counts each. At most E, where one expert has all.
    """
    share = chosen.to(scores.dtype).mean(-1)
    share = share / share.sum(-1, keepdim=True)
    mean = scores.softmax(-2).mean(-1)
    return scores.shape[-2] * (share * mean).sum(-1).mean()
