"""A monitor is quiet where nothing moved, and names what did."""

from dataclasses import replace

import pytest
import torch

from ple_study.baselines import PLESpec
from ple_study.batch import Batch, Diagrams, Events
from ple_study.collapse import dead_experts
from ple_study.data.loader import Scaler
from ple_study.drift import chance, counts, quantile_edges, stability_index
from ple_study.fitted import Fitted
from ple_study.monitoring import Monitor
from tests.customers import customers
from tests.experts.specs import PERSLAY, VECTORS
from tests.test_model import EVEN, FOUR, SEVEN, SPEC, SPECS, built

SIZE = 400
EXPERTS = {
    "perslay": PERSLAY["gaussian"],
    "temporal": SEVEN["temporal"],
    "deepfm": SEVEN["deepfm"],
    "graph": VECTORS["lightgcn"],
}
PARTS = replace(SPEC, experts=EXPERTS)
BATCH = customers(SIZE)


def fitted(spec: object = PARTS) -> Fitted:
    model = built(spec, schema=EVEN)
    return Fitted(model, spec, EVEN, Scaler.fit(EVEN, BATCH))


MODEL = fitted()
MONITOR = Monitor.of(MODEL, BATCH)
LATER = customers(SIZE, seed=1)


def zeros(batch: Batch, share: int = 1) -> Batch:
    """Every ``share``-th customer's series holds zeros, with its steps still there."""
    hit = (torch.arange(len(batch)) % share == 0)[:, None, None]
    events = {
        k: Events(e.values.masked_fill(hit, 0.0), e.mask)
        for k, e in batch.events.items()
    }
    return replace(batch, events=events)


def one_diagram(batch: Batch, real: bool) -> Batch:
    """Everybody's diagrams are one point at (0, 0), or empty."""
    found = {}
    for name, own in batch.diagrams.items():
        mask = torch.zeros_like(own.mask)
        mask[:, 0] = real
        found[name] = Diagrams(torch.zeros_like(own.points), mask)
    return replace(batch, diagrams=found)


def one_vector(batch: Batch) -> Batch:
    same = batch.vectors["graph"][:1].expand_as(batch.vectors["graph"])
    return replace(batch, vectors={**batch.vectors, "graph": same.clone()})


def in_cents(batch: Batch) -> Batch:
    scale = torch.ones(batch.numeric.shape[1])
    scale[7] = 100
    return replace(batch, numeric=batch.numeric * scale)


def kinds(batch: Batch) -> dict[str, set[str]]:
    moved = MONITOR.check(batch).moved
    return {kind: set(own["name"]) for kind, own in moved.groupby("kind")}


def test_other_customers_of_one_kind_move_nothing() -> None:
    for seed in range(1, 6):
        report = MONITOR.check(customers(SIZE, seed=seed))
        assert report.moved.empty
        assert not report.silent
        assert all(0.8 < own < 1.25 for own in report.deviations.values())


def test_the_same_rows_differ_by_nothing() -> None:
    report = MONITOR.check(BATCH)
    assert (report.signals["index"] == 0).all()
    assert (report.signals["p"] == 1).all()
    assert all(own == pytest.approx(1) for own in report.deviations.values())


def test_few_rows_have_a_large_index_and_no_alarm() -> None:
    report = MONITOR.check(LATER.rows(torch.arange(3, 43)))
    assert (report.signals["index"] > 0.1).mean() > 0.5
    assert report.moved.empty


def test_each_fault_is_named() -> None:
    names = {"txn 0", "txn 1", "txn 2", "session 0", "session 1"}
    found = kinds(zeros(LATER))
    assert found["series"] == names
    assert "temporal" in found["expert"]
    assert not {"column", "present", "diagram", "vector"} & set(found)
    found = kinds(in_cents(LATER))
    assert found["column"] == {"card_0"}
    assert "deepfm" in found["expert"]
    assert not {"series", "present", "diagram", "vector"} & set(found)
    found = kinds(one_vector(LATER))
    assert found["vector"] == {"graph"}
    assert "graph" in found["expert"]
    found = kinds(one_diagram(LATER, real=False))
    assert found["present"] == {"short", "long"}
    assert found["gate"] == set(PARTS.experts)
    found = kinds(one_diagram(LATER, real=True))
    assert found["diagram"] == {
        f"{d} {w}" for d in ("short", "long") for w in ("points", "lives")
    }


def test_a_fault_of_half_the_customers_is_named_too() -> None:
    report = MONITOR.check(zeros(LATER, share=2))
    assert ("expert", "temporal") in set(
        zip(report.moved["kind"], report.moved["name"], strict=True)
    )
    assert not report.silent


@pytest.mark.parametrize(
    ("fault", "who"),
    [
        (one_vector, "graph"),
        (lambda batch: one_diagram(batch, real=True), "perslay"),
        (lambda batch: one_diagram(batch, real=False), "perslay"),
    ],
)
def test_who_says_one_thing_of_everybody_is_silent(fault: object, who: str) -> None:
    batch = fault(LATER)
    assert MONITOR.check(batch).silent == [who]
    dead = dead_experts(MODEL.output(batch).experts)
    assert [name for name, own in zip(PARTS.experts, dead, strict=True) if own] == [who]
    asleep = Monitor.of(MODEL, fault(BATCH))
    assert asleep.check(batch).silent == [who]  # as it was from the start
    awake = asleep.check(LATER)
    assert not awake.silent
    assert awake.deviations[who] == torch.inf


def test_signals_are_what_a_loop_finds() -> None:
    table = MONITOR.check(LATER).signals.set_index(["kind", "name"])
    assert table.index.is_unique
    said = MODEL.output(LATER), MODEL.output(BATCH)
    centre = said[1].experts[0].mean(0)
    events, points = LATER.events["txn"], LATER.diagrams["short"]
    mean = [
        v[m].mean(0)[1].item() for v, m in zip(events.values, events.mask, strict=True)
    ]
    lives = [
        sum(float(d - b) for b, d, _ in rows[real])
        for rows, real in zip(points.points, points.mask, strict=True)
    ]
    now = {
        ("column", "rfm_1"): LATER.numeric[:, 1],
        ("column", "city"): LATER.categorical[:, 0].double(),
        ("series", "txn 1"): torch.tensor(mean),
        ("diagram", "short lives"): torch.tensor(lives),
        ("vector", "hierarchy"): LATER.vectors["hierarchy"].square().sum(1).sqrt(),
        ("expert", "perslay"): (said[0].experts[0] - centre).norm(dim=1),
        ("gate", "temporal"): said[0].weights[-1][:, :, 1].mean(1),
        ("answer", "ctr"): said[0].logits["ctr"][:, 0].sigmoid(),
        ("answer", "channel"): said[0].logits["channel"].argmax(1).double(),
    }
    for place, values in now.items():
        kept = MONITOR.kept[place]
        found = counts(values, kept.edges)
        index = stability_index(kept.counts, found)
        assert table.loc[place, "index"] == pytest.approx(index, rel=1e-3), place
        assert chance(kept.counts, found) <= table.loc[place, "p"] + 1e-12
    edges = quantile_edges(BATCH.numeric[:, 1])
    assert torch.equal(MONITOR.kept["column", "rfm_1"].edges, edges)


def test_padding_is_not_read_and_clusters_may_be_missing() -> None:
    events = {
        k: Events(e.values.masked_fill(~e.mask[..., None], torch.nan), e.mask)
        for k, e in LATER.events.items()
    }
    report = MONITOR.check(replace(LATER, events=events)).signals
    plain = MONITOR.check(LATER).signals
    series = plain["kind"] == "series"
    assert report[series].equals(plain[series])
    nobody = torch.full_like(LATER.clusters, torch.nan)
    assert kinds(replace(LATER, clusters=nobody))["column"] == {"cluster"}


def test_a_baseline_has_slots_and_a_model_without_gates_has_none() -> None:
    plain = PLESpec(levels=1, shared=2, private=1)
    for spec, names in ((plain, {"0", "1", "2"}), (SPECS["neither"], set())):
        model = Fitted(spec.build(EVEN).eval(), spec, EVEN, MODEL.scaler)
        table = Monitor.of(model, BATCH).check(LATER).signals
        assert set(table[table["kind"] == "gate"]["name"]) == names
        assert {"ctr", "ltv", "channel"} <= set(
            table[table["kind"] == "answer"]["name"]
        )
    assert set(FOUR) == set(table[table["kind"] == "expert"]["name"])


def test_alpha_and_least_are_the_callers() -> None:
    batch = in_cents(LATER)
    assert MONITOR.check(batch, least=50.0).moved.empty
    assert MONITOR.check(batch, alpha=0.0).moved.empty
    loose = MONITOR.check(LATER, alpha=1.1, least=0.0)
    assert len(loose.moved) == len(loose.signals)


def test_errors_say_what_was_expected() -> None:
    with pytest.raises(ValueError, match=r"needs 10 rows or more. Found 9"):
        Monitor.of(MODEL, BATCH.rows(torch.arange(9)))
    with pytest.raises(ValueError, match=r"needs 10 rows or more. Found 0"):
        MONITOR.check(BATCH.rows(torch.arange(0)))
    with pytest.raises(ValueError, match="schema promises"):
        MONITOR.check(replace(BATCH, events={}))
    with pytest.raises(ValueError, match="must be finite"):
        MONITOR.check(replace(BATCH, numeric=BATCH.numeric * torch.nan))
