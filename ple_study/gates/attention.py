"""CGCAttention: each task recolours the experts' blocks before it reads them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from ple_study.gates.freeze import Freezable
from ple_study.gates.gate import Mixture
from ple_study.gates.recolour import recolour
from ple_study.names import nearest, one_of
from ple_study.schema import TaskSpec

Missing = Literal["mask", "default"]
BlockNorm = Literal["none", "layer"]


@dataclass(frozen=True, kw_only=True)
class CGCAttentionSpec:
    """How blocks are weighed.

    dim_normalize: each block times sqrt(mean width / its width), so that a wide block
    is not heard better for its width. It corrects for width, not for loudness.
    rescale: times the number of experts, so that even weights change nothing; without
    it, as in the sources, they divide the vector by that number.
    block_norm: "layer" normalises each block first; our experts' blocks are normal.
    prior: what is added at the start to the score of an expert that the task names in
    ``TaskSpec.experts``, and taken from that of any other. A task that names none
    starts even. Zero is no prior, and less than zero a wrong one.
    missing: whether an expert that has nothing to read of a customer is left out of her
    softmax ("mask"), or heard with its learned "default".
    entropy: weight of the term that keeps a gate open. It pays for the mean entropy of
    the weights, in nats; or, where ``entropy_floor`` is above zero, it charges what is
    missing to that share of the largest possible entropy, and nothing above.
    scaled: divides the scores by the root of the number of inputs (``GateSpec``).
    """

    dim_normalize: bool = True
    rescale: bool = True
    block_norm: BlockNorm = "none"
    prior: float = 1.0
    missing: Missing = "mask"
    entropy: float = 0.01
    entropy_floor: float = 0.0
    scaled: bool = True

    def __post_init__(self) -> None:
        one_of("block_norm", self.block_norm, get_args(BlockNorm))
        one_of("missing", self.missing, get_args(Missing))
        if not (self.entropy >= 0 and 0 <= self.entropy_floor <= 1):
            raise ValueError(
                "entropy must be 0 or more and entropy_floor lie in [0, 1]. Found "
                f"entropy={self.entropy}, entropy_floor={self.entropy_floor}."
            )
        if not math.isfinite(self.prior):
            raise ValueError(f"A prior must be finite. Found {self.prior}.")


ATTENTION = CGCAttentionSpec()


class CGCAttention(Freezable):
    """Block scaling: a softmax over the experts a task, and no sum.

    w_k = softmax(a W_k [h_1 .. h_E] + b_k), and task k reads
    [c_1 w_k1 h_1, .., c_E w_kE h_E] with constants a, c_i (``CGCAttentionSpec``). Every
    score reads all blocks, so this is a router rather than a matching of keys. W starts
    at zero and b at the prior.

    dims: the widths of the blocks. prior: ``[task, expert]``, from ``prior_table``.
    """

    scale: Tensor

    def __init__(
        self,
        dims: Sequence[int],
        prior: Float[Tensor, "task expert"],
        spec: CGCAttentionSpec = ATTENTION,
    ) -> None:
        super().__init__()
        tasks, experts = prior.shape
        if experts != len(dims) or not tasks * experts:
            raise ValueError(
                f"A prior is [task, expert] with a column a block. Found "
                f"{tuple(prior.shape)} for {len(dims)} blocks."
            )
        self.spec, self.dims = spec, list(dims)
        self.linear = nn.Linear(sum(dims), tasks * experts)
        with torch.no_grad():
            self.linear.weight.zero_()
            self.linear.bias.copy_((spec.prior * prior).flatten())
        width = torch.tensor(self.dims, dtype=torch.float32)
        scale = torch.ones(experts)
        if spec.dim_normalize:
            scale = (width.mean() / width).sqrt()
        if spec.rescale:
            scale = scale * experts
        self.register_buffer("scale", scale, persistent=False)

    def forward(
        self,
        blocks: Sequence[Float[Tensor, "batch _"]],
        present: Bool[Tensor, "batch expert"] | None = None,
        read: Sequence[Float[Tensor, "batch _"]] | None = None,
    ) -> Mixture:
        """One ``[batch, sum(dims)]`` a task, and its weights ``[batch, expert]``.

        ``present`` says who could speak; of a customer about whom nobody could, all are
        heard. ``read`` is what the gate decides by, if not the blocks that it weighs.
        """
        heard = self._beside(blocks)
        asked = heard if read is None else self._beside(read)
        weight, bias = self.linear.weight, self.linear.bias
        if self.spec.scaled:
            weight = weight.shape[1] ** -0.5 * weight
        rows = weight @ asked.T + bias[:, None]
        each = (len(rows) // len(self.dims), len(self.dims), heard.shape[0])
        scores = rows.view(each)  # [task, expert, batch]
        if present is not None and self.spec.missing == "mask":
            silent = ~present & present.any(1, keepdim=True)
            scores = scores.masked_fill(silent.T, -torch.inf)
        weights = scores.softmax(1)
        mixed = recolour(heard, weights * self.scale[:, None], self.dims)
        return Mixture(list(mixed), list(weights.mT.unbind()), self._penalty(weights))

    def _beside(
        self, blocks: Sequence[Float[Tensor, "batch _"]]
    ) -> Float[Tensor, "batch _"]:
        if self.spec.block_norm == "layer":
            blocks = [F.layer_norm(block, block.shape[1:]) for block in blocks]
        return torch.cat(list(blocks), dim=1)

    def _penalty(self, weights: Float[Tensor, "task expert batch"]) -> Tensor:
        if not (self.training and self.learns and self.spec.entropy):
            return weights.new_zeros(())
        floor = self.spec.entropy_floor * math.log(len(self.dims))
        return self.spec.entropy * entropy_penalty(weights, floor)


def entropy_penalty(
    weights: Float[Tensor, "task expert batch"], floor: float = 0.0
) -> Float[Tensor, ""]:
    """-mean H(w) over tasks and customers, in nats; with a floor, mean (floor - H)+.

    H(w) = -sum_i w_i log max(w_i, 1e-6)
    """
    w = weights.float()
    entropy = -(w * w.clamp(min=1e-6).log()).sum(1)
    return (floor - entropy).relu().mean() if floor else -entropy.mean()


def prior_table(
    tasks: Sequence[TaskSpec], experts: Sequence[str]
) -> Float[Tensor, "task expert"]:
    """+1 for each expert that a task names, -1 for any other; 0 if it names none.

    Raises ValueError for an expert that is not there.
    """
    table = torch.zeros(len(tasks), len(experts))
    for row, task in enumerate(tasks):
        for name in task.experts:
            if name not in experts:
                raise ValueError(
                    f"Task {task.name!r} prefers the expert {name!r}. Experts are "
                    f"{list(experts)}; prior=0 asks for none."
                    f"{nearest(name, experts)}"
                )
        if task.experts:
            named = [name in task.experts for name in experts]
            table[row] = 2.0 * torch.tensor(named) - 1
    return table
