"""Find the rings of the dial's points with gudhi and store them beside the points.

A ring is stored as two pairs of points: its birth is how far the first are apart, its
end how far the others are.

python -m book._tools.rips
"""

import json
from pathlib import Path

import gudhi

FILE = Path(__file__).parents[1] / "dials" / "rips.json"


def rings(points: list[list[float]]) -> list[list[int]]:
    """All rings that live longer than not at all, the oldest first."""
    tree = gudhi.RipsComplex(points=points).create_simplex_tree(max_dimension=2)
    tree.compute_persistence()
    (found,) = tree.flag_persistence_generators()[1]
    lives = [(tree.filtration(ring[:2]), tree.filtration(ring[2:])) for ring in found]
    kept = [k for k, (birth, end) in enumerate(lives) if birth < end]
    return [found[k].tolist() for k in sorted(kept, key=lives.__getitem__)]


def stored() -> dict[str, list]:
    """What the dial is drawn from."""
    return json.loads(FILE.read_text(encoding="utf-8"))["inputs"]


if __name__ == "__main__":
    old, new = (json.dumps(x) for x in (stored()["rings"], rings(stored()["points"])))
    text = FILE.read_text(encoding="utf-8")
    FILE.write_text(text.replace(f'"rings": {old}', f'"rings": {new}'), "utf-8")
