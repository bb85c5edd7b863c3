"""What a leakage test compares, of any shop."""

from collections.abc import Iterator

from torch import Tensor

from ple_study.batch import Batch


def fields(batch: Batch) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a batch but the customer's code, which is compared by name."""
    yield from (("numeric", batch.numeric), ("categorical", batch.categorical))
    for name, events in batch.events.items():
        yield from ((f"{name} values", events.values), (f"{name} mask", events.mask))
    for name, shape in batch.diagrams.items():
        yield from ((f"{name} points", shape.points), (f"{name} mask", shape.mask))
    assert batch.states is not None
    assert batch.clusters is not None
    yield from (("states", batch.states), ("clusters", batch.clusters))
    yield from ((name, values.nan_to_num(-9)) for name, values in batch.vectors.items())
