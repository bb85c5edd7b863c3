"""One step of training, and the options that shape it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from ple_study.batch import Model, Rows
from ple_study.objective.evidence import evidence_losses
from ple_study.objective.losses import task_losses
from ple_study.objective.weighting import Weighting
from ple_study.ranks import average
from ple_study.schema import Schema
from ple_study.start import Frozen
from ple_study.tasks.evidential import EvidentialHeads

Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a model is trained: AdamW, a clipped gradient, early stopping.

    ``weight_decay`` spares biases, norms and whatever the weighting learns. ``clip``
    bounds the norm of the whole gradient; infinity does not. The ``cosine`` schedule
    warms up over a twentieth of all steps and then falls to zero. Training ends when
    ``monitor`` has not improved for ``patience`` epochs: the composite ``score`` of the
    validation rows, or one metric of one task, such as ``churn/auc``; never the
    weighted loss, which moves with its own weights. Tasks that share no parameter
    (``Model.parts``) are clipped one by one, and stopped one by one where the monitor
    is ``score``.
    """

    epochs: int = 15
    batch_size: int = 1024
    lr: float = 1e-3
    weight_decay: float = 0.01
    clip: float = 5.0
    schedule: Schedule = "constant"
    patience: int = 7
    monitor: str = "score"

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("batch_size", 1), ("patience", 1)):
            if getattr(self, name) < low:
                raise ValueError(
                    f"Training needs {name} >= {low}. Found {getattr(self, name)}."
                )
        if not (0 < self.lr < math.inf and 0 <= self.weight_decay < math.inf):
            raise ValueError(
                "Training needs a finite lr > 0 and a finite weight_decay >= 0. Found "
                f"{self.lr} and {self.weight_decay}."
            )
        if not self.clip > 0:
            raise ValueError(f"Training needs clip > 0. Found {self.clip}.")
        if self.schedule not in get_args(Schedule):
            raise ValueError(
                f"A schedule is one of {get_args(Schedule)}. Found {self.schedule!r}."
            )

    def factor(self, done: float) -> float:
        """What multiplies ``lr`` when this share of all steps, in [0, 1), is done."""
        if self.schedule == "constant":
            return 1.0
        if done < 0.05:
            return 0.1 + 18 * done
        # (1 + cos(pi t)) / 2, with t from 0 to 1 after the warm-up
        return (1 + math.cos(math.pi * (done - 0.05) / 0.95)) / 2


SPARED = ("bias", "gain", "absent", "log_rate")  # a rate would be drawn to one


def decay_groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Products and embeddings decay; biases, norms, rates and scales do not.

    What does not learn is in no group: a gradient of zeros would let it decay.
    """
    norms = (nn.LayerNorm, nn.BatchNorm1d)
    spared = {
        id(p)
        for module in model.modules()
        for name, p in module.named_parameters(recurse=False)
        if name in SPARED or p.ndim < 2 or isinstance(module, norms)
    }
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {
            "params": [p for p in parameters if id(p) not in spared],
            "weight_decay": decay,
        },
        {"params": [p for p in parameters if id(p) in spared], "weight_decay": 0.0},
    ]


def apart(model: Model, parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The parameters by part; of none, together. Detached heads are a part as well."""
    starts = model.parts().values()
    part = {
        id(p): start
        for name, p in model.named_parameters()
        for start in starts
        if name.startswith(start)
    }
    heads = [m for m in model.modules() if isinstance(m, EvidentialHeads) and m.detach]
    part |= {id(p): "evidence" for head in heads for p in head.parameters()}
    found: dict[str, list[nn.Parameter]] = {}
    for p in parameters:
        found.setdefault(part.get(id(p), ""), []).append(p)
    return list(found.values())


class Learner(L.LightningModule):
    """Forward, raw losses, their weighting, and what the model itself asks for.

    Evidence adds its own losses, which no weighting weighs, to the tasks': heads in the
    place of towers learn from both, the risk and the task's loss on their logits.
    ``frozen`` names the model's parts that do not learn. What is in the optimiser is
    settled here: a gate that stops later stays in it, in a resumed run too.
    """

    def __init__(
        self,
        schema: Schema,
        model: Model,
        weighting: Weighting,
        training: Training,
        steps: int,
        frozen: Sequence[str] = (),
        world: int = 1,
    ) -> None:
        super().__init__()
        self.schema, self.model, self.weighting = schema, model, weighting
        self.options, self.steps, self.done, self.epoch = training, steps, 0, 0
        self.ranks = world > 1
        self.frozen = Frozen(model, frozen)
        self.groups = decay_groups(model, training.weight_decay)
        self.clipped: list[list[nn.Parameter]] = []
        self.shared = [p for p in model.shared_parameters() if p.requires_grad]
        self.total: Tensor
        total = torch.zeros(2, len(schema.tasks))
        self.register_buffer("total", total, persistent=False)

    def on_train_epoch_start(self) -> None:
        self.epoch = self.options.epochs * self.done // self.steps
        self.model.begin_epoch(self.epoch)
        self.weighting.begin_epoch(self.epoch)
        self.frozen.hold()

    def training_step(self, rows: Rows, _: int) -> Tensor:
        self._pace()
        output = self.model(rows.batch)
        tasks = self.schema.tasks
        known = rows.labels, rows.weights
        losses = task_losses(tasks, output.logits, *known, ranks=self.ranks)
        self.total += torch.stack([losses.values.detach(), losses.present])
        total: Tensor = self.weighting(losses, self.shared)
        share = self._share(len(rows))
        total = total + share * self.model.penalty_of(rows.batch)
        total = total + share * output.penalty
        if spec := self.model.evidential:
            found = evidence_losses(
                tasks,
                output.evidence,
                *known,
                spec=spec,
                epoch=self.epoch,
                ranks=self.ranks,
            )
            total = total + found.values.sum()
        return total

    def _share(self, rows: int) -> Tensor | float:
        """The rank's rows by their mean over ranks: so much a mean over them weighs."""
        if not self.ranks:
            return 1.0
        own = torch.tensor(float(rows), device=self.device)
        return own / average(own)

    def _pace(self) -> None:
        if self.options.schedule != "constant":
            factor = self.options.factor(self.done / self.steps)
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] = group["start"] * factor
        self.done += 1

    def configure_optimizers(self) -> torch.optim.Optimizer:
        options = self.options
        groups = [(group, 1.0) for group in self.groups]
        groups += [
            ({"params": own, "weight_decay": 0.0}, factor)
            for own, factor in self.weighting.rates()
        ]
        parts = [
            {**group, "lr": options.lr * factor, "start": options.lr * factor}
            for group, factor in groups
            if group["params"]
        ]
        self.clipped = apart(self.model, [p for part in parts for p in part["params"]])
        return torch.optim.AdamW(parts, fused=True)

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        for own in self.clipped:
            norm = get_total_norm([p.grad for p in own if p.grad is not None])
            # Where asking costs no wait for a device, a small gradient is left alone.
            if self.device.type != "cpu" or norm > self.options.clip:
                clip_grads_with_norm_(own, self.options.clip, norm)

    def transfer_batch_to_device(self, batch: Rows, *_: Any) -> Rows:
        return batch  # the rows are there already

    def losses(self) -> dict[str, float]:
        """The mean raw loss of each task over the batches since the last call."""
        sums, counts = self.total.tolist()
        self.total.zero_()
        means = [a / max(n, 1) for a, n in zip(sums, counts, strict=True)]
        return dict(zip(self.schema.task_names, means, strict=True))
