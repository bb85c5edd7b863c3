"""A bank of any size, made in blocks of customers that do not know of each other."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import index

import numpy as np
import torch
from jaxtyping import Int
from joblib import Parallel, delayed
from torch import Tensor

from ple_study.batch import Rows, concat
from ple_study.data.graphs.fusion import Graphs, graphs_of
from ple_study.data.graphs.visits import Visits
from ple_study.data.loader import Study
from ple_study.data.thread import preferring
from ple_study.data.world import inputs
from ple_study.data.world.blocks import Block, Logs, join
from ple_study.data.world.customers import Customers, customers, join_customers
from ple_study.data.world.events import cards, deposits, first_shown, sessions
from ple_study.data.world.inputs import Fitted
from ple_study.data.world.labels import labels, scores
from ple_study.data.world.plan import Plan, plan
from ple_study.data.world.signal import Signal, signal
from ple_study.data.world.sizes import SIZES, Name, Size
from ple_study.data.world.tasks import TRANSFERS
from ple_study.data.world.vectors import in_tree
from ple_study.schema import Schema

BLOCK = 500  # customers whose randomness comes from one seed
FIT = 4  # blocks whose training customers teach scales, hidden states and clusters
TRAIN, VAL, CYCLE = 3, 4, 5  # of five customers three train, one chooses, one tests


@dataclass(frozen=True)
class Truth:
    """All that was planted: the signal, the bank and the customers' hidden factors."""

    signal: Signal
    plan: Plan
    customers: Customers


@dataclass(frozen=True)
class Bank:
    """A synthetic bank whose truth is known; one seed, one bank.

    The largest part of the signal of nine of the sixteen tasks lies in series,
    diagrams and vectors, where baselines, which read columns, do not look.
    Before the first rows 2,000 customers are drawn to learn from, half a minute in the
    study's size.

    num_customers: customer i is the same in a bank of any number, and so is what is
    learned for all: it comes from the training customers of the first 2,000, drawn also
    where the bank is smaller.
    size: ``study`` has the thread's widths, ``small`` about a tenth of the columns
    and merchants, and a quarter of the rest or more.
    noise: the share of each task's score that nothing tells, from 0 to below 1.
    correlation: of the signals of two tasks that read one lens differently, -1 to 1.
    lenses: by task, the three lenses of its signal where they are to be others than in
    ``tasks``, the strongest first. The customers and their events stay the same.
    chained: whether a task decides a part of each task that it informs (``labels``).

    Raises ValueError for a setting out of range and for unknown tasks and lenses.
    """

    num_customers: int
    seed: int = 0
    size: Name = "study"
    noise: float = 0.2
    correlation: float = 0.5
    lenses: Mapping[str, tuple[str, str, str]] = field(default_factory=dict, hash=False)
    chained: bool = True

    def __post_init__(self) -> None:
        for name in ("num_customers", "seed"):
            object.__setattr__(self, name, index(getattr(self, name)))
        lenses = {task: tuple(chosen) for task, chosen in self.lenses.items()}
        object.__setattr__(self, "lenses", lenses)
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"A seed lies in 0..2^32 - 1. Found {self.seed}.")
        if self.num_customers < CYCLE:
            raise ValueError(
                f"A bank needs {CYCLE} customers or more. Found {self.num_customers}."
            )
        if self.size not in SIZES:
            raise ValueError(f"A size is one of {list(SIZES)}. Found {self.size!r}.")
        _ = self.signal

    @cached_property
    def widths(self) -> Size:
        """How wide each input is."""
        return SIZES[self.size]

    @cached_property
    def signal(self) -> Signal:
        """What the tasks' scores are made of."""
        return signal(self.widths, self.noise, self.correlation, self.lenses)

    @cached_property
    def plan(self) -> Plan:
        """What is the same for all customers."""
        return plan(self.widths, self.signal.tasks, plan_stream(self.seed))

    @cached_property
    def schema(self) -> Schema:
        """Columns, inputs, and the sixteen active tasks."""
        specs = tuple(preferring(t.spec) for t in self.signal.tasks if t.active)
        return replace(inputs.schema(self.widths, specs), transfers=TRANSFERS)

    @cached_property
    def fitted(self) -> Fitted:
        """What the training customers of the first blocks teach."""
        return inputs.fit(self.plan, self.widths, self.training(), self.seed)

    def training(self) -> Block:
        """The training customers among those of the first whole blocks."""
        some = join([self._drawn(n) for n in range(FIT)])
        return some.rows(split(len(some.columns))["train"].numpy())

    def __len__(self) -> int:
        """Number of blocks."""
        return -(-self.num_customers // BLOCK)

    def block(self, number: int) -> Block:
        """The customers ``BLOCK * number`` on: truth, columns, raw events, labels.

        Raises ValueError for a block that the bank does not have.
        """
        if not 0 <= number < len(self):
            raise ValueError(f"Blocks are 0..{len(self) - 1}. Found {number}.")
        size = min(BLOCK, self.num_customers - number * BLOCK)
        return self._drawn(number).rows(np.arange(size))

    def _drawn(self, number: int) -> Block:
        """A whole block, whether or not the bank has all of it."""
        rngs = block_streams(self.seed, number)
        who, columns = customers(self.plan, self.widths, BLOCK, rngs[0])
        logs = Logs(
            cards(self.plan, self.widths, who, rngs[1]),
            sessions(self.widths, who, rngs[2]),
            deposits(who, rngs[3]),
        )
        score = scores(self.plan, self.signal, who, rngs[4])
        drawn = labels(self.plan, self.signal, score, rngs[5], chained=self.chained)
        return Block(who, columns, logs, drawn)

    def rows(self, number: int) -> Rows:
        """The customers of a block as a model meets them, and their labels."""
        block = self.block(number)
        batch = inputs.batch(self.plan, self.widths, block, self.fitted)
        code = torch.arange(len(batch)) + number * BLOCK
        known = {name: block.labels[name] for name in self.schema.task_names}
        labels = {k: torch.from_numpy(v).float() for k, v in known.items()}
        return Rows(replace(batch, customer=code), labels)

    def blocks(self, workers: int = 1) -> Iterator[Rows]:
        """All blocks in order. One worker makes a block when it is asked for; more of
        them are processes that run ahead.

        Raises ValueError for less than one worker.
        """
        if workers < 1:
            raise ValueError(f"workers must be 1 or more. Found {workers}.")
        _ = self.fitted
        made = Parallel(workers, return_as="generator", pre_dispatch=workers)(
            delayed(self.rows)(number) for number in range(len(self))
        )
        yield from made

    def study(self, workers: int = 1) -> Study:
        """The whole bank in memory, split by customers: 60, 20 and 20 in a hundred.

        While it is put together it takes twice its size.
        """
        rows = concat(list(self.blocks(workers)))
        return Study(self.schema, rows, split(self.num_customers))

    def graphs(self) -> Graphs:
        """Customers, merchants and their tree as graphs.

        Of the payments of the days that the series shows, so that the taste for
        categories, which lies in earlier ones, is not in them. Merchant m stands at
        the m-th leaf of the tree; row i is customer i.
        """
        begin = first_shown(self.widths)
        seen = [
            in_tree(self.plan, self.block(number).logs.card.since(begin))
            for number in range(len(self))
        ]
        customer = [part.customer + n * BLOCK for n, part in enumerate(seen)]
        visits = Visits(
            np.concatenate(customer),
            np.concatenate([part.merchant for part in seen]),
            np.concatenate([part.day for part in seen]),
            np.concatenate([part.amount for part in seen]),
            self.num_customers,
            len(self.plan.tree),
        )
        return graphs_of(self.plan.tree, visits)

    def truth(self) -> Truth:
        """All that was planted."""
        made = [self.block(number).who for number in range(len(self))]
        return Truth(self.signal, self.plan, join_customers(made))


def plan_stream(seed: int) -> np.random.Generator:
    """The generator of the plan, which none of ``block_streams`` is."""
    return np.random.default_rng(seed).spawn(1)[0]


def block_streams(seed: int, number: int) -> list[np.random.Generator]:
    """The six generators of a block, each of no other block."""
    return [np.random.default_rng((seed, number, kind)) for kind in range(6)]


def split(num_customers: int) -> dict[str, Int[Tensor, " row"]]:
    """Of five customers in a row three train, one chooses, one tests."""
    place = torch.arange(num_customers) % CYCLE
    limits = {"train": (0, TRAIN), "val": (TRAIN, VAL), "test": (VAL, CYCLE)}
    return {
        name: torch.where((place >= low) & (place < high))[0]
        for name, (low, high) in limits.items()
    }
