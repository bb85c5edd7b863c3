"""The ledger on its own page and on the first: counts, pictures, what may go wrong."""

import re
from io import StringIO
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from book._ext.verdicts import KINDS, summary, tally
from ple_study.claims import Ledger
from tests.book.policy import code_cells, shown

BOOK = Path(__file__).parents[2] / "book"
CLAIM = """
[claims.{name}]
statement = "s"
source = "p"
chapter = "c"
measure = "m"
bar = {{ words = "above 0", rule = "interval above 0", seeds = 2 }}
"""
PAGE = """
The book
========

.. verdicts::

.. claim-picture:: {name}
"""


def test_verdicts_are_counted_by_kind():
    found = ["refuted", "holds when a, or b", "holds", "holds when it rains", "refuted"]
    assert tally(found) == {
        "holds": 1,
        "holds when": 2,
        "does not hold": 0,
        "not decided": 0,
        "refuted": 2,
        "to come": 0,
    }
    with pytest.raises(ValueError, match="Found 'holds perhaps'"):
        tally(["holds perhaps"])


def test_the_summary_says_what_is_ahead():
    counts = dict.fromkeys(KINDS, 2)
    assert summary(counts).startswith("Of the 12 claims of the ledger 10 are measured.")
    assert "the other 2 the bar" in summary(counts)
    assert summary(counts | {"to come": 0}) == (
        "All 10 claims of the ledger are measured:"
    )


def test_the_script_knows_the_same_kinds():
    script = (BOOK / "_static" / "ledger.js").read_text(encoding="utf-8")
    (listed,) = re.findall(r"const KINDS =\s*\[(.*?)\]", script, re.DOTALL)
    assert tuple(re.findall(r'"(.*?)"', listed)) == KINDS


def test_every_card_of_the_ledger_asks_for_its_picture():
    notebook = nbformat.read(BOOK / "claims.ipynb", as_version=4)
    cards = notebook.cells[-1].outputs[0].data["text/markdown"]
    asked = re.findall(r"^```\{claim-picture\} (\S+)$", cards, re.MULTILINE)
    headed = re.findall(r"^### Claim (\S+):", cards, re.MULTILINE)
    assert asked == headed == list(Ledger(BOOK / "claims").claims)


def test_every_chapter_shows_what_is_on_record():
    ledger = Ledger(BOOK / "claims")
    for name, finding in ledger.findings().items():
        path = BOOK / f"{ledger.claims[name].chapter}.ipynb"
        cells = code_cells(nbformat.read(path, as_version=4))
        said = "".join(str(text) for cell in cells for _, text in shown(cell))
        assert repr(finding) in said, f"{path.name} shows another result: refresh it"


def built(tmp_path: Path, name: str) -> tuple[BeautifulSoup, str]:
    """Build a book of one page; answer it, and what Sphinx complained about."""
    source, complaints = tmp_path / "source", StringIO()
    (source / "book" / "claims").mkdir(parents=True)
    (source / "book" / "index.rst").write_text(PAGE.format(name=name))
    definitions = "".join(CLAIM.format(name=n) for n in ("1", "2", "3"))
    (source / "book" / "claims" / "definitions.toml").write_text(definitions)
    ledger = Ledger(source / "book" / "claims")
    ledger.record("1", [1.0, 1.1])
    ledger.record("3", [-1.0, 1.1])
    if name == "broken":
        path = source / "book" / "claims" / "results" / "1.json"
        path.write_text(path.read_text().replace("holds", "refuted"))
    extensions = ["book._ext.claim_picture", "book._ext.verdicts"]
    config = {"extensions": extensions, "root_doc": "book/index"}
    places = (source, None, tmp_path / "html", tmp_path / "trees")
    with docutils_namespace():
        app = Sphinx(*places, "html", config, status=None, warning=complaints)
        app.build()
    page = (tmp_path / "html" / "book" / "index.html").read_text(encoding="utf-8")
    return BeautifulSoup(page, "html.parser"), complaints.getvalue()


def test_a_page_counts_and_draws(tmp_path):
    page, complaints = built(tmp_path, "3")
    assert complaints == ""
    links = page.select("ul.verdicts a")
    assert [link.text for link in links] == ["1 holds", "1 not decided", "1 to come"]
    assert [link["href"] for link in links] == [
        "claims.html?verdict=holds#all-claims",
        "claims.html?verdict=not+decided#all-claims",
        "claims.html?verdict=to+come#all-claims",
    ]
    (svg,) = page.select("svg.claim-picture")
    assert svg["aria-label"].startswith("Claim 3. Bar: holds above 0, for the whole")
    assert "mean 0.05" in svg["aria-label"]


def test_a_claim_that_nobody_made_is_an_error(tmp_path):
    _, complaints = built(tmp_path, "9")
    assert "A picture needs a claim of the ledger. Found '9'." in complaints


def test_a_result_changed_by_hand_stops_the_page(tmp_path):
    _, complaints = built(tmp_path, "broken")
    words = "The result of claim 1 is not what its own numbers say"
    assert complaints.count(words) == 2
