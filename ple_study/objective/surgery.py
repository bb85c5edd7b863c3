"""Gradient surgery: what the tasks' gradients become before the shared parameters move.

The aggregators are those of torchjd, which is installed beside the library.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float
from scipy.optimize import nnls
from torch import Tensor

from ple_study.names import nearest
from ple_study.objective.conflict import Gradients, gradients_of
from ple_study.objective.losses import TaskLosses
from ple_study.objective.weighting import Parameters, Weighting
from ple_study.ranks import average, from_first
from ple_study.schema import TaskSpec

Aggregator = Callable[[Gradients], Float[Tensor, " parameter"]]
RIDGE = 1e-4  # as torchjd's projector, so that linearly dependent gradients pass


@dataclass(frozen=True, kw_only=True)
class GradientSurgerySpec:
    """One direction from the tasks' gradients, by a class of ``torchjd.aggregation``.

    ``aggregator`` names a class that needs no argument and remembers no batch:
    ``UPGrad`` (Quinton and Rey, 2024), ``PCGrad`` (Yu et al., NeurIPS 2020), ``MGDA``
    (Sener and Koltun, NeurIPS 2018), ``AlignedMTL`` (Senushkin et al., CVPR 2023),
    ``IMTLG`` (Liu et al., ICLR 2021), ``GradDrop`` (Chen et al., NeurIPS 2020),
    ``ConFIG`` (Liu et al., ICLR 2025), ``Random`` (Lin et al., TMLR 2022), ``DualProj``
    (the projected mean), ``Mean`` and ``Sum``. PCGrad, GradDrop and Random draw from
    torch's generator, which ``fit`` seeds.

    ``build`` raises ValueError for any other name, and where torchjd is missing.
    """

    aggregator: str = "UPGrad"

    def build(self, tasks: Sequence[TaskSpec]) -> "GradientSurgery":
        return GradientSurgery(tasks, aggregator_of(self.aggregator))


class GradientSurgery(Weighting):
    """sum_k w_k L_k, of which the shared parameters get another gradient.

    J has a row w_k grad L_k for each task that is present and has a weight above zero.
    The shared parameters get d = aggregator(J), every other parameter the plain sum.
    Each term's value stays w_k L_k: what brings d - sum_k J_k to the parameters is a
    product with them minus its own value, spread evenly over the tasks of J.

    PCGrad, GradDrop, ConFIG and Sum answer on the scale of a sum over K tasks; UPGrad,
    DualProj, MGDA, AlignedMTL, IMTLG, Random and Mean on that of a mean. With these the
    shared parameters' gradient is up to K times shorter than under ``FixedWeighting``,
    beside private ones of the usual length: SGD takes shorter steps there, AdamW nearly
    the same, and ``clip`` binds later. A step costs a backward pass a task and holds K
    gradients.
    """

    def __init__(self, tasks: Sequence[TaskSpec], aggregator: Aggregator) -> None:
        super().__init__(tasks)
        self.aggregator = aggregator

    def terms(
        self, losses: TaskLosses, shared: Parameters = ()
    ) -> Float[Tensor, " task"]:
        """As of ``Weighting``. Training raises ValueError without shared parameters."""
        terms = self.weights * losses.values
        if not self.training:
            return terms
        if not shared:
            raise ValueError(
                "Gradient surgery is done in the parameters that tasks share. "
                "Found none."
            )
        part = losses.present & (self.weights > 0)
        gradients = average(gradients_of(terms, shared))[part]
        if not len(gradients) or not gradients.isfinite().all():
            return terms  # what is not finite, a run tells of by itself
        # Of random directions, all processes take one.
        change = from_first(self.aggregator(gradients) - gradients.sum(0))
        pieces = torch.split(change, [p.numel() for p in shared])
        products = [
            (p * piece.view_as(p)).sum()
            for p, piece in zip(shared, pieces, strict=True)
        ]
        carrier = torch.stack(products).sum()
        return terms + (carrier - carrier.detach()) * part.to(terms) / part.sum()


def aggregator_of(name: str) -> Aggregator:
    """A new aggregator of ``torchjd.aggregation``.

    UPGrad and DualProj get ``onto_dual_cone`` where torchjd asks for quadprog.

    Raises ValueError where torchjd is missing, for a name that is no aggregator's, for
    an aggregator that needs arguments (CAGrad, NashMTL and others), and for one that
    remembers batches (GradVac and others), which a resumed run would have forgotten.
    """
    try:
        torchjd = import_module("torchjd")
        members = vars(import_module("torchjd.aggregation"))
    except ImportError:
        raise ValueError(
            "Gradient surgery needs torchjd: pip install torchjd. Found none."
        ) from None
    kinds: dict[str, Any] = {
        member: kind
        for member, kind in members.items()
        if inspect.isclass(kind) and issubclass(kind, members["Aggregator"])
    }
    against = {k: _against(kind, torchjd.Stateful) for k, kind in kinds.items()}
    allowed = [k for k, reason in against.items() if not reason]
    if name not in allowed:
        raise ValueError(
            f"The aggregator of gradient surgery must be one of {allowed}. Found "
            f"{name!r}{against.get(name, '')}.{nearest(name, allowed)}"
        )
    kind = kinds[name]
    projects = "projector" in inspect.signature(kind).parameters
    return kind(projector=onto_dual_cone) if projects else kind()


def _against(kind: type, stateful: type) -> str:
    """What keeps an aggregator from being built by its name; empty if nothing does."""
    parameters = inspect.signature(kind).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty]
    if needed:
        return f", which needs {', '.join(needed)}"
    if inspect.isabstract(kind):
        return ", which is abstract"
    return ", which remembers batches" if issubclass(kind, stateful) else ""


@torch.no_grad()
def onto_dual_cone(
    weights: Float[Tensor, "*rows task"], gramian: Float[Tensor, "task task"]
) -> Float[Tensor, "*rows task"]:
    """argmin_v v^T G v with v >= u, for each u among ``weights`` (Quinton and Rey).

    With G = J J^T, J^T v is J^T u projected onto the directions that oppose no task's
    gradient. G is divided by its trace first and gets ``RIDGE`` on its diagonal; with
    G = R^T R and v = u + x what is left are nonnegative least squares of R x + R u.
    torchjd's own projector takes any G of a trace below 1e-4 for zero: UPGrad is then
    the mean. This one knows no scale.
    """
    g = gramian.double().cpu()
    g = g / g.trace().clamp(min=torch.finfo(g.dtype).tiny)
    root = torch.linalg.cholesky(g + RIDGE * torch.eye(len(g)), upper=True)
    rows = weights.double().cpu().reshape(-1, len(g))
    extra = [nnls(root.numpy(), -(root @ u).numpy())[0] for u in rows]
    found = rows + torch.stack([torch.from_numpy(x) for x in extra])
    return found.view_as(weights).to(weights)
