"""Where the built book is, and what a page of it holds."""

import os
from functools import cache
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

ROOT = Path(os.environ.get("PLE_STUDY_SITE", "book/_build/html")).resolve()
BUILT = (ROOT / "index.html").is_file()
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("book/*.html"))
STRICT = bool(os.environ.get("CI") or os.environ.get("PLE_STUDY_STRICT"))

needs_site = pytest.mark.skipif(not BUILT, reason="no built book: run `make book`")


@cache
def soup(page: str) -> BeautifulSoup:
    """Parse one page, named relative to the root of the site."""
    return BeautifulSoup((ROOT / page).read_text(encoding="utf-8"), "html.parser")
