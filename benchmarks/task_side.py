"""From a task's input to its loss: ``python -m benchmarks.task_side``.

Sixteen tasks of the thread's kinds, 544 numbers a task, 20 clusters, 4,096 customers:
basket, transfer, towers and losses, forward and backward, into the inputs as well. The
floor is the same step's matrix products alone, one a task and layer, into ready memory.
The same step with 64 tasks, the table four times in the same four groups, says how the
cost grows.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch

from benchmarks.clock import Clock, machine
from benchmarks.floor import Product
from ple_study.data.thread import TRANSFERS
from ple_study.data.world.tasks import tasks as table
from ple_study.objective.losses import task_losses
from ple_study.schema import Feature, Schema, TaskSpec
from ple_study.tasks.basket import BasketSpec
from ple_study.tasks.towers import TOWER
from ple_study.tasks.transfer import TransferSpec, TransferTowers

RESULTS = Path(__file__).parent / "results" / "task_side.json"
BATCH, WIDTH, CLUSTERS, BRANDS = 4096, 544, 20, 40


def schema(copies: int) -> Schema:
    """The sixteen active tasks, so many times, and their transfers."""
    active = [task.spec for task in table(12 * BRANDS) if task.active]

    def named(name: str, copy: int) -> str:
        return f"{name}_{copy}"

    tasks = [replace(t, name=named(t.name, n)) for n in range(copies) for t in active]
    edges = [
        replace(e, source=named(e.source, n), target=named(e.target, n))
        for n in range(copies)
        for e in TRANSFERS
    ]
    return Schema(features=(Feature(name="x"),), tasks=tasks, transfers=edges)


def label(task: TaskSpec, device: torch.device) -> torch.Tensor:
    if task.kind == "regression":
        return torch.randn(BATCH, device=device)
    return torch.randint(max(task.classes, 2), (BATCH,), device=device).float()


def step(about: Schema, device: torch.device) -> Callable[[], None]:
    """All of it as the model runs it."""
    tasks = about.tasks
    basket = BasketSpec().build(tasks, WIDTH, CLUSTERS).to(device)
    towers = TransferTowers(about, basket.dim, TOWER, TransferSpec()).to(device)
    clusters = torch.randn(BATCH, CLUSTERS, device=device).softmax(1)
    inputs = [
        torch.randn(BATCH, WIDTH, device=device, requires_grad=True) for _ in tasks
    ]
    labels = {task.name: label(task, device) for task in tasks}

    def run() -> None:
        basket.zero_grad()
        towers.zero_grad()
        for x in inputs:
            x.grad = None
        logits = towers(basket(inputs, clusters))
        task_losses(tasks, logits, labels).values.sum().backward()

    return run


def products(about: Schema, device: torch.device) -> Callable[[], None]:
    """Every linear map of basket, transfer and towers, and no more."""
    embedding, dim = BasketSpec().embedding, BasketSpec().dim
    outputs = {task.name: task.outputs for task in about.tasks}
    sizes = []
    for task in about.tasks:
        sizes += pairwise((WIDTH + embedding, *BasketSpec().encoder.dims, dim))
        sizes += pairwise((dim, *TOWER.dims))
        if task.kind == "contrastive":
            sizes += pairwise((TOWER.dims[-1], task.dim, task.outputs))
        else:
            sizes.append((TOWER.dims[-1], task.outputs))
    for edge in about.transfers:
        sizes += pairwise((outputs[edge.source], dim, dim))
    plan = [Product(BATCH, a, b, device) for a, b in sizes]

    def run() -> None:
        for product in plan:
            product.forward()
        for product in reversed(plan):
            product.backward(to_input=True)

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
    few, many = schema(1), schema(4)
    times = clock.race(
        {
            "16 tasks": step(few, where),
            "their products": products(few, where),
            "64 tasks": step(many, where),
        }
    )
    middle = {name: round(median(found), 1) for name, found in times.items()}
    result = {
        "customers": BATCH,
        "milliseconds a step": middle,
        "over the products": round(middle["16 tasks"] / middle["their products"], 2),
        "64 tasks over 16": round(middle["64 tasks"] / middle["16 tasks"], 2),
        "rounds": asked.rounds,
        "machine": machine(asked.device),
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
