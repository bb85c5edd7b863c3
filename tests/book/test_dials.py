"""The dials as a reader turns them, held against the libraries they stand for."""

import json
import math
import re
from itertools import combinations
from typing import Any

import gudhi
import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page
from scipy.optimize import minimize_scalar

from ple_study.experts.hgcn.hyperbolic import distance, log0, squared_distance
from ple_study.experts.transport.sinkhorn import Sinkhorn, plan, potentials
from tests.book import test_browser
from tests.book.site import PAGES, ROOT, soup
from tests.book.test_browser import AXE, SETTLED, visit

browser, page, pytestmark = (
    test_browser.browser,
    test_browser.page,
    test_browser.pytestmark,
)
CHAPTERS = {
    "gate": "ple4_gates",
    "blur": "ple3_transport",
    "tree": "ple3_hgcn",
    "rips": "ple3_perslay",
    "strength": "ple5_transfer",
}
every_dial = pytest.mark.parametrize("kind", CHAPTERS)


def opened(page: Page, kind: str) -> Locator:
    """Open the chapter of a dial and answer the dial."""
    visit(page, f"book/{CHAPTERS[kind]}.html")
    return page.locator(f"figure#dial-{kind}.dial")


def inputs(dial: Locator) -> dict[str, Any]:
    """What the page says that the dial is drawn from."""
    return json.loads(dial.locator(".dial-body").get_attribute("data-inputs"))


def turn(dial: Locator, **places: float) -> None:
    """Put sliders somewhere, as a hand would."""
    for name, place in places.items():
        dial.locator(f"[name={name}]").evaluate(
            "(slider, to) => { slider.value = to;"
            " slider.dispatchEvent(new Event('input', {bubbles: true})); }",
            place,
        )


def numbers(dial: Locator) -> dict[str, float]:
    """The numbers that the dial says; what is read is what was computed, rounded."""
    said = {}
    for name, value, words in dial.locator("output data").evaluate_all(
        "all => all.map(d => [d.dataset.number, d.value, d.textContent])"
    ):
        digits = len(words.partition(".")[2])
        assert abs(float(words) - float(value)) <= 0.5 * 10**-digits + 1e-12
        said[name] = float(value)
    return said


def attributes(parts: Locator, *names: str) -> np.ndarray:
    """Numbers of shapes, a row a shape."""
    script = "(all, names) => all.map(p => names.map(n => Number(p.getAttribute(n))))"
    return np.array(parts.evaluate_all(script, list(names)))


def test_a_gate_has_the_weights_and_the_entropy_of_torch(page: Page):
    dial = opened(page, "gate")
    for place in (-1, -0.5, 0, 0.44, 1):
        turn(dial, temperature=place)
        scores = torch.tensor(inputs(dial)["scores"], dtype=torch.float64)
        found = torch.distributions.Categorical(logits=scores / 10**place)
        entropy = found.entropy().item()
        assert numbers(dial) == pytest.approx(
            {
                "largest": found.probs.max().item(),
                "entropy": entropy,
                "share": entropy / math.log(7),
                "number": math.exp(entropy),
            }
        )
        wide = attributes(dial.locator("svg rect:not(.side)"), "width")[:, 0]
        np.testing.assert_allclose(wide / wide.sum(), found.probs, atol=1e-4)


def test_a_blur_has_the_plan_of_the_library_and_of_pot(page: Page):
    ot = pytest.importorskip("ot")
    dial = opened(page, "blur")
    for place in (-2, -1.5, -1, 0, 1):
        turn(dial, blur=place)
        a, b = (
            torch.tensor(inputs(dial)[side], dtype=torch.float64)
            for side in ("from", "to")
        )
        a, b = a / a.sum(), b / b.sum()
        hour = torch.arange(24, dtype=torch.float64)
        cost = (hour[:, None] - hour).square()
        cost = cost / cost.mean()
        how = Sinkhorn(epsilon=10.0**place, iterations=20_000, tolerance=1e-12)
        ours = plan(a, b, cost, potentials(a, b, cost, how), how.epsilon)
        given = a.numpy(), b.numpy(), cost.numpy()
        options = {"method": "sinkhorn_log", "stopThr": 1e-12, "numItermax": 20_000}
        theirs = ot.bregman.sinkhorn(*given, how.epsilon, **options)
        np.testing.assert_allclose(theirs, ours, atol=1e-9)
        exact = ot.emd(*given)
        apart = torch.special.entr(ours).sum() - torch.special.entr(a).sum()
        assert numbers(dial) == pytest.approx(
            {
                "cost": (ours * cost).sum().item(),
                "exact": (exact * given[2]).sum(),
                "spread": apart.exp().item(),
            },
            rel=1e-5,
        )
        drawn = attributes(dial.locator("svg .cell"), "fill-opacity").reshape(24, 24)
        dark = (ours / exact.max()).sqrt().clamp(max=1)
        np.testing.assert_allclose(drawn, dark, atol=2e-3)


def grown(children: list[int]) -> list[int]:
    """Parents of a tree, level by level."""
    parent, level = [-1], [0]
    for number in children:
        start = len(parent)
        parent += [node for node in level for _ in range(number)]
        level = list(range(start, len(parent)))
    return parent


def laid_out(parent: list[int], step: float) -> np.ndarray:
    """The construction of the chapter, in the disk of curvature -1."""
    at = np.zeros(len(parent), dtype=complex)
    for node, above in enumerate(parent):
        children = [k for k, p in enumerate(parent) if p == node]
        turn = 2 * np.pi * np.arange(1, len(children) + 1)
        if node > 0:
            seen = (at[above] - at[node]) / (1 - at[node].conj() * at[above])
            turn = np.angle(seen) + turn / (len(children) + 1)
        else:
            turn = turn / len(children)
        way = np.tanh(step / 2) * np.exp(1j * turn)
        at[children] = (way + at[node]) / (1 + at[node].conj() * way)
    return at


def ancestors(parent: list[int], node: int) -> set[int]:
    """The nodes above and itself, but for the root."""
    return {node} | ancestors(parent, parent[node]) if node > 0 else set()


def between(at: np.ndarray, pairs: np.ndarray, c: float) -> torch.Tensor:
    """Distances in the ball of curvature -c of points told in units of its radius.

    They are the library's, which near the rim tells points apart, and geoopt's, as long
    as the points lie where geoopt does.
    """
    bent = torch.tensor(c, dtype=torch.float64)
    points = torch.view_as_real(torch.from_numpy(at)) / c**0.5
    one, other = (points[pairs[:, side]] for side in (0, 1))
    far = squared_distance(log0(one, bent), log0(other, bent), bent).sqrt()
    if c <= 4:
        torch.testing.assert_close(far, distance(one, other, bent), atol=1e-6, rtol=0)
    return far


def test_a_tree_has_the_distances_of_the_library(page: Page):
    dial = opened(page, "tree")
    for place in (-2, -1, 0, 0.6, 1.5):
        turn(dial, curvature=place)
        children, edge = inputs(dial)["children"], inputs(dial)["edge"]
        parent, c = grown(children), 10**place
        leaves = range(len(parent) - math.prod(children), len(parent))
        pairs = np.array(list(combinations(leaves, 2)))
        edges = [len(ancestors(parent, i) ^ ancestors(parent, j)) for i, j in pairs]
        at = laid_out(parent, c**0.5 * edge)
        nearest = between(laid_out(parent, 1e-3), pairs, 1.0).argmin().item()
        far = between(at, pairs, c).numpy()
        share = far / edges / edge
        assert numbers(dial) == pytest.approx(
            {
                "edges": edges[nearest],
                "distance": far[nearest],
                "share": share[nearest],
                "all": share.mean(),
            },
            rel=1e-6,
            abs=1e-9,
        )


ALONG = """path => [0.1, 0.3, 0.5, 0.8].map(part => {
  const {x, y} = path.getPointAtLength(part * path.getTotalLength()); return [x, y];
})"""


def test_a_tree_is_drawn_with_equal_edges_and_shortest_ways(page: Page):
    dial = opened(page, "tree")
    parent = grown(inputs(dial)["children"])
    for place in (-1, 0, 0.4):
        turn(dial, curvature=place)
        drawn = attributes(dial.locator("svg circle:not(.rim)"), "cx", "cy")
        marked = attributes(dial.locator("svg circle.mark"), "cx", "cy")
        along = np.array(dial.locator("svg .short").evaluate(ALONG))
        rim = attributes(dial.locator("svg .rim"), "r").item()
        at = np.concatenate([drawn, marked, along]) @ [1, -1j] / rim
        ends, c = np.array(list(enumerate(parent)))[1:], 10.0**place
        found = between(at, ends, c)
        torch.testing.assert_close(found, torch.ones_like(found), atol=2e-3, rtol=0)
        one, other = len(parent), len(parent) + 1
        straight = between(at, np.array([[one, other]]), c)
        for way in range(other + 1, len(at)):
            parts = between(at, np.array([[one, way], [way, other]]), c)
            assert parts.sum() == pytest.approx(straight.item(), abs=2e-3)


def test_a_complex_has_the_pieces_and_rings_of_gudhi(page: Page):
    dial = opened(page, "rips")
    for place in (0, 0.26, 0.4, 0.66, 0.8, 1.3, 1.69, 2):
        turn(dial, distance=place)
        points = inputs(dial)["points"]
        tree = gudhi.RipsComplex(points=points, max_edge_length=place)
        tree = tree.create_simplex_tree(max_dimension=2)
        sizes = np.bincount([len(simplex) for simplex, _ in tree.get_filtration()])
        tree.compute_persistence(persistence_dim_max=True)
        betti = [*tree.betti_numbers(), 0]
        wanted = {
            "edges": sizes[2] if len(sizes) > 2 else 0,
            "triangles": sizes[3] if len(sizes) > 3 else 0,
            "pieces": betti[0],
            "rings": betti[1],
        }
        assert numbers(dial) == wanted
        for kind, name in (("joined", "edges"), ("filled", "triangles")):
            drawn = dial.locator(f"svg .{kind}").get_attribute("d") or ""
            assert drawn.count("M") == wanted[name]
        dots = attributes(dial.locator("svg circle.dot"), "cx", "cy")
        unit = np.ptp(dots, axis=0) / np.ptp(points, axis=0)
        radii = re.findall(r"a([\d.]+) ", dial.locator("svg .disks").get_attribute("d"))
        wide = {float(radius) for radius in radii} or {0.0}
        assert max(wide) == min(wide)
        assert 2 * max(wide) / unit == pytest.approx([place, place])


def test_a_barcode_is_that_of_gudhi(page: Page):
    dial = opened(page, "rips")
    tree = gudhi.RipsComplex(points=inputs(dial)["points"])
    tree = tree.create_simplex_tree(max_dimension=2)
    tree.compute_persistence()
    top = float(dial.locator("input").get_attribute("max"))
    left, wide = 12, 310
    for dimension, bars in enumerate((".bar.pale", ".bar:not(.pale)")):
        found = tree.persistence_intervals_in_dimension(dimension).clip(max=top)
        drawn = attributes(dial.locator(f"svg {bars}"), "x", "width")
        birth = (drawn[:, 0] - left) / wide * top
        ends = np.stack([birth, birth + drawn[:, 1] / wide * top], 1)
        np.testing.assert_allclose(
            ends[np.lexsort(ends.round(4).T)], found[np.lexsort(found.T)], atol=1e-4
        )


def expected(strength: float, labels: int, related: float, noise: float) -> float:
    """E of a square: own (theta + e) and the source's phi mixed, less theta."""
    spread = torch.tensor(
        [[noise / labels, 0, 0], [0, 1, related], [0, related, 1]], dtype=torch.float64
    )
    of = torch.tensor([1 - strength, strength, -strength], dtype=torch.float64)
    return (of @ spread @ of).item()


@pytest.mark.parametrize(
    ("strength", "labels", "related"),
    [(0.5, 1, 0.8), (0, 0.6, 0), (0.3, 2.1, 0.95), (1, 2.6, 1), (0.72, 1.48, 0.4)],
)
def test_an_edge_errs_as_it_must(
    page: Page, strength: float, labels: float, related: float
):
    dial = opened(page, "strength")
    turn(dial, strength=strength, labels=labels, relatedness=related)
    number, noise = round(10**labels), inputs(dial)["noise"]
    error = [
        expected(s, number, related, noise) for s in (0, strength, *np.linspace(0, 1))
    ]
    found = minimize_scalar(
        expected, bounds=(0, 1), args=(number, related, noise), options={"xatol": 1e-9}
    )
    said = numbers(dial)
    assert said == pytest.approx(
        {"alone": error[0], "error": error[1], "best": found.x, "least": found.fun},
        rel=1e-5,
        abs=1e-6,
    )
    assert said["least"] <= min(error) + 1e-12
    assert ("worse" in dial.locator("output").inner_text()) == (error[1] > error[0])
    curve = dial.locator("svg path.sum").last.get_attribute("d")[1:].split("L")
    for x, y in (map(float, point.split()) for point in curve):
        place, height = (x - 40) / 290, 1 - (y - 30) / 190
        wanted = expected(place, number, related, noise)
        assert height == pytest.approx(wanted, abs=1e-3)
    (mark,) = attributes(dial.locator("svg circle.mark"), "cx")
    assert mark.item() == pytest.approx(40 + 290 * strength)


def test_an_edge_errs_as_often_as_it_is_drawn(page: Page):
    dial = opened(page, "strength")
    turn(dial, strength=0.4, labels=1, relatedness=0.7)
    draw, size = np.random.default_rng(0), 200_000
    theta, other = draw.normal(size=(2, size))
    source = 0.7 * theta + (1 - 0.7**2) ** 0.5 * other
    own = theta + draw.normal(size=size) * (inputs(dial)["noise"] / 10) ** 0.5
    error = np.square(own + 0.4 * (source - own) - theta).mean()
    assert numbers(dial)["error"] == pytest.approx(error, rel=0.02)


@every_dial
def test_a_dial_is_named_and_turned_by_keyboard(page: Page, kind: str):
    dial = opened(page, kind)
    for slider in dial.locator("input").all():
        label = dial.locator(f"label[for={slider.get_attribute('id')}]").inner_text()
        assert dial.get_by_role("slider", name=label, exact=True).count() == 1
    assert dial.locator("output").get_attribute("aria-live") == "polite"
    assert dial.get_by_role("button", name="Reset").count() == 1
    slider, words = dial.locator("input").first, dial.locator("output")
    picture = dial.get_by_role("img")
    first = words.inner_text(), picture.get_attribute("aria-label")
    start, step, low, high = (
        float(slider.get_attribute(name)) for name in ("value", "step", "min", "max")
    )
    slider.focus()
    page.keyboard.press("End")
    assert float(slider.input_value()) == high
    page.keyboard.press("ArrowLeft")
    assert float(slider.input_value()) == pytest.approx(high - step)
    assert words.inner_text() != first[0]
    assert picture.get_attribute("aria-label") != first[1]
    turned = slider.get_attribute("aria-valuetext")
    assert turned == dial.locator("span").first.inner_text()
    page.keyboard.press("Home")
    assert float(slider.input_value()) == low
    for _ in dial.locator("input").all():
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert float(slider.input_value()) == start
    assert (words.inner_text(), picture.get_attribute("aria-label")) == first
    assert dial.evaluate("dial => dial.getAnimations({subtree: true}).length") == 0


@every_dial
def test_a_dial_is_turned_by_mouse_and_by_finger(browser: Browser, kind: str):
    context = browser.new_context(
        has_touch=True, viewport={"width": 390, "height": 844}
    )
    dial = opened(context.new_page(), kind)
    slider = dial.locator("input").first
    box = slider.bounding_box()
    assert box["height"] >= 24
    seen = [slider.input_value()]
    slider.click(position={"x": 0.7 * box["width"], "y": box["height"] / 2})
    seen.append(slider.input_value())
    slider.tap(position={"x": 0.3 * box["width"], "y": box["height"] / 2})
    seen.append(slider.input_value())
    assert len(set(seen)) == 3
    context.close()


def ends(dial: Locator) -> list[dict[str, str]]:
    """Every slider at its start, at its low end and at its high end."""
    sliders = dial.locator("input").evaluate_all(
        "all => all.map(s => [s.name, s.defaultValue, s.min, s.max])"
    )
    return [{name: end[place] for name, *end in sliders} for place in range(3)]


@every_dial
@pytest.mark.parametrize("theme", AXE)
def test_a_turned_dial_is_whole_and_accessible(page: Page, kind: str, theme: str):
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=theme)
    dial = opened(page, kind)
    page.evaluate(SETTLED)
    for places in ends(dial):
        turn(dial, **places)
        label = dial.get_by_role("img").get_attribute("aria-label")
        assert "NaN" not in label + dial.locator("output").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        outside = dial.evaluate(
            "dial => { const all = dial.querySelector('svg').getBoundingClientRect();"
            " return [...dial.querySelectorAll('svg text')].filter(t => { const b ="
            " t.getBoundingClientRect(); return b.left < all.left - 1 || b.right >"
            " all.right + 1 || b.top < all.top - 1 || b.bottom > all.bottom + 1; })"
            ".map(t => t.textContent); }"
        )
        assert outside == [], "words of the picture are cut off"
    rules = {"runOnly": AXE["light"], "resultTypes": ["violations"], "preload": False}
    found = Axe().run(page, context=f"#dial-{kind}", options=rules)
    assert [fault["id"] for fault in found.response["violations"]] == []
    ink = dial.locator("svg text").first.evaluate("t => getComputedStyle(t).fill")
    assert (sum(map(int, ink[4:-1].split(","))) > 3 * 128) == (theme == "dark")


@every_dial
def test_without_scripts_a_dial_is_words(browser: Browser, kind: str):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{ROOT.as_uri()}/book/{CHAPTERS[kind]}.html")
    dial = page.locator(f"#dial-{kind}")
    assert not dial.locator(".dial-body").is_visible()
    alt = dial.locator("svg").get_attribute("aria-label")
    assert alt in dial.locator("noscript p").inner_text()
    assert dial.locator("figcaption").is_visible()
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_the_scripts_of_its_dials_and_no_others(name: str):
    loaded = [
        tag["src"].partition("dials/")[2].partition(".")[0]
        for tag in soup(name).select('script[src*="/dials/"]')
    ]
    own = [div["data-dial"] for div in soup(name).select(".dial-body")]
    assert loaded == (["dial", *own] if own else [])
    assert bool(soup(name).select('link[href*="dials/dial.css"]')) == bool(own)
