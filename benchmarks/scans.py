"""The chunked scan beside the loops it replaces: processor time and memory.

``python -m benchmarks.scans`` prints forward and backward of each by one thread, and
what autograd keeps of each for the backward pass, a customer, once all have been shown
to answer the same in float64. Loops: the recurrence of one decay a head, the same with
a decay a channel (Mamba-1), and that scan as mambapy 1.2.0 writes it in order, which
keeps every state. The shapes are one head of 32 with a state of 16, and what a
customer's 180 days are in the expert: four heads of 64.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.clock import Clock, machine
from ple_study.experts.temporal.selective_scan import (
    channel_scan,
    chunked_scan,
    recurrent_scan,
)

RESULTS = Path(__file__).parent / "results" / "scans.json"
STEPS, STATE = 180, 16
SHAPES = {"one head of 32": (1, 32), "four heads of 64": (4, 64)}
Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def world(customers: int, heads: int, width: int, dtype: torch.dtype) -> Inputs:
    """x, delta, A, B and C of one decay a head."""
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        made = torch.randn(*shape, generator=draw, dtype=torch.float64)
        return made.to(dtype)

    x = normal(customers, STEPS, heads, width)
    delta = 0.1 * normal(customers, STEPS, heads).exp()
    rates, states = normal(heads), (customers, STEPS, STATE)
    write, read = normal(*states), normal(*states)
    every = x, delta, -rates.exp(), write, read
    return tuple(part.requires_grad_() for part in every)  # type: ignore[return-value]


def heads_of(scan: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(
        x: Tensor, delta: Tensor, rate: Tensor, write: Tensor, read: Tensor
    ) -> Tensor:
        return scan(x, delta * rate, write, read, delta)

    return run


def channels_of(scan: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same decay for all channels of a head and all numbers of the state."""

    def run(
        x: Tensor, delta: Tensor, rate: Tensor, write: Tensor, read: Tensor
    ) -> Tensor:
        width = x.shape[3]
        wide = rate.repeat_interleave(width)[:, None].expand(-1, STATE).contiguous()
        steps = delta.repeat_interleave(width, 2)
        return scan(x.flatten(2), steps, wide, write, read).unflatten(2, x.shape[2:])

    return run


def naive(
    x: Tensor, delta: Tensor, rate: Tensor, write: Tensor, read: Tensor
) -> Tensor:
    """Mamba-1 with all decays, inputs and states of all steps side by side."""
    fade = (delta[..., None] * rate).exp()
    enters = delta[..., None] * write[:, :, None] * x[..., None]
    state, states = torch.zeros_like(enters[:, 0]), []
    for kept, added in zip(fade.unbind(1), enters.unbind(1), strict=True):
        state = kept * state + added
        states.append(state)
    return (torch.stack(states, 1) @ read[..., None]).squeeze(-1)


RUNS = {
    "chunked": heads_of(chunked_scan),
    "recurrence, a decay a head": heads_of(recurrent_scan),
    "Mamba-1 loop": channels_of(channel_scan),
    "Mamba-1 loop that keeps states": channels_of(naive),
}


def check(heads: int, width: int) -> None:
    """All answer the same and have the same gradients, or there is nothing to time."""
    given = world(2, heads, width, torch.float64)
    answers = []
    for run in RUNS.values():
        y = run(*given)
        answers.append((y, *torch.autograd.grad(y.square().sum(), given)))
    for other in answers[1:]:
        torch.testing.assert_close(answers[0], other, rtol=1e-9, atol=1e-9)


def kept(run: Callable[..., Tensor], given: Inputs) -> int:
    """Bytes a customer that autograd keeps beyond the inputs, each storage once."""
    known = {part.untyped_storage().data_ptr() for part in given}
    sizes: dict[int, int] = {}

    def pack(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        if storage.data_ptr() not in known:
            sizes[storage.data_ptr()] = storage.nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        answer = run(*given)
    total = sum(sizes.values()) // len(answer)
    del answer
    return total


def measure(name: str, customers: int, rounds: int) -> dict[str, dict[str, object]]:
    heads, width = SHAPES[name]
    check(heads, width)
    given = world(customers, heads, width, torch.float32)
    towards = torch.randn(given[0].shape, generator=torch.Generator().manual_seed(1))

    def trained(run: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(run(*given), given, towards)

    clock = Clock(rounds=rounds, seconds=1.0)  # one step of many
    times = clock.race({k: trained(run) for k, run in RUNS.items()})
    print(f"{name}, {customers} customers, {STEPS} steps, {clock.measure}")
    first, found = statistics.median(times["chunked"]), {}
    for key, run in RUNS.items():
        middle, memory = statistics.median(times[key]), kept(run, given)
        print(f"  {key:31} {middle:9.1f} ms {middle / first:6.1f} x {memory:10,} bytes")
        found[key] = {"ms": times[key], "ratio": middle / first, "bytes": memory}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, nargs=2, default=[512, 64])
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, object] = {"machine": machine("cpu"), "steps": STEPS}
    for name, customers in zip(SHAPES, asked.customers, strict=True):
        found[f"{name}, {customers} customers"] = measure(name, customers, asked.rounds)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
