"""What a bank's plan promises of its merchants, columns and effects."""

import numpy as np
import pytest
import torch

from ple_study.data.world import Bank
from ple_study.data.world.regimes import CHAINS, paths, stationary


def test_merchants_are_the_leaves_of_the_tree(bank: Bank) -> None:
    tree, leaves = bank.plan.tree, bank.plan.leaves
    deepest = torch.where(tree.depth == 3)[0]
    assert len(deepest) == len(leaves) == 8 * 3 * 8
    for merchant, node in enumerate(deepest.tolist()):
        top, category, brand = tree.paths[node]
        assert (top, category) == (
            f"T{leaves[merchant, 0]:02d}",
            f"C{leaves[merchant, 1]:03d}",
        )
        assert brand == f"M{merchant:04d}"


def test_causes_form_no_cycle(bank: Bank) -> None:
    dag = bank.plan.dag
    power = np.eye(len(dag))
    for _ in range(len(dag)):
        power = power @ dag
    assert not power.any()
    assert (np.abs(dag[dag != 0]) >= 0.7).all()
    assert all((dag[:, node] != 0).any() for node in bank.plan.shocked)


def test_personas_differ_in_shape_and_not_in_mean(bank: Bank) -> None:
    for one, other in bank.plan.personas:
        place = np.arange(len(one))
        assert one.sum() == pytest.approx(1)
        assert one @ place == pytest.approx(other @ place)
        assert one @ place**2 > 1.2 * (other @ place**2)


def test_tastes_are_white_and_categories_lie_on_a_circle(bank: Bank) -> None:
    taste, branch = bank.plan.taste, bank.plan.branch
    np.testing.assert_allclose(taste.T @ taste / len(taste), np.eye(2), atol=1e-12)
    np.testing.assert_allclose(taste.mean(0), 0, atol=1e-12)
    half = len(taste) // 2
    np.testing.assert_allclose(taste[:half], -taste[half:], atol=1e-12)
    np.testing.assert_allclose((branch**2).sum(1), 1)
    assert len(np.unique(branch.round(9), axis=0)) == len(branch)


def test_effects_are_white(bank: Bank) -> None:
    effects = [(bank.plan.cluster_effect, bank.plan.cluster_shares)]
    effects += [(v, stationary(CHAINS[k])) for k, v in bank.plan.regime_effect.items()]
    for effect, shares in effects:
        mean = np.einsum("tkf,k->tf", effect, shares)
        square = np.einsum("tkf,tkg,k->tfg", effect, effect, shares)
        np.testing.assert_allclose(mean, 0, atol=1e-12)
        np.testing.assert_allclose(square, np.eye(2)[None].repeat(18, 0), atol=1e-9)


@pytest.mark.parametrize("mode", CHAINS)
def test_the_stationary_shares_are_the_chain_s_eigenvector(mode: str) -> None:
    chain = CHAINS[mode]
    np.testing.assert_allclose(chain.sum(1), 1)
    values, vectors = np.linalg.eig(chain.T)
    wanted = np.real(vectors[:, np.argmax(np.real(values))])
    np.testing.assert_allclose(stationary(chain), wanted / wanted.sum(), atol=1e-12)


@pytest.mark.parametrize("mode", CHAINS)
def test_paths_move_as_the_chain_says(mode: str) -> None:
    chain = CHAINS[mode]
    path = paths(chain, 4000, 13, np.random.default_rng(5))
    counts = np.zeros_like(chain)
    np.add.at(counts, (path[:, :-1], path[:, 1:]), 1)
    found = counts / counts.sum(1, keepdims=True)
    assert np.abs(found - chain).max() < 0.025
    for step in (0, 12):
        share = np.bincount(path[:, step], minlength=len(chain)) / len(path)
        assert np.abs(share - stationary(chain)).max() < 0.03
