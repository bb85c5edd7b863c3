"""Batches from Parquet: every row once, in an order that a seed fixes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from ple_study.batch import Rows
from ple_study.data.loader import Loader
from ple_study.data.parquet import ParquetRows
from ple_study.data.stream import Stream, ahead, interleaved, regrouped
from ple_study.data.tables import from_frame
from tests.data.people import OPTIONS, SCHEMA, SIZE, people

FIRST = 2**60  # the ids of people


def write(folder: Path, sizes: list[int], group: int = 1 << 20) -> pd.DataFrame:
    """People in order of id, in files of these sizes."""
    frame = people().sort_values("id", ignore_index=True)
    folder.mkdir(exist_ok=True)
    for number, rows in enumerate(np.split(np.arange(SIZE), np.cumsum(sizes)[:-1])):
        path = folder / f"part-{number:03d}.parquet"
        frame.iloc[rows].to_parquet(path, row_group_size=group)
    return frame


def ids(batches: object) -> list[list[int]]:
    return [(rows.batch.customer - FIRST).tolist() for rows in batches]  # type: ignore[attr-defined]


def flat(batches: list[list[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ParquetRows:
    folder = tmp_path_factory.mktemp("people")
    write(folder, [20, 0, 17, 13], group=6)
    return ParquetRows(folder, SCHEMA, **OPTIONS)


def same(first: Rows, second: Rows) -> bool:
    one, two = first.batch, second.batch
    return (
        torch.equal(one.numeric, two.numeric)
        and torch.equal(one.categorical, two.categorical)
        and all(
            torch.equal(first.labels[k].nan_to_num(-9), v.nan_to_num(-9))
            for k, v in second.labels.items()
        )
        and torch.equal(first.weights["spend"], second.weights["spend"])
    )


@pytest.mark.parametrize("buffer", [1, 8, 20, 1000])
@pytest.mark.parametrize("size", [1, 7, 8, 49, 50, 90])
def test_without_shuffling_a_stream_is_a_loader(
    table: ParquetRows, size: int, buffer: int
) -> None:
    frame = people().sort_values("id", ignore_index=True)
    rows = from_frame(frame, SCHEMA, **OPTIONS).rows
    for drop in (False, True):
        loader = Loader(rows, size, drop_last=drop)
        stream = Stream(table, size, shuffle=False, drop_last=drop, buffer=buffer)
        assert len(stream) == len(loader)
        pairs = list(zip(stream, loader, strict=True))
        assert all(same(ours, theirs) for ours, theirs in pairs)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=5),
    group=st.integers(1, 13),
    batch=st.integers(1, 60),
    buffer=st.integers(1, 70),
    world=st.integers(1, 3),
    shuffle=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_row_once_whatever_the_sizes(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    group: int,
    batch: int,
    buffer: int,
    world: int,
    shuffle: bool,
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    write(folder, [*sizes, max(SIZE - sum(sizes), 0)], group=group)
    table = ParquetRows(folder, SCHEMA, **OPTIONS)
    streams = [
        Stream(
            table, batch, shuffle=shuffle, buffer=buffer, seed=seed, rank=r, world=world
        )
        for r in range(world)
    ]
    for _ in range(2):
        batches = [ids(stream) for stream in streams]
        assert sorted(flat(flat(batches))) == list(range(SIZE))  # type: ignore[arg-type]
        counts = {len(own) for own in batches}
        assert counts == {len(streams[0])} == {-(-(SIZE // world) // batch)}
        for own in batches:
            assert all(len(rows) == batch for rows in own[:-1])
            assert 1 <= len(own[-1]) <= batch + 1


@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 60), world=st.integers(1, 3), buffer=st.integers(1, 70))
def test_whole_batches_alone_are_as_many_on_each_rank(
    table: ParquetRows, batch: int, world: int, buffer: int
) -> None:
    seen = []
    for rank in range(world):
        stream = Stream(
            table, batch, drop_last=True, buffer=buffer, rank=rank, world=world
        )
        own = ids(stream)
        assert len(own) == len(stream) == SIZE // world // batch
        assert all(len(rows) == batch for rows in own)
        seen += flat(own)
    assert len(set(seen)) == len(seen)


def test_what_is_left_out_changes_with_every_epoch(table: ParquetRows) -> None:
    stream = Stream(table, 7, drop_last=True)
    assert len({*range(SIZE)} - set(flat(ids(stream)))) == 1
    left = {(set(range(SIZE)) - set(flat(ids(stream)))).pop() for _ in range(12)}
    assert len(left) > 4


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_workers_share_a_ranks_batches(
    table: ParquetRows, workers: int, world: int
) -> None:
    seen = []
    for rank in range(world):
        stream = Stream(table, 6, buffer=12, rank=rank, world=world)
        drawn = torch.Generator().manual_seed(rank)
        loader = DataLoader(
            stream, batch_size=None, num_workers=workers, generator=drawn
        )
        first, second = ids(loader), ids(loader)
        assert len(first) == len(stream) == len(loader)
        assert sorted(map(len, first)) == sorted(map(len, second))
        assert first != second
        assert sorted(flat(first)) == sorted(flat(second))
        seen += flat(first)
    assert sorted(seen) == list(range(SIZE))


def test_more_workers_than_batches_repeat_nothing(table: ParquetRows) -> None:
    loader = DataLoader(Stream(table, 60), batch_size=None, num_workers=2)
    assert sorted(flat(ids(loader))) == list(range(SIZE))


def test_a_seed_fixes_the_order_and_epochs_differ(table: ParquetRows) -> None:
    def order(**changes: int) -> list[list[list[int]]]:
        stream = Stream(table, 5, **({"buffer": 11, "seed": 3} | changes))  # type: ignore[arg-type]
        return [ids(stream) for _ in range(3)]

    first = order()
    assert order() == first
    assert len({str(epoch) for epoch in first}) == 3
    assert order(seed=4)[0] != first[0]
    assert order(buffer=22)[0] != first[0]


def test_a_generator_that_is_restored_goes_on_from_there(table: ParquetRows) -> None:
    stream = Stream(table, 5, buffer=11)
    list(stream)
    state = stream.generator.get_state()
    second = ids(stream)
    other = Stream(table, 5, buffer=11, seed=9)
    other.generator.set_state(state)
    assert ids(other) == second
    other.generator.set_state(state)
    begun = iter(other)
    assert torch.equal(other.generator.get_state(), state)  # drawn with the first batch
    next(begun)
    assert torch.equal(other.generator.get_state(), stream.generator.get_state())


def test_the_global_generator_is_left_alone(table: ParquetRows) -> None:
    before = torch.get_rng_state()
    list(Stream(table, 5))
    assert torch.equal(torch.get_rng_state(), before)


def test_rows_move_across_groups_and_through_a_whole_buffer(
    tmp_path: Path,
) -> None:
    write(tmp_path, [SIZE], group=5)
    table = ParquetRows(tmp_path, SCHEMA, **OPTIONS)
    narrow = [[i // 5 for i in own] for own in ids(Stream(table, 10, buffer=10))]
    order = list(dict.fromkeys(flat(narrow)))
    assert order != sorted(order)  # groups come in another order
    assert all(len(set(own)) <= 2 for own in narrow)  # that many fit into the buffer
    wide = [{i // 5 for i in own} for own in ids(Stream(table, 10, buffer=SIZE))]
    assert max(map(len, wide)) > 4
    # In a whole buffer each row is as likely in any batch.
    stream = Stream(table, 10, buffer=SIZE)
    places = np.zeros((SIZE, 5))
    for _ in range(120):
        for batch, own in enumerate(ids(stream)):
            places[own, batch] += 1
    assert abs(places / 120 - 0.2).max() < 0.17


def test_row_groups_are_read_side_by_side() -> None:
    parts = [iter("aaa"), iter("b"), iter(""), iter("cc"), iter("dd")]
    assert "".join(interleaved(parts, 2)) == "abaacdcd"
    assert "".join(interleaved(map(iter, ["ab", "cd"]), 1)) == "abcd"


def test_a_block_is_good_until_the_next_but_one(table: ParquetRows) -> None:
    blocks = regrouped(iter(table), [20, 20, 10])
    first = next(blocks)
    second = next(blocks)
    assert ids([first, second]) == [list(range(20)), list(range(20, 40))]
    assert ids(blocks) == [list(range(40, 50))]


def test_what_fails_ahead_is_raised_where_it_is_used() -> None:
    def broken() -> object:
        yield 1
        yield 2
        raise ValueError("the third")

    items = ahead(broken())  # type: ignore[arg-type]
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="the third"):
        next(items)


def test_a_stream_that_is_left_early_begins_anew(table: ParquetRows) -> None:
    stream = Stream(table, 5, buffer=5)
    for _ in zip(range(2), stream, strict=False):
        pass
    assert sorted(flat(ids(stream))) == list(range(SIZE))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, r"batch_size must be 1 or more. Found 0"),
        ({"batch_size": 5, "buffer": 0}, r"buffer must be 1 or more. Found 0"),
        ({"batch_size": 5, "rank": 2, "world": 2}, r"A rank lies in 0..1. Found 2"),
        ({"batch_size": 5, "rank": -1}, r"A rank lies in 0..0. Found -1"),
        ({"batch_size": 5, "rank": 0, "world": 51},
         r"Each of 51 ranks needs a row. Found 50 rows"),
    ],
)  # fmt: skip
def test_what_a_stream_cannot_be_is_refused(
    table: ParquetRows, options: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Stream(table, **options)  # type: ignore[arg-type]


def test_rank_and_world_are_those_that_run(table: ParquetRows, tmp_path: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        stream = Stream(table, 5)
        assert (stream.rank, stream.world) == (0, 1)
    finally:
        torch.distributed.destroy_process_group()


def test_rank_and_world_are_asked_of_torch(
    table: ParquetRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    stream = Stream(table, 5)
    assert (stream.rank, stream.world) == (2, 3)
