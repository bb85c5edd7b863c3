"""The heterogeneous model: experts, gates, hidden states, basket, transfer, towers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ple_study.batch import Batch, Model, ModelSpec, Output
from ple_study.experts.base import ExpertPool, ExpertSpec
from ple_study.experts.causal import CausalSpec
from ple_study.experts.deepfm import DeepFMSpec
from ple_study.experts.hgcn import HGCNSpec
from ple_study.experts.lightgcn import LightGCNSpec
from ple_study.experts.mlp import MLPSpec
from ple_study.experts.perslay import PersLaySpec
from ple_study.experts.tabular import Tabular
from ple_study.experts.temporal import TemporalSpec
from ple_study.experts.transport import OptimalTransportSpec
from ple_study.gates.stages import STAGES, StagesSpec
from ple_study.schema import Schema
from ple_study.tasks.basket import BasketSpec, GroupTaskExpertBasket
from ple_study.tasks.evidential import (
    EvidentialHeads,
    EvidentialSpec,
    EvidentialTowers,
    check_any,
)
from ple_study.tasks.modes import ModesSpec
from ple_study.tasks.towers import TOWER
from ple_study.tasks.transfer import TransferSpec, TransferTowers


def seven() -> dict[str, ExpertSpec]:
    """The study's experts, by name."""
    return {
        "unified_hgcn": HGCNSpec(),
        "perslay": PersLaySpec(),
        "deepfm": DeepFMSpec(),
        "temporal": TemporalSpec(),
        "lightgcn": LightGCNSpec(),
        "causal": CausalSpec(),
        "optimal_transport": OptimalTransportSpec(),
    }


@dataclass(frozen=True, kw_only=True)
class HeterogeneousPLESpec(ModelSpec):
    """Experts by name, the gates over them, and all that makes answers of it.

    Hidden states, clusters and transfers are read where the schema has some. A stage
    that is None is left out: ``modes``, ``basket``, ``transfer``, and ``evidential``,
    which there is on request alone. TOML, which knows no None, says false.
    """

    experts: Mapping[str, ExpertSpec] = field(default_factory=seven, hash=False)
    gates: StagesSpec = STAGES
    modes: ModesSpec | None = field(default_factory=ModesSpec)
    basket: BasketSpec | None = field(default_factory=BasketSpec)
    transfer: TransferSpec | None = field(default_factory=TransferSpec)
    tower: MLPSpec = TOWER
    evidential: EvidentialSpec | None = None

    def __post_init__(self) -> None:
        specs = self.experts.values() if isinstance(self.experts, Mapping) else [None]
        if not all(isinstance(spec, ExpertSpec) for spec in specs):
            raise ValueError(
                f"Experts are specs by name, such as {{'deepfm': DeepFMSpec()}}. "
                f"Found {self.experts!r}."
            )
        taken = sorted({"basket", "modes"} & set(self.experts))
        if taken:
            raise ValueError(
                f"The names 'basket' and 'modes' are no expert's. Found {taken}."
            )
        kinds = {
            "modes": ModesSpec,
            "basket": BasketSpec,
            "transfer": TransferSpec,
            "evidential": EvidentialSpec,
        }
        for name, kind in kinds.items():
            stage = getattr(self, name)
            if stage is False:
                object.__setattr__(self, name, None)
            elif not (stage is None or isinstance(stage, kind)):
                raise ValueError(
                    f"{name} must be a {kind.__name__} or None. Found {stage!r}."
                )

    def build(self, schema: Schema) -> "HeterogeneousPLE":
        return HeterogeneousPLE(schema, self)


class HeterogeneousPLE(Model):
    """Experts of different mathematics, and for every task a choice among them.

    ``Output.weights`` has an entry a gate stage. Stage 1's slots are a task's private
    experts, then the shared ones; stage 2's are the shared ones, in the spec's order.

    Evidential heads beside the towers are built last, from random numbers of their own:
    all that is drawn without them is drawn as without them.
    """

    def __init__(self, schema: Schema, spec: HeterogeneousPLESpec) -> None:
        super().__init__()
        self.freeze_epoch = spec.gates.freeze_epoch
        self.columns = Tabular.build(schema)
        self.experts = ExpertPool.build(schema, spec.experts)
        widths = dict(zip(self.experts.names, self.experts.dims, strict=True))
        self.gates = spec.gates.build(self.columns.dim, widths, schema.tasks)
        heard = spec.modes if schema.states[0] else None
        self.modes = heard.build(schema) if heard else None
        dim = self.gates.dim + (self.modes.dim if self.modes else 0)
        self.basket = None
        if spec.basket:
            self.basket = spec.basket.build(schema.tasks, dim, schema.clusters)
            dim = self.basket.dim
        heads = self.evidential = spec.evidential
        if heads:
            check_any(schema.tasks)
        instead = heads is not None and heads.place == "instead"
        towers = EvidentialTowers if instead else TransferTowers
        self.towers = towers(schema, dim, spec.tower, spec.transfer)
        self.evidence = None
        if heads and not instead:
            with torch.random.fork_rng(devices=[]):
                self.evidence = EvidentialHeads(schema.tasks, dim, heads.detached)

    def forward(self, batch: Batch) -> Output:
        return self.answer(batch, *self.experts(batch))

    def answer(
        self,
        batch: Batch,
        blocks: Sequence[Float[Tensor, "batch _"]],
        present: Bool[Tensor, "batch expert"],
    ) -> Output:
        """What the model says of customers whose experts have answered ``blocks``."""
        heard = self.gates(self.columns(batch), blocks, present)
        inputs = heard.inputs
        if self.modes:
            states = self.modes(batch.states, batch.numeric.shape[0])
            pairs = zip(inputs, states, strict=True)
            inputs = [torch.cat(pair, dim=1) for pair in pairs]
        if self.basket:
            inputs = self.basket(inputs, batch.clusters)
        if isinstance(self.towers, EvidentialTowers):
            logits, evidence = self.towers.answers(inputs)
        else:
            logits = self.towers(inputs)
            evidence = self.evidence(inputs) if self.evidence else {}
        return Output(logits, heard.weights, tuple(blocks), heard.penalty, evidence)

    def penalty_of(self, batch: Batch) -> Float[Tensor, ""]:
        return self.experts.penalty_of(batch)

    def begin_epoch(self, epoch: int) -> None:
        if 0 < self.freeze_epoch <= epoch:
            self.gates.freeze()

    def shared_parameters(self) -> list[nn.Parameter]:
        return list(self.experts.parameters())

    def shared_modules(self) -> dict[str, list[nn.Parameter]]:
        """Each expert, the networks of groups, and the projectors of hidden states.

        Without gates: their rows are a task's own, but for the experts' adapters.
        """
        found = {
            name: list(expert.parameters())
            for name, expert in self.experts.experts.items()
        }
        if isinstance(self.basket, GroupTaskExpertBasket):
            found["basket"] = self.basket.shared_parameters()
        if self.modes:
            found["modes"] = [p for p in self.modes.parameters() if p.requires_grad]
        return {name: parameters for name, parameters in found.items() if parameters}

    def parameter_counts(self) -> dict[str, int]:
        """How many numbers each part learns, in the order of the forward pass."""
        stages = self.gates
        parts: dict[str, nn.Module | None] = {
            **self.experts.experts,
            "absent": self.experts.absent,
            "columns": self.columns,
            "stage 1": stages.stage1,
            "stage 2": stages.stage2,
            "bridge": stages.bridge,
            "modes": self.modes,
            "basket": self.basket,
            "transfer": self.towers.receivers,
            "towers": self.towers.towers,
            "evidence": self.evidence,
        }
        counts = {name: _learned(part) for name, part in parts.items() if part}
        return {name: count for name, count in counts.items() if count}


def _learned(part: nn.Module) -> int:
    return sum(p.numel() for p in part.parameters() if p.requires_grad)
