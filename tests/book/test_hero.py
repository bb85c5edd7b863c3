"""The front page shows what a chapter drew, not an old copy of it."""

from book._tools.hero import HERO, drawn


def test_the_picture_is_the_chapters_figure() -> None:
    assert HERO.read_text(encoding="utf-8") == drawn(), (
        "The chapter's figure has changed: run `python -m book._tools.hero`."
    )
