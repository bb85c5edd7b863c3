"""The last step of a prediction: one tower a task, all of one shape run together."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ple_study.experts.mlp import Lanes, MLPSpec, ParallelLinear, ParallelMLP
from ple_study.schema import TaskSpec

TOWER = MLPSpec(dims=(64, 32), activation="silu", norm="layer", dropout=0.2)


class Similarity(nn.Module):
    """Scores of a contrastive task: the cosine to each class's learned key.

    The cosine is divided by ``temperature``. With cross-entropy on these scores the
    loss is InfoNCE with every class as a key (van den Oord et al. 2018, equation 4).
    """

    def __init__(self, dim_in: int, classes: int, dim: int, temperature: float = 0.07):
        super().__init__()
        self.temperature = temperature
        self.query = nn.Linear(dim_in, dim)
        self.keys = nn.Parameter(torch.randn(classes, dim) * dim**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        query = F.normalize(self.query(x), dim=1)
        return query @ F.normalize(self.keys, dim=1).T / self.temperature


class Towers(nn.Module):
    """A tower a task: hidden layers, then logits of the width the task asks for.

    ``forward`` takes one ``[batch, dim]`` a task and answers logits by task name; that
    of a regression is in the unit of its label.
    """

    def __init__(self, tasks: Sequence[TaskSpec], dim_in: int, spec: MLPSpec) -> None:
        super().__init__()
        self.names = [task.name for task in tasks]
        self.scales = {t.name: t.scale for t in tasks if t.scale != (0.0, 1.0)}
        self.hidden = ParallelMLP(len(tasks), dim_in, spec)
        plain = [t for t in tasks if t.kind != "contrastive"]
        self.widths = sorted({task.outputs for task in plain})
        self.places = [
            [i for i, t in enumerate(tasks) if t in plain and t.outputs == width]
            for width in self.widths
        ]
        self.heads = nn.ModuleList(
            ParallelLinear(len(places), self.hidden.dim, width)
            for width, places in zip(self.widths, self.places, strict=True)
        )
        contrastive = [task for task in tasks if task.kind == "contrastive"]
        self.compared = [task.name for task in contrastive]
        self.similarity = nn.ModuleList(
            Similarity(self.hidden.dim, task.classes, task.dim) for task in contrastive
        )

    def forward(self, inputs: Lanes) -> dict[str, Tensor]:
        hidden = dict(zip(self.names, self.hidden(inputs), strict=True))
        pairs = zip(self.compared, self.similarity, strict=True)
        logits = {name: head(hidden[name]) for name, head in pairs}
        for places, head in zip(self.places, self.heads, strict=True):
            names = [self.names[place] for place in places]
            logits |= zip(names, head([hidden[n] for n in names]), strict=True)
        for name, (usual, strays) in self.scales.items():
            answer = logits[name]  # half precision would round away the deviation
            wide = torch.promote_types(answer.dtype, torch.float32)
            logits[name] = answer.to(wide) * strays + usual
        return {name: logits[name] for name in self.names}
