"""Batches of rows that lie in Parquet files, in an order that is new each time.

The rows are dealt to ranks, and a rank's to the workers of a ``DataLoader``, in ranges
that the files' metadata fixes; of its range, each shuffles the row groups, reads a few
of them side by side into a buffer, and draws batches from that.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import torch
from torch.utils.data import IterableDataset, get_worker_info

from ple_study.batch import Rows, tree_map
from ple_study.data.parquet import ParquetRows
from ple_study.ranks import place_in_world

BUFFER = 1 << 18  # rows
OPEN = 4  # row groups that are read side by side

T = TypeVar("T")


class Stream(IterableDataset[Rows]):
    """Batches of ``ParquetRows`` as ``Loader`` gives them, without the table in memory.

    Iterating draws a new order each time, from ``generator``, once: what it is then
    does not depend on how far one reads. Shuffled are the row groups, of which four are
    read in turns, and then ``buffer`` rows at a time; rows that lie together stay near
    each other where a row group is far larger than the buffer. A buffer for all rows
    shuffles without such bounds. Two buffers lie in memory: one is drawn from while a
    thread fills the other.

    N rows are dealt to ``world`` ranks in ranges that differ by one row at most; no row
    is left out or repeated. Every rank gives the same number of batches, the ceiling of
    floor(N / world) / batch_size. The last takes what is left: fewer rows than the
    others, or, on a rank with one row more than others, up to one more. ``drop_last``
    gives whole batches alone, as many on each rank; what it leaves out changes with
    every epoch. ``rank`` and ``world`` are those of ``torch.distributed`` where it
    runs, or else 0 and 1.

    In a ``DataLoader(stream, batch_size=None)`` its workers share a rank's batches, a
    run of them each, and order depends on the loader's own generator too.

    Raises ValueError for a batch of no row, a buffer of none, a rank that is none of
    the world's, and fewer rows than ranks.
    """

    def __init__(
        self,
        rows: ParquetRows,
        batch_size: int,
        *,
        shuffle: bool = True,
        drop_last: bool = False,
        buffer: int = BUFFER,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("buffer", buffer)):
            if value < 1:
                raise ValueError(f"{name} must be 1 or more. Found {value}.")
        self.rows, self.batch_size, self.buffer = rows, batch_size, buffer
        self.shuffle, self.drop_last = shuffle, drop_last
        self.rank, self.world = place_in_world(rank, world)
        if len(rows) < self.world:
            raise ValueError(
                f"Each of {self.world} ranks needs a row. Found {len(rows)} rows."
            )
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        whole, rest = divmod(len(self.rows) // self.world, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Rows]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        cuts = self._cuts()
        first, last = (len(self) * (worker + i) // workers for i in (0, 1))
        cuts = cuts[first : last + 1]
        if len(cuts) < 2:
            return
        generator = None
        if self.shuffle:
            drawn = torch.randint(2**62, (), generator=self.generator)
            own = int(drawn) ^ (info.seed if info else 0)
            generator = torch.Generator().manual_seed(own)
        for block, order, ends in ahead(self._blocks(cuts, generator)):
            for start, end in pairwise(ends):
                yield block.rows(order[start:end])

    def _cuts(self) -> list[int]:
        """Where the rank's batches begin and end among all rows."""
        first, last = (len(self.rows) * (self.rank + i) // self.world for i in (0, 1))
        starts = [first + i * self.batch_size for i in range(len(self))]
        return [*starts, last]

    def _blocks(
        self, cuts: list[int], generator: torch.Generator | None
    ) -> Iterator[tuple[Rows, torch.Tensor, list[int]]]:
        """Buffers of rows, the order of each, and where its batches begin and end."""
        step = max(self.buffer // self.batch_size, 1)
        parts = [cuts[i : i + step + 1] for i in range(0, len(cuts) - 1, step)]
        sizes = [part[-1] - part[0] for part in parts]
        read = self._read(cuts[0], cuts[-1], generator)
        for part, block in zip(parts, regrouped(read, sizes), strict=True):
            if generator:
                order = torch.randperm(len(block), generator=generator)
            else:
                order = torch.arange(len(block))
            ends = [cut - part[0] for cut in part]
            if self.drop_last:
                ends[-1] = min(ends[-1], ends[-2] + self.batch_size)
            yield block, order, ends

    def _read(
        self, first: int, last: int, generator: torch.Generator | None
    ) -> Iterator[Rows]:
        spans = self.rows.table.spans(first, last)
        if generator is None:
            return interleaved((self.rows.read(span) for span in spans), 1)
        order = torch.randperm(len(spans), generator=generator).tolist()
        return interleaved((self.rows.read(spans[i]) for i in order), OPEN)


def interleaved(parts: Iterable[Iterator[T]], width: int) -> Iterator[T]:
    """The items of ``width`` iterators in turns; where one ends, the next begins."""
    rest, opened = iter(parts), deque[Iterator[T]]()
    while True:
        while len(opened) < width and (part := next(rest, None)) is not None:
            opened.append(part)
        if not opened:
            return
        part = opened.popleft()
        for item in part:
            yield item
            opened.append(part)
            break


def regrouped(pieces: Iterator[Rows], sizes: Sequence[int]) -> Iterator[Rows]:
    """The same rows, in their order, in blocks of these sizes.

    Two blocks are held, and filled anew in turns: one is good until the next but one.
    """
    piece = next(pieces)
    held = [room(piece, max(sizes)) for _ in sizes[:2]]
    start = 0
    for number, size in enumerate(sizes):
        block, done = between(held[number % 2], 0, size), 0
        while done < size:
            if start == len(piece):
                piece, start = next(pieces), 0
            taken = min(size - done, len(piece) - start)
            part = tensors(between(piece, start, start + taken))
            for place, own in zip(tensors(block), part, strict=True):
                place[done : done + taken] = own
            done, start = done + taken, start + taken
        yield block


def between(rows: Rows, first: int, last: int) -> Rows:
    return tree_map(lambda tensor: tensor[first:last], rows)


def room(rows: Rows, size: int) -> Rows:
    """As many rows of this kind, of no value yet."""
    return tree_map(lambda tensor: tensor.new_empty(size, *tensor.shape[1:]), rows)


def tensors(rows: Rows) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        found.append(tensor)
        return tensor

    tree_map(keep, rows)
    return found


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; each is made, in a thread, while the one before it is used."""
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(next, items, None)
        while (item := later.result()) is not None:
            later = pool.submit(next, items, None)
            yield item
