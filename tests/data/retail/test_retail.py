"""The study of the shop: its split, what it learns from, and its real numbers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.testing import assert_close

from ple_study.baselines import SharedBottomSpec
from ple_study.data.clusters import GaussianClusters
from ple_study.data.graphs.csr import matrix
from ple_study.data.hmm.modes import fit_modes, mode_states
from ple_study.data.journey import tasks as households
from ple_study.data.journey.clouds import diagrams
from ple_study.data.journey.graphs import graphs
from ple_study.data.journey.lenses import clustered
from ple_study.data.journey.modes import series
from ple_study.data.journey.snapshots import label_values, training_rows
from ple_study.data.leakage import shallow_tree
from ple_study.data.loader import Study
from ple_study.data.retail import labels_table, retail
from ple_study.data.retail.modes import VIEWS
from ple_study.data.retail.snapshots import END, FIRST, snapshots
from ple_study.data.retail.tables import LEARNT, STOP, Orders
from ple_study.data.retail.tasks import LABELS
from ple_study.experts.mlp import MLPSpec
from ple_study.schema import Schema
from ple_study.training import Training, fit


def test_parts_follow_each_other_with_a_gap(orders: Orders) -> None:
    shots = snapshots(orders)
    days = {part: [s.cutoff for s in shots if s.part == part] for part in FIRST}
    assert days["train"] == list(range(260, 597, 28))
    assert (days["val"], days["test"]) == ([624, 652], [680, 708])
    assert {day % 7 for part in days.values() for day in part} == {1}  # Mondays
    assert {"train": FIRST["val"], "val": FIRST["test"], "test": 736} == END
    assert max(END.values()) < STOP
    assert FIRST["train"] == LEARNT
    cutoff = np.repeat([s.cutoff for s in shots], [len(s) for s in shots])
    part = np.repeat([s.part for s in shots], [len(s) for s in shots])
    for label in LABELS:
        known = ~np.isnan(label_values(label, shots, 0, END).raw)
        assert known.any()
        for name in END:
            last = cutoff[known & (part == name)].max()
            assert last + label.horizon <= END[name]
            assert last + label.horizon > END[name] - 28  # and not earlier


def test_who_ordered_in_half_a_year_is_a_row(orders: Orders) -> None:
    for shot in snapshots(orders):
        day = orders.baskets["day"]
        recent = orders.baskets[(day >= shot.cutoff - 180) & (day < shot.cutoff)]
        assert list(shot.households) == sorted(set(recent["household"]))


def test_tasks_are_those_of_the_households_where_they_mean_the_same() -> None:
    theirs = {label.spec.name: label for label in households.LABELS}
    names = [label.spec.name for label in LABELS]
    assert names == [n for n in theirs if n not in ("ctr", "life_stage", "channel")]
    for label in LABELS:
        assert label.spec == theirs[label.spec.name].spec
        assert label.horizon == theirs[label.spec.name].horizon
        assert "dollar" not in label.words + label.unit
        assert "coupon" not in label.words


def test_all_fields_are_there_and_the_schema_says_so(whole: Study) -> None:
    schema, batch = whole.schema, whole.rows.batch
    assert schema.diagrams == ("short", "long")
    assert (schema.states, schema.clusters) == ((3, 16), 20)
    assert {v.name: v.dim for v in schema.vectors} == {"graph": 64, "hierarchy": 47}
    assert [(s.name, s.steps, len(s.channels)) for s in schema.sequences] == [
        ("daily", 180, 16), ("baskets", 90, 8),
    ]  # fmt: skip
    assert [(t.source, t.target) for t in schema.transfers] == [
        ("churn", "retention"),
        ("cvr", "ltv"),
        ("nba", "spending_category"),
        ("spending_category", "brand_prediction"),
    ]
    assert batch.numeric.isfinite().all()
    assert batch.states is not None
    assert batch.states.isfinite().all()
    assert Schema.from_json(schema.to_json()) == schema
    for group in ("department_share", "time"):
        columns = [i for i, f in enumerate(schema.numeric) if f.group == group]
        block = batch.numeric[:, columns]
        assert_close(block.sum(1), torch.ones(len(block)))


def test_lenses_are_learnt_from_the_training_rows(orders: Orders, whole: Study) -> None:
    shots = snapshots(orders)
    train = torch.from_numpy(training_rows(shots))
    assert torch.equal(train, whole.split["train"])
    batch, seen = whole.rows.batch, series(shots, VIEWS)
    fitted = fit_modes({name: events.rows(train) for name, events in seen.items()})
    assert_close(batch.states, mode_states(fitted, seen))
    rows = clustered(whole)
    posteriors = GaussianClusters().fit(rows[train]).posteriors(rows)
    assert_close(batch.clusters, posteriors)
    alone = diagrams([shot for shot in shots if shot.part == "train"])
    for name, shape in alone.items():
        assert shape.points.equal(batch.diagrams[name].points[train])


def test_vocabularies_and_scales_are_those_of_the_training_rows(
    orders: Orders, whole: Study
) -> None:
    train = whole.part("train")
    for column, feature in enumerate(whole.schema.categorical):
        codes = train.batch.categorical[:, column]
        assert set(codes.tolist()) >= set(range(1, feature.size))
    for task in whole.schema.tasks:
        if task.kind == "regression":
            known = train.labels[task.name]
            known = known[~known.isnan()]
            assert_close(known.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
            assert_close(known.std(correction=0), torch.tensor(1.0))
    seen = orders.lines[orders.lines["day"] < 624]
    sums = seen.groupby("product")["sales"].sum()
    best = [str(n) for n in orders.names["product"][sums.nlargest(24).index]]
    names = [f.name for f in whole.schema.numeric if f.group == "product"]
    assert names == [f"product:{name}" for name in best]


def test_the_graph_is_of_customers_and_products(orders: Orders) -> None:
    found = graphs(orders, 260)
    met = matrix(found.bipartite).tocoo()
    lines = orders.lines[orders.lines["day"] < 260]
    assert met.data.sum() == len(lines)
    products = orders.names["product"]
    for customer, node, count in zip(*met.coords, met.data, strict=True):
        path = found.tree.paths[node]
        code = orders.names["product"].tolist().index(path[-1])
        own = lines[(lines["household"] == customer) & (lines["product"] == code)]
        assert len(own) == count
        assert path[0] == orders.names["department"][own["department"].iloc[0]]
    assert len(products) > len(set(lines["product"])) > 50
    assert int(found.tree.depth.max()) == 3


def test_modes_see_kinds_orders_and_pieces(orders: Orders) -> None:
    shots = snapshots(orders)
    seen = series(shots[-1:], VIEWS)
    shot, month = shots[-1], 28
    for row, customer in enumerate(shot.households):
        for name, frame, column, amount in (
            ("lifecycle", orders.baskets, "department", "sales"),
            ("behavior", orders.lines, "category", "quantity"),
        ):
            ago = (shot.cutoff - 1 - frame["day"]) // month
            own = (frame["household"] == customer) & (ago >= 0) & (ago < 12)
            groups = frame[own].groupby(11 - ago[own])
            wanted = pd.DataFrame({
                "amount": np.log1p(groups[amount].sum()),
                "events": np.log1p(groups.size()),
                "kinds": groups[column].nunique(),
            }).reindex(range(12)).fillna(0)  # fmt: skip
            np.testing.assert_allclose(seen[name].values[row], wanted, rtol=1e-5)


def test_the_seed_is_that_of_the_fits(orders: Orders, whole: Study) -> None:
    lenses = ["states", "vectors"]
    other = retail(purchases=orders, seed=1, lenses=lenses)
    one, two = whole.rows.batch, other.rows.batch
    assert torch.equal(one.numeric, two.numeric)
    assert torch.equal(one.events["daily"].values, two.events["daily"].values)
    assert not torch.equal(one.vectors["graph"], two.vectors["graph"])
    assert not torch.equal(one.states, two.states)
    again = retail(purchases=orders, lenses=["clusters"]).rows.batch
    assert torch.equal(again.clusters, one.clusters)
    assert again.states is None


def test_a_model_trains_on_it(whole: Study) -> None:
    block = MLPSpec(dims=(8,))
    spec = SharedBottomSpec(trunk=block, tower=replace(block, dims=(6,)))
    found = fit(whole, spec, training=Training(epochs=1), device="cpu", progress=False)
    assert len(found.history) == 1


@pytest.mark.plain
def test_a_lens_of_another_name_is_refused(orders: Orders) -> None:
    with pytest.raises(ValueError, match="Did you mean 'clusters'"):
        retail(purchases=orders, lenses=["cluster"])


def test_real_numbers(real_orders: Orders, real_study: Study) -> None:
    sizes = {name: len(rows) for name, rows in real_study.split.items()}
    assert sizes == {"train": 40_034, "val": 5_575, "test": 6_216}
    assert len(real_study.schema.numeric) == 220
    table = labels_table(purchases=real_orders).set_index("task")
    assert not table.isna().any().any()
    assert table.loc["churn", "base"] == pytest.approx(0.743, abs=0.001)
    assert table.loc["cvr", "base"] == pytest.approx(0.105, abs=0.001)
    train = real_study.part("train").batch.numeric
    constant = {
        f.name
        for f, column in zip(real_study.schema.numeric, train.T, strict=True)
        if column.std() == 0
    }
    assert all(name.startswith("visits:") for name in constant)  # the shop is closed
    assert real_study.scaled().part("test").batch.numeric.abs().max() < 100


def test_no_real_label_is_a_simple_function_of_the_features(real_study: Study) -> None:
    scores = shallow_tree(real_study)
    print(scores)
    assert max(scores.values()) < 0.95
