"""How wide the bank's inputs are: the thread's shapes, or ones for a laptop."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

HISTORY = 364  # days before the cut-off, thirteen months of four weeks
MONTH = 28

FIELDS = {  # the 644 columns in 28 fields, in order
    "rfm": 34,
    "category_1": 16,
    "category_2": 16,
    "category_3": 16,
    "category_4": 16,
    "transactions": 80,
    "temporal": 60,
    "deposit": 20,
    "membership": 15,
    "investment": 18,
    "credit": 12,
    "digital": 14,
    "product": 12,
    "tda_short": 24,
    "tda_long": 36,
    "phase_transition": 10,
    "gmm": 22,
    "mamba": 50,
    "income": 8,
    "behavior": 9,
    "multidisciplinary": 24,
    "model_derived": 27,
    "insurance": 25,
    "consultation": 18,
    "campaign": 12,
    "overseas": 6,
    "other_channel": 23,
    "merchant": 21,
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """Widths of the inputs and of the merchants' tree.

    ``branches`` are the children of the root, of each top category, and of each
    category below it; ``bins`` those of the two histograms; ``brands`` the keys of
    brand_prediction in one spending category; ``nodes`` those of the causal graph in
    one of its five fields.
    """

    fields: Mapping[str, int]
    steps: tuple[int, int]  # days of card and deposit, of sessions
    points: tuple[int, int]  # of the short diagram, of the long one
    branches: tuple[int, int, int]
    bins: tuple[int, int]
    clusters: int
    brands: int
    nodes: int


Name = Literal["study", "small"]
SIZES: dict[Name, Size] = {
    "study": Size(
        fields=FIELDS,
        steps=(180, 90),
        points=(200, 150),
        branches=(8, 12, 20),
        bins=(32, 24),
        clusters=20,
        brands=16,
        nodes=2,
    ),
    "small": Size(
        fields={name: max(2, round(width / 10)) for name, width in FIELDS.items()},
        steps=(90, 45),
        points=(60, 120),
        branches=(8, 3, 8),
        bins=(8, 6),
        clusters=5,
        brands=2,
        nodes=1,
    ),
}
