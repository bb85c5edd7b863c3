"""Rows that are sums of a few of many known directions."""

import torch
from torch import Tensor
from torch.nn import functional as F

COUNT, DIM, ON = 32, 20, 2


def planted(rows: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, what of each direction is in them (``ON`` are not zero), the directions."""
    draw = torch.Generator().manual_seed(5)
    directions = F.normalize(torch.randn(COUNT, DIM, generator=draw), dim=1)
    draw = torch.Generator().manual_seed(seed)
    places = torch.rand(rows, COUNT, generator=draw).argsort(1)
    amounts = (places < ON) * (0.5 + torch.rand(rows, COUNT, generator=draw))
    return amounts @ directions, amounts, directions
