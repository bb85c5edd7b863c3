"""The book as one PDF: its order, what is unfolded, its outline, where links lead."""

from pathlib import Path

import pytest
import yaml
from playwright.sync_api import sync_playwright
from pypdf import PdfReader

from book._tools.binder import bind
from book._tools.pdf import ROOT, contents, places, printed
from tests.book.test_browser import CHROMIUM

ONE = """<!doctype html><title>1</title><article>
<section id="one"><h1>One &amp; all<a class="headerlink" href="#one">#</a></h1>
<p><a href="two.html#deep">deep</a> <a href="two.html">two</a>
<a href="#more">more</a> <a href="_sources/one.ipynb">file</a>
<a href="https://example.org/">web</a></p>
<details><summary>fold</summary><p>unfolded</p></details>
<section id="more"><h2>More</h2></section></section></article>"""
TWO = """<!doctype html><title>2</title><article><section id="two"><h1>Two</h1>
<section id="far" style="break-before: page"><h2>Far</h2>
<p id="deep"><a href="../book/one.html#more">back</a></p></section></section></article>
"""


def test_pages_come_in_the_order_of_the_contents() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    listed = list(contents(toc))
    assert listed[0] == ("", ["book/index"])
    assert [name for name, _ in listed[1:]] == [p["caption"] for p in toc["parts"]]
    assert sum(len(pages) for _, pages in listed) == 1 + sum(
        len(part["chapters"]) for part in toc["parts"]
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Two pages that link to each other."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "book").mkdir()
    (folder / "book" / "one.html").write_text(ONE, encoding="utf-8")
    (folder / "book" / "two.html").write_text(TWO, encoding="utf-8")
    return folder


def test_places_that_other_pages_link_to(site) -> None:
    assert places(["book/one", "book/two"], site) == {
        "book/two": {"deep"},
        "book/one": {"more"},
    }


@pytest.mark.skipif(CHROMIUM is None, reason="no browser: `apt-get install chromium`")
def test_a_book_is_bound(site, tmp_path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        one = printed(browser, "book/one", {"more"}, site)
        two = printed(browser, "book/two", {"deep"}, site)
        browser.close()
    assert one.headings == [("One & all", "one"), ("More", "more")]
    assert bind([("", [one]), ("Part", [two])], site, tmp_path / "book.pdf") == 3
    reader = PdfReader(tmp_path / "book.pdf")
    assert reader.metadata.title == "One & all"
    assert "unfolded" in reader.pages[0].extract_text()
    first, sections, part, chapters = reader.outline
    assert [first.title, sections[0].title, part.title] == ["One & all", "More", "Part"]
    chapter, (far,) = chapters
    numbers = [reader.get_destination_page_number(d) for d in (first, chapter, far)]
    assert numbers == [0, 1, 2]
    links = [[a.get_object() for a in page.get("/Annots", ())] for page in reader.pages]
    _, deep, start, more, web = links[0]
    assert web["/A"]["/URI"] == "https://example.org/"
    sheets = [page.indirect_reference for page in reader.pages]
    led = [link.raw_get("/Dest") for link in (deep, start, more, *links[2])]
    found = [sheets.index(place.get_object()[0]) for place in led]
    assert found == [2, 1, 0, 0]
    assert b"file:" not in (tmp_path / "book.pdf").read_bytes()
