"""Where a run takes place, and the random numbers that are its own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ple_study.ranks import ALONE, World


def pick_device(name: str = "auto", world: World = ALONE) -> torch.device:
    """The device of this name; of several processes, each has a CUDA device of its own.

    Raises ValueError when it is not there, and, in a world of several, for the number
    of a CUDA device, which is that of the process, and for mps.
    """
    if name == "auto":
        name = os.environ.get("PLE_STUDY_DEVICE", "auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    there = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    kind, _, place = name.partition(":")
    if kind not in there or not (place or "0").isdigit():
        raise ValueError(f"A device is auto, cpu, cuda, cuda:1 or mps. Found {name!r}.")
    if world.size > 1 and (place or kind == "mps"):
        raise ValueError(
            "Of several processes each trains on the CPU, or on the CUDA device that "
            f"has the number of its LOCAL_RANK: device is cpu or cuda. Found {name!r}."
        )
    if world.size > 1 and kind == "cuda":
        place = str(world.local_rank)
        name = f"cuda:{place}"
    if int(place or 0) >= there[kind]:
        raise ValueError(
            f"Expected device {name!r}. Found {there[kind]} {kind} devices."
        )
    return torch.device(kind, int(place or 0)) if kind == "cuda" else torch.device(kind)


@contextmanager
def seeded(where: torch.device, seed: int) -> Iterator[None]:
    """Random numbers of this seed inside, the caller's own before and after."""
    cuda = [where] if where.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        for device in cuda:
            torch.cuda.default_generators[device.index].manual_seed(seed)
        yield
