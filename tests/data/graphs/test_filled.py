"""Rows whose middle is missing find a place in the tree, the real ones too."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from ple_study.data.graphs.tree import filled, from_columns

NAMES = ["department", "product_category", "product_type"]
ROWS = pd.DataFrame(
    [
        ["food", "tea", "green"],
        ["food", None, "black"],
        [None, np.nan, "red"],
        [None, "milk", None],
        ["food", None, None],
        [None, None, None],
    ],
    columns=NAMES,
)


def test_only_what_stands_above_a_name_is_filled() -> None:
    found = filled(ROWS, "?")
    wanted = [
        ["food", "tea", "green"],
        ["food", "?", "black"],
        ["?", "?", "red"],
        ["?", "milk", None],
        ["food", None, None],
        [None, None, None],
    ]
    assert found.astype(object).where(found.notna(), None).to_numpy().tolist() == wanted
    tree = from_columns(found)
    assert ("food", "?", "black") in tree.paths
    assert tree.nodes(found).tolist()[-1] == 0
    pd.testing.assert_frame_equal(filled(found, "!"), found)


def test_the_unknown_is_no_known_name() -> None:
    with pytest.raises(ValueError, match=r"Found 'tea' in \['product_category'\]"):
        filled(ROWS, "tea")


def test_the_real_products_need_it(raw: Mapping[str, pd.DataFrame]) -> None:
    """Of 92,331 products, 111 have a type and no category; 429 have neither."""
    levels = raw["products"][NAMES]
    hole = levels["product_category"].isna() & levels["product_type"].notna()
    assert int(hole.sum()) == 111
    with pytest.raises(ValueError, match="may be missing only where"):
        from_columns(levels)
    found = filled(levels)
    tree = from_columns(found)
    node = tree.nodes(found)
    unknown = [tree.paths[place][1] for place in node[hole]]
    assert unknown == ["not known"] * 111
    depth = tree.depth.numpy()[node]
    np.testing.assert_array_equal(depth, found.notna().sum(axis=1))
    assert (depth[~hole] == levels[~hole].notna().sum(axis=1)).all()
    neither = levels["product_category"].isna() & ~hole
    assert (int(neither.sum()), set(depth[neither])) == (429, {1})
