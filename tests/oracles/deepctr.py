"""The parts of deepctr-torch that ours are compared with; without it, tests skip."""

import sys
from types import ModuleType

import pytest

# On import it asks the network for its newest version, in a thread.
quiet = ModuleType("deepctr_torch.utils")
quiet.check_version = lambda _: None
sys.modules["deepctr_torch.utils"] = quiet

inputs, layers, models, multitask = (
    pytest.importorskip(
        f"deepctr_torch.{name}",
        reason="the peer is not installed: pip install deepctr-torch==0.3.0",
        exc_type=ImportError,
    )
    for name in ("inputs", "layers", "models", "models.multitask")
)
