"""The pages as a reader meets them: opened from the disk, in a browser, offline."""

import os
import re
import shutil
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, sync_playwright

from tests.book.site import PAGES, ROOT, STRICT, needs_site, soup

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
pytestmark = [
    needs_site,
    pytest.mark.skipif(
        CHROMIUM is None and not STRICT,
        reason="no browser: run `apt-get install chromium`, or set CHROMIUM",
    ),
]
# A theme changes colours only, so the second one needs only the rule about them.
AXE = {"light": ["wcag2a", "wcag2aa", "best-practice"], "dark": ["color-contrast"]}
AXE_ALLOWED = {
    "region",  # the theme's search dialog stands outside every landmark
    "empty-table-header",  # the corner cell of a pandas table
}
every_page = pytest.mark.parametrize("name", [*PAGES, "search.html", "genindex.html"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium once."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Open a blank page that reports whatever goes wrong, and fail if it does."""
    complaints: list[str] = []

    def guard(route: Route) -> None:
        if route.request.url.startswith(("file:", "data:", "blob:")):
            return route.continue_()
        complaints.append(f"off-site: {route.request.url}")
        return route.abort()

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"console: {message.text}")

    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    context.route("**/*", guard)
    page = context.new_page()
    page.on("console", listen)
    page.on("pageerror", lambda error: complaints.append(f"script: {error}"))
    yield page
    context.close()
    assert complaints == []


# Colours that are still on their way to a theme are not its colours.
SETTLED = """Promise.all(document.getAnimations()
    .filter(a => a instanceof CSSTransition).map(a => a.finished))"""


def visit(page: Page, name: str) -> None:
    """Open a page of the book and wait until its formulas are set."""
    page.goto(f"{ROOT.as_uri()}/{name}")
    page.evaluate("window.MathJax?.startup?.promise")


@every_page
def test_page_is_whole_at_any_width(page: Page, name: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    visit(page, name)
    assert page.locator("mjx-merror").count() == 0
    broken = "[...document.images].filter(i => !i.naturalWidth).map(i => i.src)"
    assert page.evaluate(broken) == []
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, f"{width} pixels wide: the page scrolls sideways"


@every_page
@pytest.mark.parametrize("theme", AXE)
def test_page_is_accessible(page: Page, name: str, theme: str) -> None:
    page.emulate_media(color_scheme=theme)
    visit(page, name)
    assert page.locator("html").get_attribute("data-theme") == theme
    page.evaluate(SETTLED)
    rules = {"runOnly": AXE[theme], "resultTypes": ["violations"], "preload": False}
    found = Axe().run(page, options=rules).response["violations"]
    faults = {
        f"{fault['id']}: {node['html'][:120]}"
        for fault in found
        if fault["id"] not in AXE_ALLOWED
        for node in fault["nodes"]
    }
    assert faults == set()


def test_search_finds_a_word(page: Page) -> None:
    visit(page, "search.html?q=extraction")
    page.get_by_text("page(s) matching the search query").wait_for()
    assert page.locator("#search-results li a").count() > 0


def test_copy_button_copies_the_code(page: Page) -> None:
    visit(page, next(name for name in PAGES if soup(name).select("div.cell_input")))
    cell = page.locator("div.cell_input div.highlight:visible").first
    code = cell.locator("pre")
    code.hover()
    cell.locator("button.copybtn").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == code.inner_text().strip()


def test_theme_button_turns_the_figures_too(page: Page) -> None:
    visit(page, "book/index.html")
    html = page.locator("html")
    seen = {html.get_attribute("data-theme")}
    for _ in range(2):
        page.locator("button.theme-switch-button:visible").click()
        seen.add(html.get_attribute("data-theme"))
    assert seen == set(AXE)


ROWS = "#ledger-filter ~ div.cell table tbody tr:visible"


def ledger_rows(page: Page) -> int:
    """Count the rows shown, and see that the page says the same."""
    shown = page.locator(ROWS).count()
    total = len(soup("book/claims.html").select("svg.claim-picture"))
    assert page.get_by_role("status").inner_text() == f"{shown} of {total} claims"
    return shown


def test_the_ledger_is_filtered_by_keyboard(page: Page) -> None:
    visit(page, "book/claims.html")
    total = ledger_rows(page)
    page.get_by_label("Verdict").focus()
    page.keyboard.type("refuted")
    refuted = ledger_rows(page)
    verdicts = page.locator(f"{ROWS} >> td:nth-child(3)").all_inner_texts()
    assert {text.strip() for text in verdicts} == {"refuted"}
    page.keyboard.press("Tab")
    page.keyboard.type("EXPERT private")
    assert 0 < ledger_rows(page) < refuted < total
    for words in page.locator(f"{ROWS} >> td:nth-child(2)").all_inner_texts():
        assert "expert" in words.lower()
        assert "private" in words.lower()
    page.keyboard.type(" zebra")
    assert ledger_rows(page) == 0
    page.get_by_label("Words").fill("")
    page.get_by_label("Verdict").select_option("")
    assert ledger_rows(page) == total


def test_a_count_of_the_front_page_leads_to_its_claims(page: Page) -> None:
    visit(page, "book/index.html")
    for number in range(page.locator("ul.verdicts a").count()):
        link = page.locator("ul.verdicts a").nth(number)
        count, _, kind = link.inner_text().partition(" ")
        link.click()
        page.get_by_role("status").wait_for()
        assert ledger_rows(page) == int(count)
        assert page.get_by_label("Verdict").input_value() == kind
        page.go_back()


@pytest.mark.parametrize("width", [390, 700, 1300])
def test_the_map_can_be_read_and_walked_by_keys(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    visit(page, "book/index.html")
    links = page.locator("nav.concept-map a")
    spare = links.evaluate_all(
        "all => all.map(a => [...a.children].map(c => c.getBoundingClientRect()))"
        ".map(([box, words]) => Math.min(words.left - box.left,"
        " box.right - words.right, words.top - box.top, box.bottom - words.bottom))"
    )
    assert min(spare) >= 1, "words of a box stick out"
    over = page.locator("nav.concept-map").evaluate(
        "nav => { const all = nav.getBoundingClientRect(); return Math.max(...["
        "...nav.querySelectorAll('text, rect')].map(c => c.getBoundingClientRect())"
        ".map(c => Math.max(c.right - all.right, all.left - c.left,"
        " c.bottom - all.bottom))) }"
    )
    assert over <= 0, "a part of the map is cut off"
    links.first.focus()
    page.keyboard.press("Tab")
    focused = page.locator("nav.concept-map a:focus-visible")
    assert focused.get_attribute("href") == links.nth(1).get_attribute("href")
    style = focused.evaluate("a => getComputedStyle(a).outlineStyle")
    assert style == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url("**/journey_baselines.html")


def test_every_claim_has_a_picture_that_says_its_numbers(page: Page) -> None:
    visit(page, "book/claims.html")
    headings = page.get_by_role("heading", name=re.compile(r"^Claim \d")).all()
    pictures = page.locator("svg.claim-picture")
    labels = pictures.evaluate_all("all => all.map(svg => svg.ariaLabel)")
    named = [heading.inner_text().split(":")[0] for heading in headings]
    assert [label.split(".")[0] for label in labels] == named
    boxes = pictures.evaluate_all(
        "all => all.map(svg => [svg, ...svg.querySelectorAll('text')]"
        ".map(part => part.getBoundingClientRect()))"
        ".map(([all, ...words]) => Math.max(...words.map(w => w.right)) - all.right)"
    )
    assert max(boxes) <= 2, "words of a picture are cut off on the right"


def test_without_scripts_the_ledger_shows_every_claim(browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{ROOT.as_uri()}/book/claims.html?verdict=refuted")
    total = len(soup("book/claims.html").select("svg.claim-picture"))
    assert page.locator(ROWS).count() == total > 0
    assert page.locator("#ledger-filter *").count() == 0
    context.close()
