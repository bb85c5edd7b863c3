"""Several processes that train one model, each on its own part of every batch.

A script that calls ``fit`` is launched, without a change, as ::

    torchrun --nproc-per-node 2 train.py

on one machine, or on each of several with ``--nnodes``, ``--node-rank`` and
``--rdzv-endpoint``. Any other launcher does that sets ``NAMES`` for each process. What
holds in such a run, as everywhere in data-parallel training:

- ``batch_size`` is that of one rank, so a step sees ``world`` times as many rows. Every
  rank must run the same script, and call ``fit`` with the same arguments; each answers
  the same model. The first alone writes the folder of the run.
- Losses are means over the rows of all ranks, also where labels, weights or rows are
  dealt unevenly; so is all that a weighting reads of losses and gradients. Without
  dropout the run is one of a single process with the whole batch, up to rounding.
- What a layer knows of its batch, it knows of the rank's rows: batch normalisation, the
  balance of a gate of kind ``top_k``, the units of the causal expert's reconstruction.
  Running statistics are the first rank's.
- Dropout differs from rank to rank, and from the masks of a single process.
- Gradients of embeddings are dense: large tables are sent whole at every step.
"""

import os
import random
from typing import NamedTuple

import torch
from torch import Tensor, distributed, nn

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")


class World(NamedTuple):
    """Which process this is, of how many: of all, and of those on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


ALONE = World()


def launched() -> World:
    """What the environment says of this process; ``ALONE`` where nothing launched it.

    Raises ValueError for a launch of several processes that leaves a name out, or that
    gives one a number that cannot be.
    """
    env = os.environ
    if "RANK" not in env or env.get("WORLD_SIZE", "1") == "1":
        return ALONE
    lost = [name for name in (*NAMES, *ADDRESS) if name not in env]
    if lost:
        raise ValueError(
            f"A launch of several processes sets {[*NAMES, *ADDRESS]}, as torchrun "
            f"does. Found none of {lost}."
        )
    texts = [env[name] for name in NAMES]
    if all(text.isdecimal() for text in texts):
        world = World(*map(int, texts))
        whole = world.local_size > 0 and world.size % world.local_size == 0
        inside = world.rank < world.size and world.local_rank < world.local_size
        if whole and inside:
            return world
    raise ValueError(
        "A rank lies below the number of processes, which are as many on each machine. "
        f"Found {dict(zip(NAMES, texts, strict=True))}."
    )


def place_in_world(rank: int | None, world: int | None) -> tuple[int, int]:
    """A rank and the number of ranks: as given, or those of ``torch.distributed``.

    Raises ValueError for a rank that is none of the world's.
    """
    running = distributed.is_available() and distributed.is_initialized()
    if world is None:
        world = distributed.get_world_size() if running else 1
    if rank is None:
        rank = distributed.get_rank() if running else 0
    if not 0 <= rank < world:
        raise ValueError(f"A rank lies in 0..{world - 1}. Found {rank}.")
    return rank, world


def average(tensor: Tensor) -> Tensor:
    """Its mean over the processes of ``torch.distributed``, without a gradient.

    Where none run, the tensor itself.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return tensor
    whole = tensor.detach().clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(whole)
    return whole / distributed.get_world_size()


def from_first(tensor: Tensor) -> Tensor:
    """What the first process holds, in all; where none run, the tensor itself."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return tensor
    first = tensor.detach().clone(memory_format=torch.contiguous_format)
    distributed.broadcast(first, 0)
    return first


def share_buffers(module: nn.Module) -> None:
    """Give all processes the first one's buffers, such as running statistics."""
    for buffer in module.buffers():
        buffer.copy_(from_first(buffer))


def draw_apart(device: torch.device, *numbers: int) -> None:
    """Seed torch's generators of the CPU and of this device by these numbers alone."""
    seed = random.Random(repr(numbers)).getrandbits(63)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)
