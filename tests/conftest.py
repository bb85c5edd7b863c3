"""What every test shares."""

from collections.abc import Iterator

import jaxtyping
import pytest
import torch
from hypothesis import settings

settings.register_profile("test", derandomize=True)
settings.register_profile("fuzz", print_blob=True)
settings.load_profile("test")  # unless --hypothesis-profile names another


@pytest.fixture(autouse=True)
def _shape_checks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Switch jaxtyping's checks off while a test marked `plain` runs.

    What was compiled for tests before it counts against no limit.
    """
    plain = request.node.get_closest_marker("plain") is not None
    if plain:
        torch.compiler.reset()
    jaxtyping.config.update("jaxtyping_disable", plain)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
