"""Copy the front page's picture out of the chapter that drew it.

python -m book._tools.hero
"""

from pathlib import Path

import nbformat

BOOK = Path(__file__).parents[1]
CHAPTER = BOOK / "journey_baselines.ipynb"
HERO = BOOK / "_static" / "hero.svg"
NAME = "journey-ribbons"


def drawn() -> str:
    """The figure of that name as the chapter stores it."""
    for cell in nbformat.read(CHAPTER, as_version=4).cells:
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == NAME:
            return cell.outputs[-1].data["image/svg+xml"]
    raise ValueError(f"{CHAPTER.name} must have a figure {NAME!r}. Found none.")


if __name__ == "__main__":
    HERO.write_text(drawn(), encoding="utf-8")
