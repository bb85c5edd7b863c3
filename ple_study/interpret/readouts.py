"""Six ways to read how much each expert has to do with an answer.

::

    gate        w_ki of stage 2; where there is none, stage 1's slots of shared experts
    norm        the norm of what the task reads of a block: w_ki s_i norm(h_i)
    grad_block  <d z_k / d h~_i, h~_i>, h~_i the block behind the gates
    loo         z_k - z_k without expert i
    shapley     sum_S s! (E - s - 1)! / E! (z_k(S + i) - z_k(S)), S of s without i
    ig          <h_i - m_i, integral of d z_k / d h_i from the means m to h>

z_k is a task's margin (``margins``), z_k(S) that of the coalition S (``coalitions``).
Shapley 1953; Sundararajan et al., ICML 2017 (integrated gradients), and ICML 2020 (the
many Shapley values: this is the baseline one).
"""

from collections.abc import Callable
from math import factorial

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from ple_study.interpret.coalitions import Question, Values, all_coalitions, answers
from ple_study.interpret.margins import margins
from ple_study.interpret.slopes import grad_block, integrated

Raw = Float[Tensor, "batch task expert"]


def asked_of(readout: str, experts: int) -> Bool[Tensor, "coalition expert"]:
    """The coalitions that a readout needs; the first hears nobody, the last all."""
    if readout == "shapley":
        return all_coalitions(experts)
    none = torch.zeros(1, experts, dtype=torch.bool)
    one_out = ~torch.eye(experts, dtype=torch.bool)
    return torch.cat([none, *([one_out] if readout == "loo" else []), ~none])


def values(asked: Question, heard: Bool[Tensor, "coalition expert"]) -> Values:
    """The margin of every coalition, in float64 and on the CPU."""
    found, start = [], 0
    pieces = answers(
        asked.model, asked.said, asked.unheard, heard, hold_gate=asked.hold_gate
    )
    for logits in pieces:
        stop = start + len(next(iter(logits.values())))
        part = margins(asked.tasks, logits, asked.chosen[start:stop])
        found.append(part.cpu().double())
        start = stop
    return torch.cat(found)


def shapley(values: Values, heard: Bool[Tensor, "coalition expert"]) -> Raw:
    """Shapley values of games whose coalitions are ``heard``, all of them."""
    experts = heard.shape[1]
    size = heard.sum(1).tolist()
    whole = factorial(experts)
    joins = [
        factorial(s - 1) * factorial(experts - s) / whole if s else 0 for s in size
    ]
    lacks = [
        factorial(s) * factorial(experts - s - 1) / whole if s < experts else 0
        for s in size
    ]
    joins_, lacks_ = (values.new_tensor(x)[:, None] for x in (joins, lacks))
    factor = torch.where(heard, joins_, -lacks_)
    return torch.einsum("bct,ce->bte", values, factor)


def _shapley(asked: Question, values: Values) -> Raw:
    return shapley(values, all_coalitions(len(asked.unheard)))


def _loo(_: Question, values: Values) -> Raw:
    return (values[:, -1:] - values[:, 1:-1]).mT


def _gate(asked: Question, _: Values) -> Raw:
    # Stage 2 comes last, and shared experts come after a task's own.
    return asked.weights[-1][:, asked.places, -len(asked.unheard) :]


def _norm(asked: Question, values: Values) -> Raw:
    stages, blocks = asked.model.gates, list(asked.said.blocks)
    weights = _gate(asked, values).to(blocks[0].device)
    if stages.stage2:
        weights = weights * stages.stage2.scale
        if stages.stage2.spec.block_norm == "layer":
            blocks = [F.layer_norm(block, block.shape[1:]) for block in blocks]
    elif stages.stage1:
        pairs = zip(stages.stage1.adapters, blocks, strict=True)
        blocks = [adapter(block) for adapter, block in pairs]
    size = torch.stack([block.norm(dim=1) for block in blocks], dim=1)
    return (weights * size[:, None]).detach()


READOUTS: dict[str, Callable[[Question, Values], Raw]] = {
    "gate": _gate,
    "norm": _norm,
    "grad_block": grad_block,
    "loo": _loo,
    "shapley": _shapley,
    "ig": integrated,
}
AGAINST = ("loo", "shapley", "ig")  # those that compare with not being heard
