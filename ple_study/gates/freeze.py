"""A gate that stops learning, and stays stopped in a checkpoint."""

from typing import Any

import torch
from torch import Tensor, nn


class Freezable(nn.Module):
    """Its own parameters can be frozen; the flag is saved with them.

    Frozen weights do not make a gate's values constant: they follow what the gate
    reads, which goes on learning.
    """

    frozen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frozen", torch.zeros((), dtype=torch.bool))
        self.held = False  # by ``freeze``, and not by whoever else stops parameters
        self.register_load_state_dict_post_hook(_as_saved)  # type: ignore[no-untyped-call]

    @property
    def learns(self) -> bool:
        return any(p.requires_grad for p in self.parameters())

    def freeze(self, *, on: bool = True) -> None:
        """Keep all parameters as they are; with ``on=False``, let them learn again."""
        self.frozen.fill_(on)
        self.held = on
        self.requires_grad_(not on)
        for parameter in self.parameters():
            parameter.grad = None

    def _load_from_state_dict(
        self, state: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        if any(name.startswith(prefix) for name in state):
            # Weights from elsewhere know of no flag, and learn.
            state.setdefault(f"{prefix}frozen", torch.zeros_like(self.frozen))
        super()._load_from_state_dict(state, prefix, *args)


def _as_saved(module: nn.Module, _: Any) -> None:
    assert isinstance(module, Freezable)
    if bool(module.frozen) != module.held:
        module.freeze(on=bool(module.frozen))
