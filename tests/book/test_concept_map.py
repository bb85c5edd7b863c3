"""The map on the front page: every chapter once, as a link, in both layouts."""

import re
from io import StringIO
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from book._tools.map import CHIP, HIGH, MAP, NARROW, SEVEN, SMALL, WHOLE, WIDE, drawn

ROOT = Path(__file__).parents[2]
LAYOUTS = pytest.mark.parametrize("layout", [WIDE, NARROW], ids=lambda one: one.name)
PAGES = [page for part in WHOLE for row in part.rows for page in row]


def test_what_is_stored_is_what_is_drawn() -> None:
    assert MAP.read_text(encoding="utf-8") == drawn(), (
        "The map has changed: run `python -m book._tools.map`."
    )


def test_every_chapter_stands_on_it_once_and_in_its_part() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = {
        part["caption"].split(":")[0]: [
            chapter["file"].removeprefix("book/") for chapter in part["chapters"]
        ]
        for part in toc["parts"]
        if part["caption"] != "Appendices"
    }
    names = ["The data", *(f"Part {number}" for number in range(1, 9)), "The ledger"]
    here = {
        name: [page for row in part.rows for page in row]
        for name, part in zip(names, WHOLE, strict=True)
    }
    assert here == listed
    assert re.findall(r'href="\.\./book/(\w+)\.html"', drawn()) == PAGES


@LAYOUTS
def test_boxes_are_apart_and_inside(layout) -> None:
    rows = layout.rows()
    placed = [spot for lines in rows for line in lines for spot in line.items()]
    assert [page for page, _ in placed] == PAGES
    boxes = []
    for page, (x, y) in placed:
        half = (SMALL if page in SEVEN else CHIP) / 2
        boxes.append((x - half, x + half, y - HIGH / 2, y + HIGH / 2))
    for k, (left, right, top, bottom) in enumerate(boxes):
        assert layout.left <= left + 0.1
        assert right - 0.1 <= layout.right
        assert 0 <= top < bottom <= layout.height
        for other in boxes[:k]:
            beside = right + 2 <= other[0] or other[1] + 2 <= left
            assert beside or bottom + 2 <= other[2] or other[3] + 2 <= top


def test_a_map_links_to_the_pages_that_there_are(tmp_path) -> None:
    source, complaints = tmp_path / "source", StringIO()
    (source / "book" / "_static").mkdir(parents=True)
    (source / "book" / "_static" / "map.svg").write_text(drawn(), encoding="utf-8")
    (source / "book" / "index.rst").write_text("Book\n====\n\n.. concept-map::\n")
    title = 'A "title" & more'
    page = f":orphan:\n\n{title}\n{'=' * len(title)}\n"
    (source / "book" / "ple1_mmoe.rst").write_text(page)
    config = {
        "extensions": ["book._ext.concept_map"],
        "root_doc": "book/index",
        "html_theme": "basic",
        "smartquotes": False,
    }
    for builder in ("html", "text"):
        places = (source, None, tmp_path / builder, tmp_path / f"{builder}-trees")
        with docutils_namespace():
            Sphinx(*places, builder, config, status=None, warning=complaints).build()
    assert complaints.getvalue() == ""
    assert "svg" not in (tmp_path / "text" / "book" / "index.txt").read_text()
    text = (tmp_path / "html" / "book" / "index.html").read_text(encoding="utf-8")
    (nav,) = BeautifulSoup(text, "html.parser").select("nav.concept-map[aria-label]")
    (link,) = nav.select("a")
    assert link["href"] == "ple1_mmoe.html"
    assert link["aria-label"] == f"many experts: {title}"
    assert len(nav.select("g.stop.ahead")) == len(PAGES) - 1


def test_without_a_drawing_the_page_complains(tmp_path) -> None:
    (tmp_path / "index.rst").write_text("Book\n====\n\n.. concept-map::\n")
    complaints = StringIO()
    places = (tmp_path, None, tmp_path / "html", tmp_path / "trees")
    config = {"extensions": ["book._ext.concept_map"], "html_theme": "basic"}
    with docutils_namespace():
        Sphinx(*places, "html", config, status=None, warning=complaints).build()
    assert "Found none." in complaints.getvalue()
