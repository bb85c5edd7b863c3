"""Print the built book as one PDF, with an outline and with links that stay inside.

python -m book._tools.pdf

Chromium prints page after page in the order of the contents, and pypdf puts them
together. Solutions are unfolded; code that a page folds away, most of it for figures,
is left to the page. The first page of the PDF is the book's front page.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml
from playwright.sync_api import Browser, sync_playwright

from book._tools.binder import Printed, bind

ROOT = Path(__file__).parents[2]
SITE = ROOT / "book" / "_build" / "html"
PDF = ROOT / "book" / "_build" / "ple_study.pdf"
LINK = re.compile(r'href="([^":]*)\.html#([^"]+)"')

# What else is folded is opened. Chromium keeps a place of a page if a link of the same
# page leads there, so each place that another page links to gets such a link, unseen.
PREPARE = """places => {
  for (const code of document.querySelectorAll("details.hide")) code.remove();
  for (const fold of document.querySelectorAll("details")) fold.open = true;
  for (const fold of document.querySelectorAll(".toggle-hidden"))
    fold.classList.remove("toggle-hidden");
  for (const image of document.images) image.loading = "eager";
  const links = document.createElement("div");
  links.hidden = true;
  for (const place of places) {
    const link = document.createElement("a");
    link.href = "#" + place;
    links.append(link);
  }
  document.body.append(links);
}"""
HEADINGS = """() => [...document.querySelectorAll("article :is(h1, h2)")].map(head => {
  const words = head.cloneNode(true);
  words.querySelectorAll(".headerlink, script").forEach(part => part.remove());
  return [words.textContent.trim(), head.closest("section").id];
})"""
FOOTER = (
    '<div style="display:flex;font:8px sans-serif;justify-content:space-between;'
    'margin:0 16mm;width:100%">'
    '<span>{}</span><span><span class="pageNumber"></span> / '
    '<span class="totalPages"></span></span></div>'
)
MARGIN = {"top": "16mm", "right": "16mm", "bottom": "18mm", "left": "16mm"}
WIDER = 0.85  # so that 88 characters of code and the widest tables have room


def contents(toc: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The pages part by part, first the front page, which is in none."""
    yield "", [toc["root"]]
    for part in toc["parts"]:
        yield part["caption"], [chapter["file"] for chapter in part["chapters"]]


def places(pages: Iterable[str], site: Path) -> dict[str, set[str]]:
    """Places within each page that some page links to."""
    found: dict[str, set[str]] = {}
    for page in pages:
        text = (site / f"{page}.html").read_text(encoding="utf-8")
        for target, place in LINK.findall(text):
            name = os.path.normpath(Path(page).parent / target)
            found.setdefault(name, set()).add(unquote(place))
    return found


def printed(browser: Browser, page: str, linked: set[str], site: Path) -> Printed:
    """Print one page."""
    tab = browser.new_page(color_scheme="light")
    tab.goto((site / f"{page}.html").as_uri())
    tab.emulate_media(media="print", color_scheme="light")
    headings = [(words, place) for words, place in tab.evaluate(HEADINGS)]
    tab.evaluate(PREPARE, sorted(linked | {place for _, place in headings}))
    tab.evaluate("window.MathJax?.startup?.promise")
    data = tab.pdf(
        format="A4",
        margin=MARGIN,
        scale=WIDER,
        print_background=True,
        display_header_footer=True,
        header_template="<span></span>",
        footer_template=FOOTER.format(escape(headings[0][0])),
    )
    tab.close()
    return Printed(page, data, headings)


def main() -> None:
    """Print the whole book."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    listed = list(contents(toc))
    linked = places([page for _, pages in listed for page in pages], SITE)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        parts = [
            (name, [printed(browser, p, linked.get(p, set()), SITE) for p in pages])
            for name, pages in listed
        ]
        browser.close()
    sheets = bind(parts, SITE, PDF)
    print(f"{PDF.relative_to(ROOT)}: {sheets} pages")


if __name__ == "__main__":
    main()
