"""Time taken side by side: in every round each contestant once, in a random order."""

import os
import platform
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

Runs = Mapping[str, Callable[[], object]]


@dataclass(frozen=True, kw_only=True)
class Clock:
    """``rounds`` rounds, in which each contestant runs for ``seconds`` or longer.

    On a CPU one reads the time that the process had of it, which other work on the
    machine moves little; with more threads, and on a GPU, the wall clock.
    """

    rounds: int
    seconds: float = 0.3
    device: str = "cpu"
    threads: int = 1
    order: random.Random = field(default_factory=lambda: random.Random(0))

    def now(self) -> float:
        if self.device != "cpu":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time() if self.threads == 1 else time.perf_counter()

    def once(self, run: Callable[[], object], times: int = 1) -> float:
        """Seconds a run."""
        start = self.now()
        for _ in range(times):
            run()
        return (self.now() - start) / times

    @property
    def measure(self) -> str:
        alone = self.device == "cpu" and self.threads == 1
        return "processor time" if alone else "wall time"

    def race(self, runs: Runs, *, rounds: int = 0) -> dict[str, list[float]]:
        """Milliseconds a run, one number a round."""
        times = {name: self._times(run) for name, run in runs.items()}
        found: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds or self.rounds):
            names = list(runs)
            self.order.shuffle(names)
            for name in names:
                taken = 1e3 * self.once(runs[name], times[name])
                found[name].append(round(taken, 4))
        return found

    def _times(self, run: Callable[[], object]) -> int:
        run()  # the first run makes what later runs find ready
        return max(1, round(self.seconds / self.once(run)))


def machine(device: str) -> dict[str, Any]:
    """What the numbers hold for."""
    about: dict[str, Any] = {
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if device != "cpu":
        return about | {"device": torch.cuda.get_device_name()}
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        names = [x.split(":")[1].strip() for x in lines if x.startswith("model name")]
        model = names[0] if names else model
    about |= {"device": model, "cores": os.cpu_count()}
    return about | {"instructions": torch.backends.cpu.get_cpu_capability()}
