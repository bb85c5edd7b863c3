"""The directive `dial`, and what the dials are drawn from."""

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from book._tools import rips
from ple_study.plots import COLOURS, EXPERTS

ROOT = Path(__file__).parents[2]
DIALS, SCRIPTS = ROOT / "book" / "dials", ROOT / "book" / "_static" / "dials"
KINDS = sorted(path.stem for path in DIALS.glob("*.json"))
MOST = 30_000  # bytes of scripts and style
PAGE = """
A page
======

.. dial:: {kind}
   {options}

   What *it* shows.

See :numref:`dial-one`.
"""
GOOD = ":name: dial-one\n   :alt: Bars, so <long>."


def spec(kind: str) -> dict:
    """Sliders and inputs of a dial."""
    return json.loads((DIALS / f"{kind}.json").read_text(encoding="utf-8"))


def built(folder: Path, builder: str, kind: str = "gate", options: str = GOOD) -> str:
    """Build a book of two pages; answer Sphinx's complaints."""
    source, complaints = folder / "source", StringIO()
    (source / "book" / "dials").mkdir(parents=True, exist_ok=True)
    (source / "book" / "dials" / "gate.json").write_text(json.dumps(spec("gate")))
    page = PAGE.format(kind=kind, options=options)
    (source / "book" / "index.rst").write_text(page)
    (source / "book" / "other.rst").write_text(":orphan:\n\nOther\n=====\n")
    config = {
        "extensions": ["book._ext.dial"],
        "project": "dials",
        "root_doc": "book/index",
        "numfig": True,
        "html_static_path": [str(ROOT / "book" / "_static")],
    }
    places = (source, None, folder / builder, folder / f"{builder}-trees")
    with docutils_namespace():
        app = Sphinx(*places, builder, config, status=None, warning=complaints)
        app.build()
    return complaints.getvalue()


def test_a_dial_is_a_figure_with_sliders_and_words(tmp_path):
    assert built(tmp_path, "html") == ""
    text = (tmp_path / "html" / "book" / "index.html").read_text(encoding="utf-8")
    page = BeautifulSoup(text, "html.parser")
    figure = page.select_one("figure.dial#dial-one")
    body = figure.select_one(".dial-body[hidden][data-dial=gate]")
    assert json.loads(body["data-inputs"]) == spec("gate")["inputs"]
    assert all(colour in body["style"] for colour in COLOURS)
    slider = body.select_one("input[type=range]")
    assert body.select_one(f"label[for={slider['id']}]").text == "Temperature"
    assert slider.has_attr("data-log")
    assert not slider.has_attr("data-whole")
    assert body.select_one("output[aria-live=polite]")["for"] == [slider["id"]]
    assert body.select_one("svg[role=img]")["aria-label"] == "Bars, so <long>."
    assert "Bars, so <long>." in figure.select_one("noscript").text
    assert "Fig. 1 What it shows." in " ".join(figure.figcaption.text.split())
    assert page.select_one("a[href='#dial-one'] span.std-numref").text == "Fig. 1"
    names = ("dials/dial.js", "dials/gate.js", "dials/dial.css")
    assert all(name in text for name in names)
    other = (tmp_path / "html" / "book" / "other.html").read_text(encoding="utf-8")
    assert "dials/" not in other


@pytest.mark.parametrize(
    ("builder", "made"), [("text", "book/index.txt"), ("latex", "dials.tex")]
)
def test_elsewhere_a_dial_is_its_caption(tmp_path, builder, made):
    assert built(tmp_path, builder) == ""
    text = (tmp_path / builder / made).read_text(encoding="utf-8")
    assert "What" in text
    assert "shows." in text
    assert "<input" not in text


@pytest.mark.parametrize(
    ("kind", "options", "complaint"),
    [
        ("clock", GOOD, "A dial is drawn from clock.json. Found no such file."),
        ("gate", ":name: dial-one", "A dial needs name and alt. Found ['name']."),
        ("gate", GOOD + "\n\n   One.", "The caption of a dial is one paragraph."),
    ],
)
def test_what_a_dial_lacks_is_said(tmp_path, kind, options, complaint):
    assert complaint in built(tmp_path, "html", kind, options)


def test_every_dial_has_a_script_and_all_are_small():
    files = [path for path in SCRIPTS.iterdir() if path.is_file()]
    assert sorted(p.stem for p in files if p.suffix == ".js") == sorted(
        [*KINDS, "dial"]
    )
    assert sum(path.stat().st_size for path in files) < MOST
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "import" not in text
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("kind", KINDS)
def test_a_slider_begins_on_one_of_its_steps(kind):
    for slider in spec(kind)["sliders"]:
        steps = (slider["start"] - slider["low"]) / slider["step"]
        assert 0 <= slider["start"] - slider["low"] <= slider["high"] - slider["low"]
        assert steps == pytest.approx(round(steps))


def test_the_stored_rings_are_those_of_gudhi():
    stored = rips.stored()
    assert stored["rings"] == rips.rings(stored["points"])
    assert len(stored["points"]) == 24


def test_the_gate_is_one_of_the_bank():
    stored = spec("gate")["inputs"]
    path = ROOT / "benchmarks" / "results" / "gates_bank.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    row = found["tasks"].index(stored["task"])
    usual = [run for run in found["runs"] if run["setting"] == "usual"]
    heard = np.mean([run["gates"][-1][row] for run in usual], 0)
    assert found["experts"] == stored["experts"] == list(EXPERTS)
    weights = torch.tensor(stored["scores"]).softmax(0)
    np.testing.assert_allclose(weights, heard, atol=0.004)
