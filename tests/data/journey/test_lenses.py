"""A study of households seen through all lenses: schema, fits, and a model on it."""

import pytest
import torch
from torch.testing import assert_close

from ple_study.baselines import PLESpec
from ple_study.batch import Batch
from ple_study.data.clusters import GaussianClusters
from ple_study.data.graphs.visits import Visits, bipartite
from ple_study.data.hmm.modes import fit_modes, mode_states
from ple_study.data.journey import journey
from ple_study.data.journey.graphs import tree, tree_visits
from ple_study.data.journey.lenses import clustered, clusters
from ple_study.data.journey.modes import series
from ple_study.data.journey.snapshots import snapshots
from ple_study.data.journey.tables import Purchases
from ple_study.data.journey.vectors import vectors
from ple_study.data.loader import Study
from ple_study.experts.mlp import MLPSpec
from ple_study.schema import Schema
from ple_study.training import Training, fit


def test_all_fields_are_there_and_the_schema_says_so(whole: Study) -> None:
    schema, batch = whole.schema, whole.rows.batch
    assert schema.diagrams == ("short", "long")
    assert schema.states == (3, 16)
    assert schema.clusters == 20
    assert {v.name: v.dim for v in schema.vectors} == {"graph": 64, "hierarchy": 47}
    assert batch.states is not None
    assert batch.clusters is not None
    assert batch.states.dtype == batch.clusters.dtype == torch.float32
    assert batch.states.isfinite().all()
    assert_close(batch.clusters.sum(1), torch.ones(len(batch)))
    assert_close(batch.states[..., :10].sum(2), torch.ones(len(batch), 3))
    assert Schema.from_json(schema.to_json()) == schema


def test_lenses_change_nothing_of_the_rest(small: Purchases, whole: Study) -> None:
    plain = journey(purchases=small)
    assert plain.schema.features == whole.schema.features
    one, other = plain.rows.batch, whole.rows.batch
    assert torch.equal(one.numeric, other.numeric)
    assert torch.equal(one.categorical, other.categorical)
    for name, events in one.events.items():
        assert torch.equal(events.values, other.events[name].values)
    assert one.states is one.clusters is None
    assert not one.diagrams
    assert not one.vectors


def test_one_lens_is_one_field(small: Purchases, whole: Study) -> None:
    found = journey(purchases=small, lenses=["clusters"])
    assert (found.schema.clusters, found.schema.states) == (20, (0, 0))
    assert torch.equal(found.rows.batch.clusters, whole.rows.batch.clusters)
    assert not found.rows.batch.diagrams


def test_states_are_learnt_from_the_training_rows(
    small: Purchases, whole: Study
) -> None:
    seen = series(snapshots(small))
    train = whole.split["train"]
    fitted = fit_modes({name: events.rows(train) for name, events in seen.items()})
    assert_close(whole.rows.batch.states, mode_states(fitted, seen))
    best = whole.rows.batch.states[..., :10].argmax(2)
    agree = (best[:, 1] == best[:, 2]).double().mean()
    assert agree < 0.6  # lifecycle and behavior are two modes, not one


def test_clusters_are_learnt_from_the_training_rows(whole: Study) -> None:
    rows, train = clustered(whole), whole.split["train"]
    names = {f.group for f in whole.schema.numeric}
    assert "rfm" in names
    assert rows.shape[1] == sum(f.group == "rfm" for f in whole.schema.numeric)
    fitted = GaussianClusters().fit(rows[train])
    assert_close(whole.rows.batch.clusters, fitted.posteriors(rows))
    found = clusters(whole)
    assert found.sizes == fitted.sizes
    assert sum(found.sizes) == len(train)
    assert found.dead == tuple(k for k in range(20) if not found.sizes[k])


def test_a_row_is_placed_by_its_own_180_days(small: Purchases, whole: Study) -> None:
    """The graph and the tree are those of the first cut-off; the visits are its own."""
    shots = snapshots(small)
    known = tree(small, shots[0].cutoff)
    first = len(shots[0])
    shot = shots[1]
    seen = tree_visits(small, known, shot.cutoff)
    counts = bipartite(since(seen, shot.cutoff - 180)).to_dense()
    bought = (counts[:, 1:] > 0).any(1)[torch.from_numpy(shot.households)]
    rows = slice(first, first + len(shot))
    placed = whole.rows.batch.vectors["hierarchy"][rows].isfinite().all(1)
    assert torch.equal(placed, bought)
    only = vectors([shots[0], shots[1]])
    for name, values in only.items():
        assert_close(whole.rows.batch.vectors[name][rows], values[rows], equal_nan=True)


def since(seen: Visits, first: int) -> Visits:
    """The visits from a day on."""
    late = seen.day >= first
    parts = (seen.customer, seen.merchant, seen.day, seen.amount)
    return Visits(
        *(part[late] for part in parts), seen.num_customers, seen.num_merchants
    )


def test_rows_take_every_field_along(whole: Study) -> None:
    picked = torch.tensor([7, 3, 3])
    few = whole.rows.batch.rows(picked).to("cpu")
    assert isinstance(few, Batch)
    for mine, all_of_it in (
        (few.states, whole.rows.batch.states),
        (few.clusters, whole.rows.batch.clusters),
        (few.customer, whole.rows.batch.customer),
        (few.diagrams["long"].points, whole.rows.batch.diagrams["long"].points),
        (few.diagrams["short"].mask, whole.rows.batch.diagrams["short"].mask),
    ):
        assert mine is not None
        assert all_of_it is not None
        assert torch.equal(mine, all_of_it[picked])


def test_a_model_trains_beside_the_new_fields(whole: Study) -> None:
    spec = PLESpec(
        levels=1,
        shared=1,
        private=1,
        expert=MLPSpec(dims=(8,)),
        tower=MLPSpec(dims=(6,)),
    )
    found = fit(whole, spec, training=Training(epochs=1), device="cpu", progress=False)
    assert len(found.history) == 1


@pytest.mark.plain
def test_a_lens_of_another_name_is_refused(small: Purchases) -> None:
    with pytest.raises(ValueError, match=r"one of \('diagrams', .*Found 'loops'"):
        journey(purchases=small, lenses=["states", "loops"])
    with pytest.raises(ValueError, match="Did you mean 'clusters'"):
        journey(purchases=small, lenses=["cluster"])
