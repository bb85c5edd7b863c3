"""One seed, one bank: whole or in part, in memory or on disk, by one process or two."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ple_study.baselines import PLESpec
from ple_study.batch import Rows
from ple_study.data.loader import Study
from ple_study.data.world import Bank
from ple_study.data.world import bank as module
from ple_study.data.world.bank import block_streams, plan_stream
from ple_study.data.world.blocks import Block
from ple_study.data.world.inputs import batch
from ple_study.data.world.shards import FORMAT, flat, read, read_block, write
from ple_study.data.world.sizes import FIELDS, HISTORY
from ple_study.training import Training, fit


def same(one: Rows, other: Rows) -> bool:
    parts, others = flat(one), flat(other)
    equal = [
        torch.equal(values.nan_to_num(-9), others[name].nan_to_num(-9))
        for name, values in parts.items()
    ]
    return all(equal) and set(parts) == set(others)


def test_the_thread_s_shapes() -> None:
    schema = Bank(10, size="study").schema
    assert len(schema.numeric) == 644
    assert list(FIELDS.values())[:5] == [34, 16, 16, 16, 16]
    assert len({f.group for f in schema.features}) == 28
    shapes = [(s.steps, len(s.channels)) for s in schema.sequences]
    assert shapes == [(180, 16), (90, 8)]
    assert (schema.states, schema.clusters) == ((3, 16), 20)
    assert len(schema.tasks) == 16
    assert len(schema.transfers) == 5


def test_a_study_holds_what_its_schema_promises(study: Study) -> None:
    found = study.rows.batch
    assert found.customer is not None
    assert found.states is not None
    assert found.clusters is not None
    assert found.customer.tolist() == list(range(600))
    torch.testing.assert_close(found.clusters.sum(1), torch.ones(600))
    known = found.states.isfinite().all(2)
    shares = found.states[..., :10].sum(2)[known]
    torch.testing.assert_close(shares, torch.ones(len(shares)))
    assert not known.all()  # some customers have no payment, some no app
    assert not found.events["session"].mask.any(1).all()
    assert [len(study.split[k]) for k in ("train", "val", "test")] == [360, 120, 120]


def test_plan_and_blocks_draw_from_streams_of_their_own() -> None:
    rngs = [r for seed in (0, 1) for n in (0, 1, 7) for r in block_streams(seed, n)]
    rngs += [plan_stream(seed) for seed in (0, 1)]
    assert len(np.unique([rng.random() for rng in rngs])) == 2 * 3 * 6 + 2


def test_a_customer_is_the_same_in_a_bank_of_any_number(block: Block) -> None:
    more = Bank(510, seed=3, size="small").block(0)
    assert np.array_equal(more.who.factors, block.who.factors)
    assert np.array_equal(more.columns, block.columns)
    for one, other in zip(more.logs, block.logs, strict=True):
        assert one.frame().equals(other.frame())
    for name, values in block.labels.items():
        np.testing.assert_array_equal(more.labels[name], values)


def test_another_seed_is_another_bank(block: Block) -> None:
    other = Bank(600, seed=4, size="small").block(0)
    assert not np.array_equal(other.columns, block.columns)
    assert not np.array_equal(other.labels["ltv"], block.labels["ltv"])


def test_dials_move_labels_and_nothing_else(bank: Bank, block: Block) -> None:
    churn = ("deepfm", "causal", "optimal_transport")
    for changed in (
        {"noise": 0.5},
        {"correlation": -0.5},
        {"lenses": {"churn": churn}},
    ):
        other = replace(bank, **changed).block(0)
        assert np.array_equal(other.columns, block.columns)
        assert other.logs.card.frame().equals(block.logs.card.frame())
        moved = [
            name
            for name, values in block.labels.items()
            if not np.array_equal(values, other.labels[name], equal_nan=True)
        ]
        wanted = {"churn", "retention"} if "lenses" in changed else set(block.labels)
        assert set(moved) == wanted


def test_events_lie_in_the_history(block: Block) -> None:
    for log in block.logs:
        assert log.cutoff == HISTORY
        assert log.day.min() >= 0
        assert log.day.max() == HISTORY - 1
    assert block.logs.session.day.min() >= HISTORY - 90


def test_blocks_do_not_know_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 40)
    bank = Bank(100, seed=5, size="small")
    assert len(bank) == 3
    assert [len(bank.block(number).columns) for number in range(3)] == [40, 40, 20]
    whole = bank.truth().customers
    assert np.array_equal(whole.factors[40:80], bank.block(1).who.factors)
    assert len(whole) == 100
    with pytest.raises(ValueError, match=re.escape("Blocks are 0..2. Found 3")):
        bank.block(3)


def test_one_customer_alone_is_that_customer(bank: Bank, block: Block) -> None:
    some = np.array([0, 3, 77, 499])
    alone = batch(bank.plan, bank.widths, block.rows(some), bank.fitted)
    among = bank.rows(0).batch.rows(torch.from_numpy(some))
    wanted = flat(among)
    for name, found in flat(alone).items():
        if name != "customer":
            torch.testing.assert_close(found, wanted[name], atol=1e-6, rtol=1e-6)


def test_a_model_learns_from_it(study: Study) -> None:
    fitted = fit(study, PLESpec(), training=Training(epochs=1), progress=False)
    assert fitted


def test_a_bank_on_disk_is_the_bank(bank: Bank, study: Study, tmp_path: Path) -> None:
    write(bank, tmp_path)
    stored = read(tmp_path)
    assert stored.schema == study.schema
    assert same(stored.rows, study.rows)


def test_a_killed_writer_goes_on(bank: Bank, study: Study, tmp_path: Path) -> None:
    (tmp_path / "block-00000.half").write_bytes(b"half a block")
    write(bank, tmp_path)
    kept = next(tmp_path.glob("*.safetensors")).stat().st_mtime_ns
    write(bank, tmp_path)
    assert next(tmp_path.glob("*.safetensors")).stat().st_mtime_ns == kept
    assert same(read_block(tmp_path, 0), study.rows.rows(torch.arange(500)))


def test_a_stored_bank_keeps_its_lenses(tmp_path: Path) -> None:
    churn = {"churn": ("deepfm", "causal", "optimal_transport")}
    made = Bank(60, seed=1, size="small", lenses=churn)
    write(made, tmp_path)
    assert same(read(tmp_path).rows, made.study().rows)


def test_a_small_bank_learns_from_whole_blocks(bank: Bank, study: Study) -> None:
    """What a model is shown of a customer does not depend on how many there are."""
    few = Bank(5, seed=3, size="small")
    assert same(few.rows(0), study.rows.rows(torch.arange(5)))
    assert bank.fitted.clusters.sizes == few.fitted.clusters.sizes


def test_a_last_block_of_one_customer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has no session, or no payment, has rows of zeros for hidden states."""
    monkeypatch.setattr(module, "BLOCK", 40)
    bank = Bank(41, seed=5, size="small")
    for customer in range(40):
        one = bank.block(0).rows(np.array([customer]))
        alone = batch(bank.plan, bank.widths, one, bank.fitted)
        assert alone.states is not None
        assert alone.states.shape == (1, 3, 16)
    assert len(bank.study().rows) == 41


def test_bad_folders(bank: Bank, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Found none in"):
        read(tmp_path)
    stored = tmp_path / "bank.json"
    settings = {"format": FORMAT, "num_customers": 9, "lenses": {}}
    stored.write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="must be empty or hold this bank"):
        write(bank, tmp_path)
    with pytest.raises(ValueError, match="Block 0 is missing"):
        read(tmp_path)
    (tmp_path / "block-00000.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match="must be a whole block"):
        read(tmp_path)
    for broken in ("", "[]", '{"foo": 1}', json.dumps(settings | {"format": 0})):
        stored.write_text(broken)
        with pytest.raises(ValueError, match="must hold a bank's settings"):
            read(tmp_path)
    stored.unlink()
    with pytest.raises(ValueError, match="Blocks need their"):
        write(bank, tmp_path)
    with pytest.raises(ValueError, match="Found a file"):
        write(bank, tmp_path / "block-00000.safetensors")
    with pytest.raises(ValueError, match="workers must be 1 or more"):
        write(bank, tmp_path, workers=0)


@pytest.mark.plain
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_customers": 4}, "A bank needs 5 customers or more. Found 4"),
        ({"num_customers": 9, "seed": -1}, "A seed lies in 0..2^32 - 1. Found -1"),
        ({"num_customers": 9, "seed": 2**32}, "A seed lies in 0..2^32 - 1"),
        ({"num_customers": 9, "size": "tiny"}, "['study', 'small']. Found 'tiny'"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Bank(**settings)


def test_two_processes_make_what_one_makes(bank: Bank, study: Study) -> None:
    assert same(bank.study(workers=2).rows, study.rows)
