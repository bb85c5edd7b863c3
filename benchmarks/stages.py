"""Both gate stages against their matrix products: ``python -m benchmarks.stages``.

Sixteen tasks, the seven experts' blocks, 4,096 customers, one private expert a task on
644 columns. A step is forward and backward, into the blocks as well. The floor is the
same step's matrix products alone, one an expert, into ready memory.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from benchmarks.clock import Clock, machine
from benchmarks.floor import Product
from ple_study.gates.stages import Stages, StagesSpec
from ple_study.schema import TaskSpec

RESULTS = Path(__file__).parent / "results" / "stages.json"
BATCH, COLUMNS, TASKS = 4096, 644, 16
BLOCKS = {
    "unified_hgcn": 128,
    "perslay": 64,
    "deepfm": 64,
    "temporal": 64,
    "lightgcn": 64,
    "causal": 64,
    "optimal_transport": 64,
}


def products(device: torch.device) -> Callable[[], None]:
    """Private experts, the adapter, both gates, the bridge, and stage 1's mixing."""
    width, experts = sum(BLOCKS.values()), len(BLOCKS)
    sizes = [(COLUMNS, 128, False), (128, 64, True)] * TASKS
    sizes += [(128, 64, True)]
    sizes += [(width, TASKS * (experts + 1), True), (width, TASKS * experts, True)]
    sizes += [(64, 32, True)] * TASKS
    plan = [(Product(BATCH, a, b, device), g) for a, b, g in sizes]
    weights = torch.randn(BATCH, TASKS, TASKS + experts, device=device)
    table = torch.randn(BATCH, TASKS + experts, 64, device=device)
    mixed, back = torch.bmm(weights, table), torch.empty_like(weights)
    down = torch.empty_like(table)

    def run() -> None:
        for product, _ in plan:
            product.forward()
        torch.bmm(weights, table, out=mixed)
        torch.bmm(mixed, table.mT, out=back)
        torch.bmm(weights.mT, mixed, out=down)
        for product, to_input in reversed(plan):
            product.backward(to_input=to_input)

    return run


def step(device: torch.device) -> Callable[[], None]:
    """Both stages as the model runs them."""
    tasks = [TaskSpec(name=f"t{number}") for number in range(TASKS)]
    stages: Stages = StagesSpec().build(COLUMNS, BLOCKS, tasks).to(device)
    columns = torch.randn(BATCH, COLUMNS, device=device)
    blocks = [
        torch.randn(BATCH, width, device=device, requires_grad=True)
        for width in BLOCKS.values()
    ]
    present = torch.rand(BATCH, len(BLOCKS), device=device) < 0.9
    slopes = [torch.randn(BATCH, stages.dim, device=device) for _ in tasks]

    def run() -> None:
        stages.zero_grad()
        for block in blocks:
            block.grad = None
        heard = stages(columns, blocks, present)
        torch.autograd.backward(
            [*heard.inputs, heard.penalty], [*slopes, torch.ones_like(heard.penalty)]
        )

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    where = torch.device(asked.device)
    clock = Clock(rounds=asked.rounds, device=asked.device)
    times = clock.race({"both stages": step(where), "matrix products": products(where)})
    middle = {name: round(median(found), 2) for name, found in times.items()}
    ratio = middle["both stages"] / middle["matrix products"]
    result = {
        "customers": BATCH,
        "tasks": TASKS,
        "milliseconds a step": middle,
        "ratio": round(ratio, 2),
        "rounds": asked.rounds,
        "machine": machine(asked.device),
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
