"""The pages as files: every link leads somewhere, and nothing comes from elsewhere."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from tests.book.site import PAGES, ROOT, needs_site, soup

pytestmark = needs_site
SOURCE = ROOT.parents[2]
EXTRA = ["search.html", "genindex.html"]
TWICE = {"search-input"}  # the theme puts the search box in the side bar and on top
UNRENDERED = re.compile(
    r"\$\$|\{(ref|numref|doc|eq|cite\S*|term|py:\S+)\}`|Traceback \("
)
every_page = pytest.mark.parametrize("page", PAGES)


def targets(page: str, *attributes: str) -> Iterator[str]:
    """List the addresses that a page names in some attributes."""
    for attribute in attributes:
        for tag in soup(page).find_all(attrs={attribute: True}):
            yield tag[attribute]


def is_off_site(address: str) -> bool:
    """Tell a page of this book from the rest of the world."""
    parts = urlsplit(address)
    return parts.scheme not in ("", "data") or bool(parts.netloc)


def resolve(page: str, address: str) -> str | None:
    """Say what is wrong with a link, or None."""
    parts = urlsplit(address)
    file = ROOT / page
    if parts.path:
        file = (ROOT / PurePosixPath(page).parent / unquote(parts.path)).resolve()
    if not file.is_file():
        return f"{address}: no such file"
    if parts.fragment and file.suffix == ".html":
        linked = soup(file.relative_to(ROOT).as_posix())
        if not linked.find(id=unquote(parts.fragment)):
            return f"{address}: no such anchor"
    return None


def test_the_contents_are_built() -> None:
    toc = yaml.safe_load((SOURCE / "_toc.yml").read_text())
    listed = [toc["root"], *(c["file"] for p in toc["parts"] for c in p["chapters"])]
    assert sorted(f"{name}.html" for name in listed) == PAGES


@pytest.mark.parametrize("page", [*PAGES, *EXTRA])
def test_every_link_leads_somewhere(page: str) -> None:
    links = {link for link in targets(page, "href", "src") if not is_off_site(link)}
    links -= {"", "#"}
    assert [why for link in sorted(links) if (why := resolve(page, link))] == []


@pytest.mark.parametrize("page", [*PAGES, *EXTRA])
def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    loaded = list(targets(page, "src", "srcset", "poster"))
    loaded += [tag["href"] for tag in soup(page).find_all("link", href=True)]
    assert [address for address in loaded if is_off_site(address)] == []


@pytest.mark.parametrize(
    "page", [p for p in PAGES if (SOURCE / p).with_suffix(".ipynb").is_file()]
)
def test_every_chapter_can_be_downloaded(page: str) -> None:
    (button,) = soup(page).select("a.btn-download-source-button")
    notebook = PurePosixPath("../_sources") / PurePosixPath(page).with_suffix(".ipynb")
    assert button["href"] == str(notebook)


def test_the_map_leads_to_every_chapter_once() -> None:
    toc = yaml.safe_load((SOURCE / "_toc.yml").read_text())
    parts = [part for part in toc["parts"] if part["caption"] != "Appendices"]
    chapters = [chapter["file"] for part in parts for chapter in part["chapters"]]
    links = soup("book/index.html").select("nav.concept-map a")
    led = [f"book/{link['href'].removesuffix('.html')}" for link in links]
    assert sorted(led) == sorted(chapters)
    assert all(": " in link["aria-label"] for link in links)


HEAVIEST = 3 * 2**20  # bytes of a page, without its pictures and scripts


@every_page
def test_no_page_is_heavy(page: str) -> None:
    assert (ROOT / page).stat().st_size <= HEAVIEST


def test_the_reference_and_the_chapters_lead_to_each_other() -> None:
    entry = "ple_study.gates.gate.Gate"
    (page,) = (p for p in PAGES if "/api" in p and soup(p).find(id=entry))
    lines = soup(page).find(id=entry).find_parent("dl").select("p.shown-in > a")
    assert len(lines) > 2
    for line in lines:
        chapter, _, place = line["href"].partition("#")
        spot = soup(f"book/{chapter}").find(id=place)
        assert spot["href"] == f"{PurePosixPath(page).name}#{entry}"


@every_page
def test_every_image_is_described(page: str) -> None:
    for image in soup(page).find_all("img"):
        alt = image.get("alt", "").strip()
        assert alt, f"{image.get('src')} has no alt text"
        assert "/" not in alt or " " in alt, f"{alt!r} is a path, not a description"


@every_page
def test_everything_is_rendered(page: str) -> None:
    article = soup(page).find("article")
    assert "Traceback (most recent" not in article.get_text()
    prose = [
        text
        for text in article.find_all(string=True)
        if not text.find_parent(["pre", "code", "script"])
    ]
    assert [text for text in prose if UNRENDERED.search(text)] == []


@every_page
def test_ids_are_unique(page: str) -> None:
    ids = Counter(tag["id"] for tag in soup(page).find_all(id=True))
    assert {name for name, count in ids.items() if count > 1} <= TWICE
