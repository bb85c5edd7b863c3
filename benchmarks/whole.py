"""The whole model's step against its matrix products: ``python -m benchmarks.whole``.

Seven experts of the thread's widths, both gate stages, hidden states, basket, transfer
and towers, 16 tasks, on 1,024 customers of a bank of the study's size. A step is
forward, losses, backward, clipping and optimiser, as ``fit`` does it. The floor is the
matrix products of that very step, noted while it ran and run again alone. Each part is
timed by itself as well, forward and backward.

On a GPU, the step is also compiled, and the largest batch in 12 GB is looked for.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, cast

import torch

from benchmarks.clock import Clock, machine
from benchmarks.products import Products
from ple_study.batch import Rows
from ple_study.data.loader import Study
from ple_study.data.world import Bank
from ple_study.experts.base import Expert
from ple_study.experts.row_gradients import row_gradients
from ple_study.learner import Learner, Training
from ple_study.model import HeterogeneousPLE, HeterogeneousPLESpec
from ple_study.objective.losses import task_losses
from ple_study.objective.weighting import FixedWeightingSpec

RESULTS = Path(__file__).parent / "results"
BATCH = 1024
CARD = 12e9  # bytes of the thread's GPU


def study(customers: int) -> Study:
    """Scaled, so that values are as a model meets them."""
    return Bank(customers, size="study").study().scaled()


class Step:
    """One step of training on these rows, and its parts."""

    def __init__(self, about: Study, rows: Rows, compiled: bool = False) -> None:
        torch.manual_seed(0)
        self.rows, self.tasks = rows, about.schema.tasks
        model = HeterogeneousPLESpec().build(about.schema).to(rows.batch.numeric.device)
        self.model = cast(HeterogeneousPLE, model.train())
        weighting = FixedWeightingSpec().build(self.tasks).to(rows.batch.numeric.device)
        self.learner = Learner(about.schema, model, weighting, Training(), 1)
        self.learner.to(rows.batch.numeric.device)
        self.optimiser = self.learner.configure_optimizers()
        if compiled:
            self.model.compile(fullgraph=True)

    def __call__(self) -> None:
        self.optimiser.zero_grad()
        self.learner.training_step(self.rows, 0).backward()
        self.finish()

    def finish(self) -> None:
        self.learner.configure_gradient_clipping()
        self.optimiser.step()

    def parts(self) -> Mapping[str, Callable[[], None]]:
        """Each expert alone, what follows the experts with the losses, and the end."""
        batch, pool = self.rows.batch, self.model.experts
        with torch.no_grad():
            blocks, present = pool(batch)
        slopes = [torch.randn_like(block) for block in blocks]

        def alone(expert: Expert, slope: torch.Tensor) -> Callable[[], None]:
            def run() -> None:
                expert.zero_grad()
                said, penalty = expert(batch), expert.penalty_of(batch)
                with_penalty = penalty.requires_grad
                asked = [said, penalty] if with_penalty else [said]
                up = [slope, torch.ones_like(penalty)][: len(asked)]
                torch.autograd.backward(asked, up)

            return run

        def rest() -> None:
            self.model.zero_grad()
            inputs = [block.detach().requires_grad_() for block in blocks]
            output = self.model.answer(batch, inputs, present)
            losses = task_losses(self.tasks, output.logits, self.rows.labels)
            (losses.values.sum() + output.penalty).backward()

        experts = zip(pool.experts.items(), slopes, strict=True)
        return {
            **{name: alone(cast(Expert, e), slope) for (name, e), slope in experts},
            "gates to losses": rest,
            "clipping and optimiser": self.finish,
        }


def measured(step: Step, clock: Clock, device: torch.device) -> dict[str, Any]:
    """Milliseconds of the step, of its products and of its parts."""
    step()
    with Products() as products:
        step()
    runs = {
        "whole step": step,
        "matrix products": products.again(device),
        **step.parts(),
    }
    times = clock.race(runs)
    middle = {name: round(median(found), 2) for name, found in times.items()}
    pairs = zip(times["whole step"], times["matrix products"], strict=True)
    return {
        "milliseconds": middle,
        "products": len(products.factors),
        "giga operations": round(products.work, 2),
        "ratio": round(median(a / b for a, b in pairs), 2),
    }


def on_card(about: Study, device: torch.device, clock: Clock) -> dict[str, Any]:
    """Of a GPU: customers a second and peak memory, by batch size, until 12 GB."""
    found = []
    for size in (512, 1024, 2048, 4096, 8192, 16384):
        rows = about.rows.rows(torch.arange(size) % len(about.rows.batch)).to(device)
        entry: dict[str, Any] = {"batch": size}
        for name, compiled in (("eager", False), ("compiled", True)):
            torch.cuda.reset_peak_memory_stats()
            step = Step(about, rows, compiled)
            taken = median(clock.race({"step": step}, rounds=3)["step"])
            entry |= {
                f"{name}, customers a second": round(1e3 * size / taken),
                f"{name}, peak bytes": torch.cuda.max_memory_allocated(),
            }
        found.append(entry)
        if entry["eager, peak bytes"] > CARD:
            break
    return {"by batch": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device = torch.device(asked.device)
    clock = Clock(rounds=asked.rounds, device=asked.device, threads=asked.threads)
    about = study(1500)
    rows = about.rows.rows(torch.arange(BATCH)).to(device)
    step = Step(about, rows)
    parameters = sum(p.numel() for p in step.model.parameters())
    with row_gradients(step.model):
        found = measured(step, clock, device)
    if device.type == "cuda":
        found |= on_card(about, device, clock)
    result = {
        "customers": BATCH,
        "threads": asked.threads,
        "parameters": parameters,
        **found,
        "rounds": asked.rounds,
        "measure": clock.measure,
        "machine": machine(asked.device),
    }
    where = RESULTS / f"whole_{device.type}.json"
    where.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
