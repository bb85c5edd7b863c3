"""Offline preparation, shard by shard: diagrams, states and clusters are made once.

::

    def states(rows: Rows) -> dict[str, Tensor]:
        return {"states": mode_states(modes, rows.batch.events)}

    paths = map_shards(states, parts, folder="states", workers=8)
    whole = concat([load_file(path) for path in paths])

``parts`` may be rows, or names of files that the function reads. Each result is a file
of its own, ``00000.safetensors`` and so on, whole or not there at all.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from joblib import wrap_non_picklable_objects

from ple_study.data.pools import DiedError, Job, by_ray, locally
from ple_study.names import one_of

T = TypeVar("T")
Backend = Literal["local", "ray"]
ABOUT = "shards.json"  # how many shards there are, and of which version
POOLS = {"local": locally, "ray": by_ray}


def map_shards(
    function: Callable[[T], Any],
    shards: Sequence[T],
    *,
    folder: str | Path,
    workers: int = 1,
    backend: Backend = "local",
    retries: int = 2,
    version: str = "",
) -> list[Path]:
    """Write ``function(shard)`` for every shard; the files' paths, in their order.

    A result is a mapping of tensors or arrays, nested at will, or a dataclass of them,
    such as ``Rows`` or ``Diagrams``; its tensors are named by the path to them, as
    ``batch/numeric``. Shards whose file is there are not computed again, so that a call
    that was cut short goes on. A result is known by its number: say another ``version``
    once the function or the cuts are others, and the folder of the old is refused.
    Nobody else may write to the folder meanwhile.

    Workers are processes of one thread each: of this machine, or, with ``ray``, of the
    cluster that Ray is connected to (``ray.init``), whose machines must share the
    folder; without one, Ray is started here. Where a worker dies, what is not finished
    is done again: shards that were in work then are tried alone, ``retries`` times.
    What the function raises is raised, and not retried. In a script, the call stands
    under ``if __name__ == "__main__":``.

    Raises ValueError for fewer than one worker or retry, another backend, Ray that is
    missing, a folder that is a file or has results of another number of shards or of
    another version, and a result that is none; DiedError, which names the shard, where
    its worker died every time.
    """
    one_of("A backend", backend, get_args(Backend))
    for name, value in (("workers", workers), ("retries", retries)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more. Found {value}.")
    results = Results(_made(folder), len(shards))
    results.check(version)
    results.clear()
    wrapped, run = wrap_non_picklable_objects(function), POOLS[backend]

    def job(number: int) -> Job:
        return Job(wrapped, shards[number], results.path(number))

    while left := results.left():
        try:
            run([job(number) for number in left], workers, retries)
        except DiedError:
            for number in results.begun():
                _alone(run, job(number), number, len(shards), retries)
    results.clear()
    return [results.path(number) for number in range(len(shards))]


def _made(folder: str | Path) -> Path:
    folder = Path(folder)
    if folder.is_file():
        raise ValueError(f"Results go to a folder. Found a file: {folder}.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True)
class Results:
    """The files of ``size`` shards in a folder: those that are, and those begun."""

    folder: Path
    size: int

    def path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.safetensors"

    def check(self, version: str) -> None:
        """Raise ValueError where the folder has results of other shards or versions."""
        own = {self.path(number) for number in range(self.size)}
        more = sorted(p.name for p in set(self.folder.glob("*.safetensors")) - own)
        if more:
            raise ValueError(
                f"The folder must hold results of these {self.size} shards alone. "
                f"Found {more[:3]} in {self.folder}."
            )
        about, asked = self.folder / ABOUT, {"shards": self.size, "version": version}
        found = json.loads(about.read_text("utf-8")) if about.exists() else asked
        if found != asked:
            raise ValueError(
                f"The folder must hold results of {asked}, or be empty. Found {found} "
                f"in {about}."
            )
        about.write_text(json.dumps(asked), encoding="utf-8")

    def left(self) -> list[int]:
        return [n for n in range(self.size) if not self.path(n).exists()]

    def begun(self) -> list[int]:
        """The shards that some worker began, and none finished.

        Raises DiedError where there is none: then workers die before they begin.
        """
        halves = (f".{self.path(n).stem}.*.part" for n in self.left())
        pairs = zip(self.left(), halves, strict=True)
        found = [n for n, half in pairs if any(self.folder.glob(half))]
        if not found:
            raise DiedError(
                "A worker must live to begin a shard. Found none that did: is the "
                'call in a script without `if __name__ == "__main__":`?'
            )
        return found

    def clear(self) -> None:
        for half in self.folder.glob(".*.part"):
            half.unlink()


def _alone(
    run: Callable[[list[Job], int, int], None],
    job: Job,
    number: int,
    size: int,
    retries: int,
) -> None:
    for _ in range(retries):
        try:
            return run([job], 1, 0)
        except DiedError:
            continue
    raise DiedError(
        f"A shard's worker must live until it is done. That of shard {number} of "
        f"{size} died, and {retries} times more when it was alone: "
        f"{str(job.shard)[:200]}."
    )
