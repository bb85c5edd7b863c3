"""What each expert costs at the thread's shapes: ``python -m benchmarks.experts``.

A step (forward and backward) and an answer (forward alone) on one batch of a study
bank, in one race; the share of a step is of the seven steps together. Memory is what a
step keeps for its gradient, counted once a storage.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch

from benchmarks.alone import SPECS
from benchmarks.clock import Clock, machine
from ple_study.batch import Batch, concat
from ple_study.data.world import Bank
from ple_study.experts.base import Expert

RESULTS = Path(__file__).parent / "results" / "experts.json"


def step(expert: Expert, batch: Batch) -> None:
    expert.zero_grad()
    (expert(batch).square().mean() + expert.penalty_of(batch)).backward()


def answer(expert: Expert, batch: Batch) -> None:
    with torch.no_grad():
        expert(batch)


def kept(expert: Expert, batch: Batch) -> int:
    """Bytes that the graph of one answer holds, beside weights and the batch itself."""
    own = {p.untyped_storage().data_ptr() for p in expert.parameters()}
    found: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        block = expert(batch)
    assert block.requires_grad
    own |= {t.untyped_storage().data_ptr() for t in tensors(batch)}
    return sum(size for place, size in found.items() if place not in own)


def tensors(value: object) -> list[torch.Tensor]:
    """Every tensor of a batch."""
    if isinstance(value, torch.Tensor):
        return [value]
    if value is None:
        return []
    parts = value.values() if isinstance(value, dict) else vars(value).values()
    return [tensor for part in parts for tensor in tensors(part)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    bank = Bank(1500)
    rows = concat([bank.rows(number) for number in range(3)]).rows(
        torch.arange(asked.rows)
    )
    batch = rows.batch.to(asked.device)
    experts = {
        name: spec.build(bank.schema).to(asked.device) for name, spec in SPECS.items()
    }
    clock = Clock(rounds=asked.rounds, device=asked.device, threads=asked.threads)
    found: dict[str, dict[str, float]] = {}
    for what, run in (("step_ms", step), ("answer_ms", answer)):
        runs: dict[str, Callable[[], None]] = {
            name: partial(run, expert, batch) for name, expert in experts.items()
        }
        for name, taken in clock.race(runs).items():
            found.setdefault(name, {})[what] = round(median(taken), 2)
    whole = sum(row["step_ms"] for row in found.values())
    for name, row in found.items():
        row["share"] = round(row["step_ms"] / whole, 3)
        row["kept_kib"] = round(kept(experts[name], batch) / asked.rows / 1024, 2)
        row["parameters"] = sum(p.numel() for p in experts[name].parameters())
        print(name, row, flush=True)
    about = {"rows": asked.rows, "threads": asked.threads, "measure": clock.measure}
    result = about | {"machine": machine(asked.device), "experts": found}
    asked.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
