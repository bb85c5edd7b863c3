"""Processes that write one file a job: of this machine, or of Ray's."""

import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import is_dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor


class DiedError(RuntimeError):
    """A worker's process ended before its work did."""


class Job(NamedTuple):
    """``function(shard)`` is to be in the file ``path``."""

    function: Callable[[Any], Any]
    shard: Any
    path: Path


def locally(jobs: Sequence[Job], workers: int, _: int = 0) -> None:
    """Do the jobs by so many processes of this machine.

    Raises DiedError where one dies, and what a function raises.
    """
    size = min(workers, len(jobs))
    with ProcessPoolExecutor(size, mp_context=_context()) as pool:
        try:
            for answer in as_completed([pool.submit(finish, job) for job in jobs]):
                answer.result()
        except BrokenProcessPool as error:
            raise DiedError(str(error)) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _context() -> Any:
    """Processes that begin without this one's threads and locks."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # so that torch is imported once
    return context


def by_ray(jobs: Sequence[Job], workers: int, retries: int = 0) -> None:
    """Do the jobs by so many tasks at once of Ray, one a job.

    Ray itself tries a task again whose worker died, ``retries`` times. Raises DiedError
    after that, what Ray makes of what a function raises, and ValueError without Ray.
    """
    ray, rest = _ray(), iter(jobs)
    task = ray.remote(num_cpus=1, max_retries=retries)(finish)
    running = [task.remote(job) for job in islice(rest, workers)]
    try:
        while running:
            (done,), running = ray.wait(running)
            ray.get(done)
            running += [task.remote(job) for job in islice(rest, 1)]
    except ray.exceptions.WorkerCrashedError as error:
        raise DiedError(str(error)) from None
    finally:
        for left in running:
            ray.cancel(left, force=True)


def _ray() -> Any:
    try:
        ray = import_module("ray")
    except ImportError:
        raise ValueError(
            'backend="ray" needs Ray: pip install "ple-study[scale]". Found none.'
        ) from None
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    return ray


def finish(job: Job) -> None:
    """Write the result of a job to its path, by way of a file beside it."""
    torch.set_num_threads(1)
    path = job.path
    half = path.with_name(f".{path.stem}.{uuid4().hex}.part")
    half.touch()  # whoever dies is known by what it had begun
    try:
        found = tensors_of(job.function(job.shard))
    except Exception as error:
        error.add_note(f"This was {path.name}, of {str(job.shard)[:200]}.")
        raise
    save_file(found, half)
    with half.open("rb") as file:
        os.fsync(file.fileno())
    half.replace(path)


def tensors_of(value: Any, name: str = "") -> dict[str, Tensor]:
    """Every tensor of nested mappings and dataclasses, by the path that leads to it.

    None is left out. Raises ValueError for anything else, and for a tensor alone.
    """
    if value is None:
        return {}
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if isinstance(value, Tensor) and name:
        # A copy, since tensors that share memory cannot be told apart in a file.
        return {name: value.detach().cpu().clone(memory_format=torch.contiguous_format)}
    if not isinstance(value, Mapping) and not is_dataclass(value):
        place = f" at {name!r}" if name else ""
        raise ValueError(
            "A result is a mapping or a dataclass of tensors or arrays. Found "
            f"{type(value).__name__}{place}."
        )
    parts = value if isinstance(value, Mapping) else vars(value)
    found: dict[str, Tensor] = {}
    for key, part in parts.items():
        found |= tensors_of(part, f"{name}/{key}" if name else str(key))
    return found
